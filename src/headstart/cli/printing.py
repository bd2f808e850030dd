"""What commands print: columns."""

from __future__ import annotations

from typing import Any

from headstart.columns import align, score_text, width_of


def print_columns(header: list[str], rows: list[list[str]]) -> None:
    """Print aligned columns, the first to the left, the others, which are mostly numbers, to the right."""
    widths = [max(map(width_of, column)) for column in zip(header, *rows, strict=True)]
    widths[0] = -widths[0]
    for row in [header, *rows]:
        print(align(row, widths))


def cell(name: str, value: Any) -> str:
    """Return a value as a table shows it, in the column of this name."""
    if value is None:
        return "–"
    return score_text(name, value) if isinstance(value, float) else str(value)
