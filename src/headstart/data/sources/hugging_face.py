"""Converts the column ``objects`` of Hugging Face's tables, the boxes of a photo, to a row for each box."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from headstart.data.sources.tabular import JsonRows, NumberedRows, Row

_CLASSES: Final = ("category", "categories", "label", "labels", "category_id", "class", "name")
_EDGES: Final = ("xmin", "ymin", "xmax", "ymax")


def are_objects(cell: Any) -> bool:
    """Return whether a cell contains boxes: ``bbox`` in an object of lists, or in each object of a list."""
    if isinstance(cell, dict):
        return "bbox" in cell
    return isinstance(cell, list) and all(isinstance(each, dict) and "bbox" in each for each in cell)


def rows_of_objects(path: str, rows: Iterable[tuple[int, Row]]) -> JsonRows:
    """Return a row for each box; ``bbox`` is left, top, width and height, as Hugging Face documents it.

    Args:
        path: The file, for messages.
        rows: Its rows, with ``objects``: lists by name (``{"bbox": [...], "categories": [...]}``), or a list
            of objects (``[{"bbox": ..., "category": ...}]``).
    """
    found: NumberedRows = []
    errors = []
    for number, row in rows:
        plain = {name: cell for name, cell in row.items() if name != "objects"}
        try:
            boxes = _boxes_of(row.get("objects"))
        except ValueError as error:
            errors.append(f"row {number}: objects is {error}")
            continue
        found += [(number, plain | box) for box in boxes or [dict.fromkeys(_EDGES)]]
    return JsonRows(
        found,
        errors,
        [
            f"bbox of {path!r} is read as left, top, width and height in pixels, as Hugging Face documents "
            "it. If it is xmin, ymin, xmax and ymax, write a table with these columns."
        ],
    )


def _boxes_of(objects: Any) -> list[Row]:
    """Return the classes and edges of the boxes of a photo.

    Raises:
        ValueError: They are not as documented; the message says what they are.
    """
    if objects is None:
        return []
    if isinstance(objects, dict):
        lists = {name: value for name, value in objects.items() if isinstance(value, list)}
        boxes = lists.get("bbox")
        name = next((each for each in _CLASSES if each in lists), None)
        if boxes is None or (name and len(lists[name]) != len(boxes)):
            raise ValueError(f"{objects!r:.80}; it must have bbox and categories, lists of the same length")
        return [_box(box, lists[name][place] if name else None) for place, box in enumerate(boxes)]
    if isinstance(objects, list) and all(isinstance(each, dict) for each in objects):
        return [
            _box(each.get("bbox"), next((each[name] for name in _CLASSES if name in each), None))
            for each in objects
        ]
    raise ValueError(f"{objects!r:.80}; it must be boxes with their classes")


def _box(box: Any, name: Any) -> Row:
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(x, (int, float)) for x in box):
        raise ValueError(f"{box!r:.60} as a box; it must be four numbers: left, top, width and height")
    left, top, width, height = box
    row: Row = dict(zip(_EDGES, (left, top, left + width, top + height), strict=True))
    return row if name is None else row | {"label": name}
