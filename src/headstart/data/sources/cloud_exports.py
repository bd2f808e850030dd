"""Converts the label files of cloud services to rows: Google (AutoML, Vertex AI), AWS and Azure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from headstart.columns import counted
from headstart.data.sources.tabular import JsonRows, NumberedRows, Row
from headstart.errors import DataError

_USES: Final = {
    **dict.fromkeys(("TRAIN", "TRAINING"), "train"),
    **dict.fromkeys(("VALIDATE", "VALIDATION"), "val"),
    "TEST": "test",
    "UNASSIGNED": "",
}
_VERTEX_USE: Final = "aiplatform.googleapis.com/ml_use"
_FRACTIONS: Final = "with boxes in fractions of the photo, which is not supported. Export the boxes as COCO"


class _EntryError(Exception):
    """An entry is not what the service writes; the message says why."""


def is_automl(first: Sequence[str]) -> bool:
    """Return whether the first line of a CSV is a photo of Google AutoML, which writes no header."""
    cells = first[1:] if first and first[0].upper() in _USES else first
    return len(cells) > 0 and cells[0].startswith("gs://")


def rows_of_automl(path: str, lines: Iterable[tuple[int, Sequence[str]]]) -> JsonRows:
    """Return the rows of a CSV of Google AutoML: the use of the photo, which may be missing, photo, labels.

    Args:
        path: The file, for messages.
        lines: The cells of each line, with its number.

    Raises:
        DataError: The labels are boxes.
    """
    rows: NumberedRows = []
    errors = []
    for number, cells in lines:
        cells = [cell.strip() for cell in cells]
        row: Row = {"split": _USES.get(cells[0].upper()), "image": "", "labels": []}
        if row["split"] is None:
            row["split"] = ""
        else:
            cells = cells[1:]
        if not cells or not cells[0].startswith("gs://"):
            errors.append(f"line {number}: no photo (gs://...) in the first cell or after the split")
            continue
        if len(cells) >= 9 and all(map(_is_fraction, cells[2:4])):
            raise DataError(f"{path!r} is a CSV of Google AutoML {_FRACTIONS}.")
        row["image"], row["labels"] = cells[0], [cell for cell in cells[1:] if cell]
        rows.append((number, row))
    return _labelled(path, rows, errors)


def rows_of_vertex(path: str, rows: Iterable[tuple[int, Row]]) -> JsonRows:
    """Return the rows of JSON lines for Vertex AI: one class, or a list of classes, of each photo.

    Raises:
        DataError: The labels are boxes.
    """
    found: NumberedRows = []
    errors = []
    for number, row in rows:
        if "boundingBoxAnnotations" in row:
            raise DataError(f"{path!r} is a file of Vertex AI {_FRACTIONS}.")
        annotations = row.get("classificationAnnotations", row.get("classificationAnnotation", []))
        try:
            labels = [_text_in(each, "displayName") for each in _as_list(annotations)]
            use = _as_object(row.get("dataItemResourceLabels") or {}).get(_VERTEX_USE, "")
        except _EntryError as error:
            errors.append(f"line {number}: {error}")
            continue
        found.append((number, {"image": row.get("imageGcsUri"), "labels": labels, "split": use}))
    return _labelled(path, found, errors)


def rows_of_aws(path: str, rows: Iterable[tuple[int, Row]]) -> JsonRows:
    """Return the rows of an output manifest of AWS (SageMaker Ground Truth, Rekognition Custom Labels).

    The classes of Rekognition, one job each (``set_cat``, ``set_dog``), are the labels of one photo. Other
    jobs about the same photos are questions, of which the user must choose one.

    Raises:
        DataError: A job has neither classes nor boxes.
    """
    found: NumberedRows = []
    errors = []
    for number, row in rows:
        try:
            found += [(number, each) for each in _rows_of_manifest(path, row)]
        except _EntryError as error:
            errors.append(f"line {number}: {error}")
    jobs = list(dict.fromkeys(name for _, row in found for name in row if isinstance(row[name], list)))
    if len(jobs) > 1:
        return JsonRows(_one_class_if_possible(found, jobs), errors, questions=jobs)
    if not jobs:
        return JsonRows(found, errors)
    for _, row in found:
        row["labels"] = row.pop(jobs[0], [])
    return _labelled(path, found, errors)


def _rows_of_manifest(path: str, row: Row) -> Iterator[Row]:
    """Yield a row for each box, or one row with the classes of each job as lists."""
    image = row.get("source-ref")
    classes: dict[str, list[str]] = {}
    boxes: list[Row] = []
    is_box = False
    for job in row:
        if f"{job}-metadata" not in row:
            continue
        about = _as_object(row[f"{job}-metadata"])
        kind = str(about.get("type", "")).rpartition("/")[2]
        names = _as_object(about.get("class-map", {}))
        if kind == "image-classification":
            name = _text_in(about, "class-name")
            of_rekognition = job.endswith(f"_{name}")
            classes.setdefault(job.removesuffix(f"_{name}") if of_rekognition else job, []).append(name)
        elif kind == "image-classification-multilabel":
            classes[job] = [_text_in(names, str(each)) for each in _as_list(row[job])]
        elif kind == "object-detection":
            is_box = True
            boxes += _boxes_of(_as_object(row[job]), names)
        else:
            raise DataError(
                f"{path!r} has labels of the kind {kind!r} of AWS, which are not supported. Headstart reads "
                "image classification and object detection."
            )
    if is_box:
        yield from ({"image": image, **box} for box in boxes or [dict.fromkeys(("xmin", "label"))])
    else:
        yield {"image": image, **classes}


def _boxes_of(content: Mapping[str, Any], names: Mapping[str, Any]) -> Iterator[Row]:
    size = _as_object((_as_list(content.get("image_size", [])) or [{}])[0])
    for each in _as_list(content.get("annotations", [])):
        box = _as_object(each)
        yield {
            "label": _text_in(names, str(box.get("class_id"))),
            "width": size.get("width"),
            "height": size.get("height"),
            **_edges(box, 1, 1),
        }


def is_azure(entries: Sequence[Any]) -> bool:
    """Return whether a list of objects is what Azure Custom Vision answers when asked for tagged photos."""
    return bool(entries) and all(
        isinstance(each, dict) and "originalImageUri" in each and "tags" in each for each in entries
    )


def rows_of_azure(path: str, entries: Sequence[Any]) -> JsonRows:
    """Return a row for each region of a photo, or for each photo with its tags, if there are no regions."""
    with_boxes = any(entry.get("regions") for entry in entries)
    rows: NumberedRows = []
    errors = []
    for number, entry in enumerate(entries, 1):
        image, width, height = entry["originalImageUri"], entry.get("width"), entry.get("height")
        try:
            if not with_boxes:
                names = [_text_in(each, "tagName") for each in _as_list(entry["tags"] or [])]
                rows.append((number, {"image": image, "labels": names}))
                continue
            for each in map(_as_object, _as_list(entry.get("regions") or [])):
                box = {"label": _text_in(each, "tagName"), "width": width, "height": height}
                rows.append((number, {"image": image, **box, **_edges(each, width, height)}))
        except _EntryError as error:
            errors.append(f"entry {number}: {error}")
    return JsonRows(rows, errors) if with_boxes else _labelled(path, rows, errors)


def _labelled(path: str, rows: NumberedRows, errors: list[str]) -> JsonRows:
    """Return the rows with labels, as one class if each has exactly one, and a note about the others."""
    found = [(number, row) for number, row in rows if row["labels"]]
    num_without = len(rows) - len(found)
    notes = [f"Left out without a label: {counted(num_without, 'photo')} of {path!r}."] if num_without else []
    return JsonRows(_one_class_if_possible(found), errors, notes)


def _edges(box: Mapping[str, Any], width: Any, height: Any) -> Row:
    """Return the edges of a box in pixels; what is not a number is left to the reader of rows."""
    row: Row = {}
    for axis, low, side, scale in (("x", "left", "width", width), ("y", "top", "height", height)):
        start, length = box.get(low), box.get(side)
        numbers = (int, float)
        if isinstance(start, numbers) and isinstance(length, numbers) and isinstance(scale, numbers):
            row |= {f"{axis}min": start * scale, f"{axis}max": (start + length) * scale}
        else:
            row |= {f"{axis}min": f"{low}={start!r}, {side}={length!r}", f"{axis}max": None}
    return row


def _one_class_if_possible(rows: NumberedRows, columns: Sequence[str] = ("labels",)) -> NumberedRows:
    """Write lists of classes as one class, in ``label`` instead of ``labels``, if each has exactly one."""
    for column in columns:
        if all(len(row[column]) == 1 for _, row in rows if column in row):
            for _, row in rows:
                if column in row:
                    answer = row.pop(column)[0]
                    row["label" if column == "labels" else column] = answer
    return rows


def _is_fraction(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


def _as_list(value: Any) -> list[Any]:
    if not isinstance(value, (list, dict)):
        raise _EntryError(f"{value!r:.60} is not a list")
    return value if isinstance(value, list) else [value]


def _as_object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _EntryError(f"{value!r:.60} is not an object in braces")
    return value


def _text_in(entry: Any, name: str) -> str:
    found = _as_object(entry).get(name)
    if not isinstance(found, str) or not found.strip():
        raise _EntryError(f"{name} is {found!r:.60}; it must be the name of a class")
    return found
