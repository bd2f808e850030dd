"""Converts the JSON exports of Create ML to rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headstart.data.sources.tabular import JsonRows, NumberedRows


def is_create_ml(entries: Sequence[Any]) -> bool:
    """Return whether a list of objects is Create ML's: a photo with annotations that have coordinates."""
    for entry in entries:
        boxes = _annotations_of(entry) if isinstance(entry, dict) else None
        if not isinstance(boxes, list):
            return False
        if boxes:
            return all(isinstance(each, dict) and isinstance(each.get("coordinates"), dict) for each in boxes)
    return False


def rows_of_create_ml(entries: Sequence[Any]) -> JsonRows:
    """Return a row for each box, with the number of its entry.

    The coordinates of Create ML are the centre of the box and its sides.
    """
    rows: NumberedRows = []
    errors = []
    for number, entry in enumerate(entries, 1):
        boxes = (_annotations_of(entry) or []) if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(boxes, list):
            errors.append(f"entry {number}: {entry!r:.60} is not a photo with a list of annotations")
            continue
        image = _photo_of(entry)
        for each in boxes or [{}]:
            place = each.get("coordinates") or {} if isinstance(each, dict) else None
            if not isinstance(place, dict):
                errors.append(f"entry {number}: the annotation {each!r:.60} is not a label with coordinates")
                continue
            row = dict.fromkeys(("xmin", "ymin", "xmax", "ymax"))
            if place:
                x, y, width, height = (place.get(side) for side in ("x", "y", "width", "height"))
                row = {**_edges("x", x, width), **_edges("y", y, height)}
            rows.append((number, {"image": image, "label": each.get("label"), **row}))
    return JsonRows(rows, errors)


def is_create_ml_labels(entries: Sequence[Any]) -> bool:
    """Return whether a list of objects is Create ML's for several labels: photos with lists of text."""
    found = [_annotations_of(entry) if isinstance(entry, dict) else None for entry in entries]
    return any(found) and all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in found
    )


def rows_of_create_ml_labels(entries: Sequence[Any]) -> JsonRows:
    """Return a row with the labels of each photo."""
    return JsonRows(
        [
            (number, {"image": _photo_of(entry), "labels": _annotations_of(entry)})
            for number, entry in enumerate(entries, 1)
        ]
    )


def _photo_of(entry: dict[str, Any]) -> Any:
    return next((entry[name] for name in ("image", "imagefilename", "filename") if name in entry), None)


def _annotations_of(entry: dict[str, Any]) -> Any:
    return entry.get("annotations", entry.get("annotation"))


def _edges(axis: str, centre: Any, side: Any) -> dict[str, Any]:
    if not isinstance(centre, (int, float)) or not isinstance(side, (int, float)):
        return {f"{axis}min": centre, f"{axis}max": side}  # the reader of rows says what is wrong
    return {f"{axis}min": centre - side / 2, f"{axis}max": centre + side / 2}
