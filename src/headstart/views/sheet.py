"""Draws a picture of photos beside their augmented views."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from headstart.images.view import Step

_CELL: Final = 176  # px, a picture's side
_GAP: Final = 12
_MARGIN: Final = 28
_INK, _PALE, _RULE, _PAPER, _CARD = "#1c1f24", "#6b7280", "#e2e4e8", "#ffffff", "#eef0f3"


@dataclass(frozen=True)
class Picture:
    """One cell of the sheet.

    Attributes:
        pixels: (H, W, 3) uint8, as ``fit`` makes it.
        title: Caption below the picture.
        text: Further lines of the caption, in small print.
    """

    pixels: np.ndarray
    title: str
    text: str = ""


@dataclass(frozen=True)
class Section:
    """Rows of pictures under a heading.

    Attributes:
        heading: Heading of the section.
        lines: Further lines of the heading, in small print.
        rows: Rows of pictures; each begins with the original, followed by a wider gap.
    """

    heading: str
    lines: Sequence[str]
    rows: Sequence[Sequence[Picture]]


def draw_sheet(title: str, sections: Iterable[Section]) -> Image.Image:
    """Draw sections below each other.

    Args:
        title: The first line.
        sections: At least one, with at least one row.
    """
    sections = list(sections)
    num_columns = max(len(row) for section in sections for row in section.rows)
    width = 2 * _MARGIN + num_columns * (_CELL + _GAP)
    text_width = width - 2 * _MARGIN
    title_lines = _wrap(title, 22, text_width)
    top = _MARGIN + 12 + 28 * len(title_lines)
    sheet = Image.new("RGB", (width, top + sum(_height(each, text_width) for each in sections)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (_MARGIN, _MARGIN), title_lines, 22, _INK, 28)
    for section in sections:
        draw.line([(_MARGIN, top - 4), (width - _MARGIN, top - 4)], fill=_RULE)
        y = _write(draw, (_MARGIN, top + 4), _wrap(section.heading, 16, text_width), 16, _INK, 22)
        y = _write(draw, (_MARGIN, y + 2), _small_print(section, text_width), 13, _PALE, 18) + 8
        for row in section.rows:
            for column, picture in enumerate(row):
                x = _MARGIN + column * (_CELL + _GAP) + (_GAP if column > 0 else 0)
                _place(sheet, draw, picture, x, y)
            y += _row_height(row)
        top += _height(section, text_width)
    return sheet


def fit(image: np.ndarray | Image.Image) -> np.ndarray:
    """Scale an image down to the size of a cell, to save memory: a sheet may have a thousand cells."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    if max(image.size) > _CELL:
        image = ImageOps.contain(image, (_CELL, _CELL), Image.Resampling.LANCZOS)
    return np.asarray(image)


def describe(operations: Iterable[tuple[str, Sequence[Step]]], share: float) -> str:
    """Describe a view in a few words, by the names of operations; invisible changes are left out.

    Args:
        operations: The result of ``Augmentation.steps``.
        share: Area of the visible part as a fraction of the photo.
    """
    told = []
    for op, steps in operations:
        seen = [
            (name, text) for name, numbers in steps if (text := _in_words(name, numbers, share)) is not None
        ]
        if op in ("randaugment", "trivialaugment"):  # what they chose, by their tables' names
            told += [[f"{name} {text}"] for name, text in seen]
        elif op == "affine":
            told += [["affine", *(f"{name} {text}," for name, text in seen)]] if seen else []
        elif seen:
            told.append([f"{op} {seen[0][1]}"])
    # Lines are broken between operations, and between the parts of one.
    words = [[part.strip().replace(" ", "\N{NO-BREAK SPACE}") for part in parts] for parts in told]
    return "\N{NO-BREAK SPACE}· ".join(" ".join(parts).rstrip(",") for parts in words) or "as it is"


def _in_words(name: str, numbers: Sequence[float], share: float) -> str | None:
    """Return the parameters of one operation as text; empty if it has no visible effect."""
    match name:
        case "part":
            return f"{100 * share:.0f} %"
        case "shear" | "translate":
            amounts = ", ".join(f"{100 * number:+.0f}" for number in numbers)
            return f"{amounts} %" if max(map(abs, numbers)) >= 0.005 else None
        case "rotate":
            return f"{numbers[0]:+.0f}°" if abs(numbers[0]) >= 0.5 else None
        case "scale" | "brightness" | "contrast" | "saturation" | "sharpness":
            return f"{numbers[0]:.2f}" if abs(numbers[0] - 1) >= 0.005 else None
        case "hue":
            return f"{360 * numbers[0]:+.0f}°" if abs(numbers[0]) >= 0.002 else None
        case "posterise" | "solarise":
            return f"{numbers[0]:.0f}"
        case "noise":
            return f"{numbers[0]:.2f}"
        case "blur":
            return f"{numbers[0]:.1f}"
        case _:
            return ""


def _place(sheet: Image.Image, draw: ImageDraw.ImageDraw, picture: Picture, x: int, y: int) -> None:
    image = Image.fromarray(picture.pixels)
    image = ImageOps.contain(image, (_CELL, _CELL), Image.Resampling.NEAREST)  # what is smaller, as it is
    draw.rectangle([x, y, x + _CELL - 1, y + _CELL - 1], fill=_CARD)
    sheet.paste(image, (x + (_CELL - image.width) // 2, y + (_CELL - image.height) // 2))
    y = _write(draw, (x, y + _CELL + 4), _wrap(picture.title, 13, _CELL), 13, _INK, 17)
    _write(draw, (x, y), _wrap(picture.text, 11, _CELL), 11, _PALE, 14)


def _height(section: Section, width: int) -> int:
    heading = 4 + 22 * len(_wrap(section.heading, 16, width)) + 2
    small_print = 18 * len(_small_print(section, width)) + 8
    return heading + small_print + sum(map(_row_height, section.rows)) + 10


def _small_print(section: Section, width: int) -> list[str]:
    return [part for line in section.lines for part in _wrap(line, 13, width)]


def _row_height(row: Sequence[Picture]) -> int:
    """Return the height of a row, including the longest caption."""
    heights = [17 * len(_wrap(p.title, 13, _CELL)) + 14 * len(_wrap(p.text, 11, _CELL)) for p in row]
    return _CELL + 4 + max(heights) + _GAP


def _write(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], lines: Iterable[str], size: int, fill: str, height: int
) -> int:
    """Write lines below each other, each ``height`` pixels high; return the y position of the next."""
    x, y = at
    for line in lines:
        draw.text((x, y), line, font=_font(size), fill=fill)
        y += height
    return y


def _wrap(text: str, size: int, width: int) -> list[str]:
    """Wrap a text between words; words wider than a line, such as file names, are broken."""
    text = "".join(c if c.isprintable() or c == "\N{NO-BREAK SPACE}" else "�" for c in text)
    font, lines = _font(size), [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip(" ")
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
        while font.getlength(lines[-1]) > width and len(lines[-1]) > 1:
            fits = [n for n in range(1, len(lines[-1])) if font.getlength(lines[-1][:n]) <= width]
            end = max(fits, default=1)
            lines[-1:] = [lines[-1][:end], lines[-1][end:]]
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines if line]


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return matplotlib's DejaVu Sans, if installed, for Greek and Cyrillic; else Pillow's own font."""
    package = importlib.util.find_spec("matplotlib")  # found, not imported
    if package is not None and package.origin is not None:
        path = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.is_file():
            return ImageFont.truetype(path, size)
    return ImageFont.load_default(size)
