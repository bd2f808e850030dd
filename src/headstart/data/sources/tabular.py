"""Rows of any table, with the names of their columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]
NumberedRows = list[tuple[int, Row]]
"""Rows, each with the number of its line, row or entry in the file."""


@dataclass(slots=True)
class JsonRows:
    """The content of a JSON file.

    Attributes:
        rows: Its rows.
        errors: Messages about entries that cannot be interpreted.
        notes: Notes for the user.
        questions: Names of the columns, if several contain the answers to a question each.
    """

    rows: NumberedRows
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    questions: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose columns are known.

    Attributes:
        columns: Names of the columns.
        place: What the number of a row counts: ``"line"`` or ``"row"``; empty if photos are named by their
            addresses alone, which takes less memory.
        rows: Function of the columns to read and a list, to which errors are appended; yields rows as
            (number, cells by column).
        photos: Columns of photos that the table itself holds; their cells are addresses, which are not
            searched for.
        notes: Notes for the user.
        questions: Columns with the answers to a question each, of which the user must choose one.
        separator: What separates the cells of a CSV; empty for other formats.
        bytes_of: Function that returns a cell with the bytes that it has in the file, as surrogate escapes;
            None if the encoding is certain.
    """

    columns: list[str]
    place: str
    rows: Callable[[Sequence[str], list[str]], Iterator[tuple[int, dict[str, Any]]]]
    photos: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    separator: str = ""
    bytes_of: Callable[[str], str] | None = None


def text_of(value: Any) -> str:
    """Return a cell as text. Text of a CSV is not changed; the numbers 7 and 7.0 are the same class."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()
