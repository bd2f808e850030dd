"""What commands print: columns."""

from __future__ import annotations

from typing import Any

from headstart.columns import score_text, table


def print_columns(header: list[str], rows: list[list[str]]) -> None:
    """Print aligned columns: see ``columns.table``."""
    for line in table(header, rows):
        print(line)


def cell(name: str, value: Any) -> str:
    """Return a value as a table shows it, in the column of this name."""
    if value is None:
        return "–"
    return score_text(name, value) if isinstance(value, float) else str(value)
