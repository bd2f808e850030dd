"""Formats text for people, in a terminal or a notebook: aligned columns, tables, numbers with nouns."""

from __future__ import annotations

import base64
import html
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return ``"1 photo"`` or ``"2 photos"``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listed(names: Sequence[str], most: int) -> str:
    """Return ``"a, b, c"``, or ``"a, b and 4 more"`` if there are more than so many names."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def round_numbers() -> Iterator[int]:
    """Yield 1, 2, 5, 10, 20, 50, ..., at which an axis may have its marks."""
    return (digit * 10**power for power in itertools.count() for digit in (1, 2, 5))


def score_text(name: str, value: float, decimals: int = 3) -> str:
    """Format a score. Errors in the unit of a target keep their significant digits."""
    in_its_unit = name in ("mae", "rmse") and not 0.1 <= abs(value) < 1e7
    return f"{value:.{decimals}{'g' if in_its_unit else 'f'}}"


def named_score(name: str, value: float) -> str:
    """Return the name of a score in words, and its value, such as "balanced accuracy 0.990"."""
    return f"{name.replace('_', ' ')} {score_text(name, value)}"


def interval_text(name: str, interval: tuple[float, float] | None, decimals: int = 3) -> str:
    """Return the ends of the interval of a score, or a dash."""
    if interval is None:
        return "–"
    low, high = (score_text(name, end, decimals) for end in interval)
    return f"{low} to {high}" if low.startswith("-") else f"{low}–{high}"


def cell(name: str, value: Any) -> str:
    """Return the text of a value in the column of this name."""
    if value is None:
        return "–"
    return score_text(name, value) if isinstance(value, float) else str(value)


def align(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Return one line of cells, two spaces apart.

    Control characters and characters that cannot be displayed, as file names may contain them, are escaped.

    Args:
        cells: Text of each column.
        widths: Width of each column in characters on a terminal; negative to align at the left, as in printf.
            Longer text is not truncated.
    """
    return "  ".join(
        text + padding if width < 0 else padding + text
        for text, width in zip(map(printable, cells), widths, strict=True)
        for padding in [" " * (abs(width) - width_of(text))]
    ).rstrip()


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table: the first column at the left, the others, mostly numbers, at the right."""
    widths = [max(map(width_of, column)) for column in zip(header, *rows, strict=True)]
    widths[0] = -widths[0]
    return (align(row, widths) for row in (header, *rows))


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the table as HTML for a notebook, aligned like ``table``."""
    style = 'style="text-align: right; padding: 0.1em 0.8em"'

    def line(cells: Sequence[str], tag: str) -> str:
        first, *others = map(html.escape, cells)
        return (
            f'<tr><th style="text-align: left">{first}</th>'
            + "".join(f"<{tag} {style}>{text}</{tag}>" for text in others)
            + "</tr>"
        )

    body = "".join(line(row, "td") for row in rows)
    return f"<table><thead>{line(header, 'th')}</thead><tbody>{body}</tbody></table>"


def html_picture(picture: Path | bytes, words: str, kind: str = "png") -> str:
    """Return a picture as HTML for a notebook; an empty text if its file cannot be read.

    Args:
        picture: The file, or its content.
        words: Its alternative text.
        kind: Its media type: ``png`` or ``svg+xml``.
    """
    try:
        content = base64.b64encode(picture if isinstance(picture, bytes) else picture.read_bytes()).decode()
    except OSError:
        return ""
    return (
        f'<img src="data:image/{kind};base64,{content}" alt="{html.escape(words)}" style="max-width: 100%">'
    )


def width_of(text: str) -> int:
    """Return the width of a text on a terminal in characters; 猫 and 🐶 take two."""
    from rich.cells import cell_len

    return cell_len(printable(text))


def printable(text: str) -> str:
    """Return a text with line breaks, control characters and undecodable bytes as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
