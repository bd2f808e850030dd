"""Classes as columns: a 1 in the column of each class that a photo has (Roboflow, ISIC, plant pathology)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from headstart.columns import listed
from headstart.data.sources.tabular import Table
from headstart.errors import DataError

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


@dataclass(slots=True)
class Flags:
    """The columns of a table that contain 0 and 1, or -1 and 1, in nearly all rows.

    Attributes:
        columns: Their names.
        num_rows, num_single: All rows, and those with exactly one class.
        wrong: The first other cell of each column that has one, as (place of the row, content).
        signs: Place of the first 0 and of the first -1 in each column, by column and sign.
    """

    columns: list[str]
    num_rows: int = 0
    num_single: int = 0
    wrong: dict[str, tuple[str, Any]] = field(default_factory=dict)
    signs: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))

    @classmethod
    def of(cls, table: Table, names: Sequence[str], *, are_named: bool = False) -> Flags:
        """Find the columns. At most one cell, or 1% of a column's cells, may be something else.

        Reading ends when fewer than two columns are left, so that other tables cost nothing.

        Args:
            table: The table, which is read once.
            names: The columns that may be such.
            are_named: Whether the user named them, so that all are kept, whatever they contain.
        """
        found = cls(list(names))
        num_wrong = dict.fromkeys(names, 0)
        for number, cells in table.rows(names, []):
            if len(found.columns) < 2 and not are_named:
                break
            found.num_rows += 1
            place = f"{table.place} {number}"
            num_yes = 0
            for name in list(found.columns):
                text = _text(cells.get(name))
                if text in _YES:
                    num_yes += 1
                elif text in _NO or text in _MINUS:
                    found.signs[name].setdefault("-1" if text in _MINUS else "0", place)
                else:
                    found.wrong.setdefault(name, (place, cells.get(name)))
                    num_wrong[name] += 1
                    if num_wrong[name] > 1 + found.num_rows // 100 and not are_named:
                        found._drop(name)
            found.num_single += num_yes == 1
        for name in [] if are_named else names:
            if name in found.columns and 2 * num_wrong[name] >= found.num_rows:
                found._drop(name)
        return found

    def _drop(self, name: str) -> None:
        self.columns.remove(name)
        self.wrong.pop(name, None)

    def refuse_both_signs(self, path: str) -> None:
        """Raise DataError if one cell of the columns is 0 and another is -1."""
        first: dict[str, str] = {}
        for name in self.columns:
            for sign, place in self.signs[name].items():
                first.setdefault(sign, f"{name!r}, {place}")
        if len(first) < 2:
            return
        raise DataError(
            f"{path!r} has both 0 ({first['0']}) and -1 ({first['-1']}) in one-hot columns, so -1 may mean "
            "absent or uncertain (as in CheXpert). If it means absent, write 0 instead; if it means "
            "uncertain, write 0 or 1, or leave the rows out."
        )


def find_one_hot(path: str, table: Table, names: Sequence[str]) -> OneHot | None:
    """Return the columns as one-hot classes, if all contain only 0 and 1 (or -1 and 1); None if none does.

    Raises:
        DataError: Only some of the columns are such, or a few cells are something else.
    """
    flags = Flags.of(table, names)
    if len(flags.columns) < 2:
        return None
    choose = f"--label-column {','.join(flags.columns)}"
    if others := [name for name in names if name not in flags.columns]:
        raise DataError(
            f"{path!r} has columns that contain 0 and 1 ({listed(list(map(repr, flags.columns)), 8)}) and "
            f"others ({listed(list(map(repr, others)), 8)}). Which are the labels? One-hot classes: "
            f"{choose}. Names of classes: --label-column NAME. Numbers to predict: --target NAME"
        )
    if flags.wrong:
        name, (place, cell) = next(iter(flags.wrong.items()))
        raise DataError(
            f"{path!r}, {place}: column {name!r} is {cell!r}, but nearly all of its other cells are 0 or 1. "
            "Write 0 or 1 if it is a one-hot class; else name the columns that are: --label-column NAME,NAME"
        )
    flags.refuse_both_signs(path)
    return OneHot(tuple(flags.columns), flags.num_single == flags.num_rows)


def named_one_hot(path: str, table: Table, names: Sequence[str]) -> OneHot:
    """Return the one-hot columns that the user names. Wrong cells are left to the reader of rows.

    Raises:
        DataError: They contain both 0 and -1.
    """
    flags = Flags.of(table, names, are_named=True)
    flags.refuse_both_signs(path)
    return OneHot(tuple(names), not flags.wrong and flags.num_single == flags.num_rows > 0)


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
