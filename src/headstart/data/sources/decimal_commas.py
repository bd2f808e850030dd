"""Numbers with decimal commas, as spreadsheets write them in much of Europe: 12,5."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from headstart.data.sources.tabular import Row, Table

_WITH_COMMA: Final = re.compile(r"\s*[+-]?\d+,\d+(?:[eE][+-]?\d+)?\s*")
_LIKE_THOUSANDS: Final = re.compile(r"\s*[+-]?[1-9]\d{0,2},\d{3}\s*")


def with_points(table: Table, names: Sequence[str]) -> Table:
    """Return a table whose numbers have decimal points.

    Spreadsheets that write decimal commas separate cells with semicolons or tabs. There, a comma is the
    decimal sign of a column if some of its numbers have one and none has a point. In one of the columns, a
    number with a comma must not look like thousands (``1,250``), or else all of them may be thousands.

    Args:
        table: An open table.
        names: Its columns of numbers.

    Returns:
        The same table, if it has no decimal commas.
    """
    if table.separator not in (";", "\t") or not names:
        return table
    commas, points, sure = set[str](), set[str](), set[str]()  # names of columns
    for _, cells in table.rows(names, []):
        for name, cell in cells.items():
            if not isinstance(cell, str):
                continue
            if "." in cell:
                points.add(name)
            elif _WITH_COMMA.fullmatch(cell):
                commas.add(name)
                if not _LIKE_THOUSANDS.fullmatch(cell):
                    sure.add(name)
    changed = commas - points if sure - points else set()
    if not changed:
        return table

    def rows(used: Sequence[str], errors: list[str]) -> Iterator[tuple[int, Row]]:
        for number, cells in table.rows(used, errors):
            yield number, {name: _pointed(cell) if name in changed else cell for name, cell in cells.items()}

    shown = ", ".join(repr(name) for name in names if name in changed)
    note = f"Numbers with decimal commas are read in {shown}: 12,5 is twelve and a half."
    return dataclasses.replace(table, rows=rows, notes=(*table.notes, note))


def _pointed(cell: Any) -> Any:
    is_number = isinstance(cell, str) and _WITH_COMMA.fullmatch(cell)
    return cell.replace(",", ".") if is_number else cell
