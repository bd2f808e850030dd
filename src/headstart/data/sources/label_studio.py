"""Converts the JSON exports of Label Studio to rows of a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from headstart.columns import counted
from headstart.data.sources.tabular import JsonRows, NumberedRows, Row
from headstart.errors import DataError
from headstart.images.formats import IMAGE_SUFFIXES

_BESIDE: Final = frozenset({"textarea", "rating", "number", "datetime"})
"""Kinds of answers that are neither classes nor places, and are left out with a note."""

_BOTH: Final = "both choices (classes) and rectanglelabels (boxes). Export a project with one of them"


class _EntryError(Exception):
    """An entry is not what Label Studio writes; the message says why."""


def is_label_studio(entries: Sequence[Any]) -> bool:
    """Return whether a list of objects is Label Studio's ``JSON``."""
    first = next((entry for entry in entries if isinstance(entry, dict)), None)
    return first is not None and isinstance(first.get("data"), dict) and "annotations" in first


def rows_of_label_studio(path: str, tasks: Sequence[Any]) -> JsonRows:
    """Return a row for each annotation, or each box, with the number of its task.

    The answers to the only question of a project become the column ``label`` (one class) or ``labels``
    (several); otherwise each question becomes a column with its name.

    Args:
        path: The file, for messages.
        tasks: What it contains: tasks with ``data`` and ``annotations``.

    Raises:
        DataError: It contains neither choices nor boxes, but other answers.
    """
    rows: NumberedRows = []
    errors = []
    num_without, left_out = 0, Counter[str]()
    questions: dict[str, None] = {}
    for number, task in enumerate(tasks, 1):
        try:
            image = _image_of(task)
            annotations = list(_annotations_of(task))
            found = [_rows_of(image, annotation, left_out) for annotation in annotations]
        except _EntryError as error:
            errors.append(f"entry {number}: {error}")
            continue
        num_without += not annotations
        for row in (row for each in found for row in each):
            questions.update(dict.fromkeys(name for name, cell in row.items() if isinstance(cell, list)))
            rows.append((number, row))
    if left_out and not questions and not errors and not any("xmin" in row for _, row in rows):
        raise DataError(
            f"{path!r} has no choices (classes) or rectanglelabels (boxes), but {_kinds(left_out)}."
        )
    notes = []
    if num_without:
        notes.append(f"{counted(num_without, 'task')} of {path!r} without an annotation are left out.")
    if left_out:
        notes.append(f"Answers of {path!r} that are not used: {_kinds(left_out)}.")
    return _with_labels(path, JsonRows(rows, errors, notes), list(questions))


def rows_of_minimal(path: str, entries: Sequence[Any]) -> JsonRows | None:
    """Return the rows of Label Studio's ``JSON-MIN``; None if these objects are not it.

    It writes one choice as text, and several as ``{"choices": [...]}``. Which columns are questions is seen
    from the latter, and from the usual name ``choice``.

    Raises:
        DataError: Answers and other data have the same name.
    """
    if not all(isinstance(entry, dict) for entry in entries):
        return None
    questions = dict.fromkeys(
        name
        for entry in entries
        for name, cell in entry.items()
        if name == "choice" or (isinstance(cell, Mapping) and isinstance(cell.get("choices"), list))
    )
    if not questions and not any(_are_boxes(cell) for entry in entries for cell in entry.values()):
        return None
    rows: NumberedRows = []
    errors = []
    for number, entry in enumerate(entries, 1):
        plain, boxes = {}, []
        try:
            for name, cell in entry.items():
                if name in questions:
                    plain[name] = _choices(cell["choices"]) if isinstance(cell, Mapping) else _plain(cell)
                elif _are_boxes(cell):
                    boxes += [_box(each, each) for each in cell]
                else:
                    plain[name] = cell
            if boxes and questions.keys() & plain.keys():
                raise _EntryError(_BOTH)
        except _EntryError as error:
            errors.append(f"entry {number}: {error}")
            continue
        rows += [(number, plain | box) for box in boxes] or [(number, plain)]
    return _with_labels(path, JsonRows(rows, errors), list(questions))


def _annotations_of(task: Any) -> Iterator[list[Any]]:
    """Yield the results of each annotation of a task that was not cancelled."""
    for annotation in _list_in(task, "annotations"):
        if not isinstance(annotation, dict):
            raise _EntryError(f"the annotation {annotation!r:.60} is not an object in braces")
        if not annotation.get("was_cancelled"):
            yield _list_in(annotation, "result")


def _list_in(entry: Mapping[str, Any], name: str) -> list[Any]:
    found = entry.get(name)
    if found is not None and not isinstance(found, list):
        raise _EntryError(f"{name} is {found!r:.60}, not a list")
    return found or []


def _rows_of(image: Any, results: Iterable[Any], left_out: Counter[str]) -> list[Row]:
    """Return the rows of an annotation: one for each box, or one with the choices of each question."""
    choices: dict[str, list[Any]] = {}
    boxes = []
    for result in results:
        value = result.get("value") if isinstance(result, dict) else None
        if not isinstance(value, dict):
            raise _EntryError(f"the result {result!r:.60} has no value in braces")
        kind = result.get("type")
        if kind == "choices":
            name = str(result.get("from_name"))
            if name == "image":
                raise _EntryError("a question has the name 'image', as the photo. Rename it")
            known = choices.setdefault(name, [])
            known += [each for each in _choices(value.get("choices")) if each not in known]
        elif kind == "rectanglelabels":
            boxes.append(_box(value, result))
        elif kind in _BESIDE:
            left_out[kind] += 1
        else:
            raise _EntryError(
                f"Label Studio's {kind} are not supported. Headstart reads choices (classes) and "
                "rectanglelabels (boxes)"
            )
    if choices and boxes:
        raise _EntryError(_BOTH)
    return [{"image": image, **box} for box in boxes] or [{"image": image, **choices}]


def _choices(given: Any) -> list[str]:
    """Return the answers to a question: a list of text, which may be empty."""
    for each in given if isinstance(given, list) else [given]:
        if not isinstance(each, str):
            raise _EntryError(f"the choice {each!r:.60} is not text")
    return given if isinstance(given, list) else [given]


def _plain(cell: Any) -> list[Any]:
    """Return the answers in a cell of ``JSON-MIN`` that are not below ``choices``."""
    return cell if isinstance(cell, list) else [] if cell in (None, "") else [cell]


def _image_of(task: Any) -> Any:
    """Return the photo of a task: its ``image``, or the only value that looks like a photo."""
    data = task.get("data") if isinstance(task, dict) else None
    if not isinstance(data, dict):
        raise _EntryError("no 'data', which names the photo in Label Studio's JSON")
    if "image" in data:
        return data["image"]
    found = [
        value
        for value in data.values()
        if isinstance(value, str) and PurePosixPath(value).suffix.lower() in IMAGE_SUFFIXES
    ]
    if len(found) != 1:
        raise _EntryError(
            f"'data' names {counted(len(found), 'photo')}: {list(data)}. Headstart wants one, such as 'image'"
        )
    return found[0]


def _are_boxes(cell: Any) -> bool:
    return (
        isinstance(cell, list)
        and bool(cell)
        and all(isinstance(each, dict) and "rectanglelabels" in each for each in cell)
    )


def _box(value: Mapping[str, Any], size: Mapping[str, Any]) -> Row:
    """Convert a box in percent to pixels of the photo in which it was drawn."""
    width, height = size.get("original_width"), size.get("original_height")
    names = _choices(value.get("rectanglelabels") or [])
    if len(names) > 1:
        raise _EntryError(f"a box has {len(names)} classes ({', '.join(names)}) instead of one")
    row: Row = {"label": names[0] if names else None, "width": width, "height": height}
    row |= dict.fromkeys(("xmin", "ymin", "xmax", "ymax"))
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
        else:  # the reader of rows refuses it
            row[f"{axis}min"] = f"{axis}={low!r}, {side}={length!r}, original_{side}={pixels!r}"
    return row


def _with_labels(path: str, content: JsonRows, questions: Sequence[str]) -> JsonRows:
    """Write the answers to a question as one class, or as lists if any row has not exactly one."""
    rows = content.rows
    for name in questions:
        is_single = all(len(row[name]) == 1 for _, row in rows if name in row)
        usual = "label" if is_single else "labels"
        column = usual if len(questions) == 1 else name
        if column != name and any(name in row and column in row for _, row in rows):
            raise DataError(
                f"{path!r} has answers to {name!r}, and other data called {column!r}. Rename one of the two."
            )
        for _, row in rows:
            if name in row:
                answer = row.pop(name)
                row[column] = answer[0] if is_single else answer
            elif len(questions) == 1 and not is_single:
                row[column] = []
    content.questions = questions if len(questions) > 1 else ()
    return content


def _kinds(left_out: Counter[str]) -> str:
    return ", ".join(f"{number} of the kind {kind}" for kind, number in left_out.items())
