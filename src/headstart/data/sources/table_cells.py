"""Interprets the cells of a table's row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from headstart import tasks
from headstart.data.sources.one_hot import classes_in
from headstart.data.sources.table_columns import Columns
from headstart.data.sources.tabular import text_of
from headstart.data.sources.written import Object, box_fault, clean_class, declared_size


class FaultError(Exception):
    """A label is wrong; ``known`` holds the parts of it that could be read."""

    def __init__(self, what: str, known: _Answer = ((), (), ())) -> None:
        self.known = known
        super().__init__(what)


_Answer = tuple[tuple[str, ...], tuple[float, ...], tuple[Object, ...]]


def answer_of(cells: dict[str, Any], columns: Columns) -> _Answer:
    """Return the labels, numbers and objects of a row."""
    task = tasks.of(columns.task)
    if task.has_numbers:
        return (), tuple(number_in(name, cells.get(name)) for name in columns.targets), ()
    if columns.one_hot:
        return _one_hot(cells, columns, is_single=not task.has_labels), (), ()
    if task.has_labels:
        return _several(columns, cells.get(columns.label or "")), (), ()
    if task.has_box and all(_is_empty(cells.get(name)) for name in columns.box):
        return (), (), ()
    class_name = ""
    if columns.label is not None:
        class_name = _class(columns.label, cells.get(columns.label))
    if task.has_class:
        return (class_name,), (), ()
    try:
        xmin, ymin, xmax, ymax = (number_in(name, cells.get(name)) for name in columns.box)
    except FaultError as error:
        raise FaultError(str(error), ((class_name,) if class_name else (), (), ())) from None
    box = (xmin, ymin, xmax, ymax)
    if fault := box_fault(box):
        raise FaultError(fault, ((), (), (Object(class_name, box),)))
    return (), (), (Object(class_name, box),)


def _one_hot(cells: dict[str, Any], columns: Columns, *, is_single: bool) -> tuple[str, ...]:
    try:
        found = classes_in(cells, columns.one_hot)
    except ValueError as error:
        raise FaultError(str(error)) from None
    if is_single and len(found) != 1:
        shown = f" ({', '.join(found)})" if found else ""
        raise FaultError(
            f"the row has {len(found)} classes{shown} instead of one. Several: --task multilabel"
        )
    return tuple(sorted(map(clean_class, found)))


def _class(column: str | None, value: Any) -> str:
    if isinstance(value, (list, tuple)) and len(value) == 1:
        (value,) = value
    if isinstance(value, (list, tuple, dict)):
        raise FaultError(f"{column} is {value!r}; it must be one class. For several: --task multilabel")
    text = clean_class(text_of(value))
    if not text or (isinstance(value, float) and math.isnan(value)):
        raise FaultError(f"the label ({column}) is {'not a number' if text else 'empty'}")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise FaultError(f"the label ({column}) is {text!r}, which is not UTF-8. Save the table as UTF-8")
    return text


def _several(columns: Columns, value: Any) -> tuple[str, ...]:
    column = columns.label
    if value is None or isinstance(value, (dict, float)):
        raise FaultError(f"{column} is {value!r}; it must be a list of classes, which may be empty")
    parts: Sequence[Any]
    if isinstance(value, (list, tuple)):
        parts = value
    else:
        text = text_of(value)
        try:
            parts = columns.separate(text) if text else []
        except ValueError as error:
            raise FaultError(f"{column}: {error}") from None
    return tuple(sorted({_class(column, part) for part in parts}))


def number_in(column: str, value: Any) -> float:
    """Return the finite number in a cell.

    Raises:
        FaultError: The cell is empty, or is not a finite number.
    """
    if _is_empty(value):
        raise FaultError(f"{column} is empty; it must be a number")
    try:
        if isinstance(value, (bool, list, dict)) or "_" in str(value):  # float() takes 1_000 for a thousand
            raise ValueError
        number = float(value)
    except (ValueError, TypeError, OverflowError):
        point = ", with a point for the decimals" if "," in str(value) else ""
        raise FaultError(f"{column} is {value!r}; it must be a number{point}") from None
    if not math.isfinite(number):
        raise FaultError(f"{column} is {value!r}; it must be a finite number")
    return number


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def size_in(cells: dict[str, Any], columns: Columns) -> tuple[float, float] | None:
    """Return the width and height of the photo that a row declares; None if it declares none.

    Raises:
        FaultError: Width or height is not a number of pixels.
    """
    if not columns.size:
        return None
    try:
        return declared_size(*(cells.get(name) for name in columns.size))
    except ValueError as error:
        raise FaultError(str(error)) from None
