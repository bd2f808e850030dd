"""Converts the JSON exports of Label Studio and Create ML to rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from headstart.columns import counted
from headstart.errors import DataError
from headstart.images.formats import IMAGE_SUFFIXES

Row = dict[str, Any]


def is_label_studio(entries: Sequence[Any]) -> bool:
    """Return whether a list of objects is Label Studio's ``JSON``."""
    first = entries[0] if entries else None
    return isinstance(first, dict) and isinstance(first.get("data"), dict) and "annotations" in first


def is_create_ml(entries: Sequence[Any]) -> bool:
    """Return whether a list of objects is Create ML's: a photo with annotations that have coordinates."""
    for entry in entries:
        boxes = entry.get("annotations", entry.get("annotation")) if isinstance(entry, dict) else None
        if not isinstance(boxes, list):
            return False
        if boxes:
            return all(isinstance(each, dict) and isinstance(each.get("coordinates"), dict) for each in boxes)
    return False


def rows_of_label_studio(path: str, tasks: Sequence[Any]) -> tuple[list[tuple[int, Row]], list[str]]:
    """Return a row for each annotation, or each box, with the number of its task; and notes.

    Args:
        path: The file, for messages.
        tasks: What it contains: tasks with ``data`` and ``annotations``.

    Raises:
        DataError: The annotations are neither choices nor boxes, or are both.
    """
    questions = {
        each.get("from_name")
        for each in (result for task in tasks for result in _results(task))
        if each.get("type") == "choices"
    }
    rows: list[tuple[int, Row]] = []
    num_without = 0
    for number, task in enumerate(tasks, 1):
        image = _image_of(path, number, task)
        annotations = [each for each in task.get("annotations") or () if not each.get("was_cancelled")]
        if not annotations:
            num_without += 1
        for annotation in annotations:
            choices: Row = {}
            boxes = []
            for result in annotation.get("result") or ():
                kind, value = result.get("type"), result.get("value") or {}
                if kind == "choices":
                    column = "label" if len(questions) == 1 else str(result.get("from_name"))
                    choices[column] = list(value.get("choices") or ())
                elif kind == "rectanglelabels":
                    boxes.append(_box(value, result))
                else:
                    raise DataError(
                        f"{path!r}, entry {number}: Label Studio's {kind} are not supported. Headstart reads "
                        "choices (classes) and rectanglelabels (boxes)."
                    )
            if choices and boxes:
                raise DataError(
                    f"{path!r}, entry {number}: both choices (classes) and rectanglelabels (boxes). Export a "
                    "project with one of them."
                )
            if boxes:
                rows += [(number, {"image": image, **box}) for box in boxes]
            else:
                rows.append((number, {"image": image, **choices}))
    notes = []
    if num_without:
        notes.append(f"{counted(num_without, 'task')} of {path!r} without an annotation are left out.")
    return _with_labels(rows, questions), notes


def rows_of_minimal(entries: Sequence[Any]) -> list[tuple[int, Row]] | None:
    """Return the rows of Label Studio's ``JSON-MIN``; None if these objects are not it."""
    rows: list[tuple[int, Row]] = []
    is_it = False
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict):
            return None
        plain, boxes = {}, []
        for name, value in entry.items():
            if isinstance(value, Mapping) and isinstance(value.get("choices"), list):
                plain["labels"] = value["choices"]
                is_it = True
            elif isinstance(value, list) and value and _are_boxes(value):
                boxes += [_box(each, each) for each in value]
                is_it = True
            elif name == "choice":
                plain["label"] = value
                is_it = True
            else:
                plain[name] = value
        rows += [(number, plain | box) for box in boxes] or [(number, plain)]
    if not is_it:
        return None
    if any("labels" in row for _, row in rows):  # one choice is written as text, several as a list
        for _, row in rows:
            if "label" in row:
                row["labels"] = [row.pop("label")]
    return rows


def rows_of_create_ml(entries: Sequence[Any]) -> Iterator[tuple[int, Row]]:
    """Yield a row for each box of Create ML, whose coordinates are the centre of the box and its sides."""
    for number, entry in enumerate(entries, 1):
        image = entry.get("image", entry.get("imagefilename"))
        boxes = entry.get("annotations", entry.get("annotation")) or [{}]
        for each in boxes:
            place = each.get("coordinates") or {}
            row = dict.fromkeys(("xmin", "ymin", "xmax", "ymax"))
            if place:
                x, y, width, height = (place.get(side) for side in ("x", "y", "width", "height"))
                row = {
                    **_edges("x", x, width),
                    **_edges("y", y, height),
                }
            yield number, {"image": image, "label": each.get("label"), **row}


def _edges(axis: str, centre: Any, side: Any) -> Row:
    if not isinstance(centre, (int, float)) or not isinstance(side, (int, float)):
        return {f"{axis}min": centre, f"{axis}max": side}  # the reader of rows says what is wrong
    return {f"{axis}min": centre - side / 2, f"{axis}max": centre + side / 2}


def _results(task: Any) -> Iterator[Any]:
    for annotation in task.get("annotations") or ():
        yield from annotation.get("result") or ()


def _image_of(path: str, number: int, task: Any) -> Any:
    """Return the photo of a task: its ``image``, or the only value that looks like a photo."""
    data = task.get("data") if isinstance(task, dict) else None
    if not isinstance(data, dict):
        raise DataError(f"{path!r}, entry {number}: no 'data', which names the photo in Label Studio's JSON.")
    if "image" in data:
        return data["image"]
    found = [
        value
        for value in data.values()
        if isinstance(value, str) and PurePosixPath(value).suffix.lower() in IMAGE_SUFFIXES
    ]
    if len(found) != 1:
        raise DataError(
            f"{path!r}, entry {number}: 'data' names {counted(len(found), 'photo')}: {list(data)}. Headstart "
            "wants one, such as 'image'."
        )
    return found[0]


def _are_boxes(values: Sequence[Any]) -> bool:
    return all(isinstance(each, dict) and "rectanglelabels" in each for each in values)


def _box(value: Mapping[str, Any], size: Mapping[str, Any]) -> Row:
    """Convert a box in percent to pixels of the photo in which it was drawn."""
    width, height = size.get("original_width"), size.get("original_height")
    names = value.get("rectanglelabels") or [None]
    row: Row = {"label": names[0], "width": width, "height": height}
    if value.get("rotation"):
        return row | {"xmin": f"rotated by {value['rotation']} degrees"}  # which is not a number
    for axis, side, pixels in (("x", "width", width), ("y", "height", height)):
        low, length = value.get(axis), value.get(side)
        if (
            isinstance(pixels, (int, float))
            and isinstance(low, (int, float))
            and isinstance(length, (int, float))
        ):
            row[f"{axis}min"] = low * pixels / 100
            row[f"{axis}max"] = (low + length) * pixels / 100
    return row


def _with_labels(rows: list[tuple[int, Row]], questions: set[Any]) -> list[tuple[int, Row]]:
    """Write choices as one class, or as several if any annotation has not exactly one."""
    if len(questions) > 1:
        for _, row in rows:
            row.update({name: "|".join(value) for name, value in row.items() if isinstance(value, list)})
        return rows
    if all(len(row["label"]) == 1 for _, row in rows if isinstance(row.get("label"), list)):
        return [
            (number, row | ({"label": row["label"][0]} if isinstance(row.get("label"), list) else {}))
            for number, row in rows
        ]
    for _, row in rows:
        row["labels"] = row.pop("label", [])
    return rows
