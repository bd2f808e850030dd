"""Classes as columns: a 1 in the column of each class that a photo has (Roboflow, ISIC, plant pathology)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from headstart.data.sources.tabular import Table

_YES: Final = {"1", "1.0", "true", "yes"}
_NO: Final = {"0", "0.0", "false", "no"}
_MINUS: Final = {"-1", "-1.0"}  # absent, in tables of attributes that have no 0


@dataclass(frozen=True, slots=True)
class OneHot:
    """One-hot columns.

    Attributes:
        columns: Their names, which are the classes.
        is_single: Whether each row has exactly one class.
    """

    columns: tuple[str, ...]
    is_single: bool


def find_one_hot(table: Table, names: Sequence[str]) -> OneHot | None:
    """Return the columns with nothing but 0 and 1 (or -1 and 1), if there are at least two of them.

    Reading ends at the first row that leaves fewer than two, so that other tables cost nothing.
    """
    left = dict.fromkeys(names)
    signs: set[str] = set()
    num_rows = num_single = 0
    for _, cells in table.rows(names, []):
        texts = {name: _text(cells.get(name)) for name in left}
        left = {name: None for name in left if texts[name] in _YES | _NO | _MINUS}
        if len(left) < 2:
            return None
        signs.update("-" if texts[name] in _MINUS else "0" for name in left if texts[name] not in _YES)
        num_rows += 1
    if not num_rows or len(signs) > 1:
        return None
    for _, cells in table.rows(list(left), []):
        num_single += len(classes_in(cells, list(left))) == 1
    return OneHot(tuple(left), num_single == num_rows)


def classes_in(cells: Mapping[str, Any], columns: Sequence[str]) -> tuple[str, ...]:
    """Return the classes of a row, sorted.

    Raises:
        ValueError: A cell is neither 0 nor 1.
    """
    found = []
    for name in columns:
        text = _text(cells.get(name))
        if text in _YES:
            found.append(name)
        elif text not in _NO | _MINUS:
            raise ValueError(f"{name} is {cells.get(name)!r}; as a one-hot column, it must be 0 or 1")
    return tuple(sorted(found))


def is_number(value: Any) -> bool:
    """Return whether a cell contains a number."""
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _text(value: Any) -> str:
    return str(value).strip().lower()
