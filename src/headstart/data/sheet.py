"""A picture of photos beside their views: what a configuration makes of the data, to be looked at."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from headstart.images.view import View

_CELL: Final = 176  # px, a picture's side
_GAP: Final = 12
_MARGIN: Final = 28
_CAPTION: Final = 66  # four lines below each picture
_LINES: Final = 3  # of small print
_INK, _PALE, _RULE, _PAPER, _CARD = "#1c1f24", "#6b7280", "#e2e4e8", "#ffffff", "#eef0f3"


@dataclass(frozen=True)
class Picture:
    """One cell of the sheet.

    Attributes:
        pixels: (H, W, 3) uint8, as ``fit`` makes it.
        title: The line below.
        text: Up to three lines more, in small print.
    """

    pixels: np.ndarray
    title: str
    text: str = ""


@dataclass(frozen=True)
class Section:
    """Rows of pictures under a heading.

    Attributes:
        heading: What they show.
        lines: More about it, in small print.
        rows: Each begins with the original, set apart by a wider gap.
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
    wrapped = [[part for line in s.lines for part in _wrap(line, 13, width - 2 * _MARGIN)] for s in sections]
    row_height = _CELL + _CAPTION + _GAP
    heights = [
        24 + 18 * len(lines) + 14 + row_height * len(section.rows) + 10
        for section, lines in zip(sections, wrapped, strict=True)
    ]
    sheet = Image.new("RGB", (width, _MARGIN + 40 + sum(heights) + _MARGIN - _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (_MARGIN, _MARGIN), title, 22, _INK, width - 2 * _MARGIN)
    top = _MARGIN + 40
    for section, lines, height in zip(sections, wrapped, heights, strict=True):
        draw.line([(_MARGIN, top - 4), (width - _MARGIN, top - 4)], fill=_RULE)
        _write(draw, (_MARGIN, top + 4), section.heading, 16, _INK, width - 2 * _MARGIN)
        for number, line in enumerate(lines):
            _write(draw, (_MARGIN, top + 28 + 18 * number), line, 13, _PALE, width - 2 * _MARGIN)
        y = top + 24 + 18 * len(lines) + 14
        for row in section.rows:
            for column, picture in enumerate(row):
                x = _MARGIN + column * (_CELL + _GAP) + (_GAP if column > 0 else 0)
                _place(sheet, draw, picture, x, y)
            y += row_height
        top += height
    return sheet


def fit(image: np.ndarray | Image.Image) -> np.ndarray:
    """Shrink an image to a cell, if it is larger; at once, as a sheet may have a thousand."""
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    if max(image.size) > _CELL:
        image = ImageOps.contain(image, (_CELL, _CELL), Image.Resampling.LANCZOS)
    return np.asarray(image)


def describe(view: View, share: float) -> str:
    """Say in a few words what a view does; what cannot be seen is left out.

    Args:
        view: As it was drawn.
        share: How much of the photo's area its part has become.
    """
    words = [] if view.part is None else [f"{100 * share:.0f} % of it"]
    for name, numbers in view.geometry:
        if name in ("shear", "translate"):
            if max(map(abs, numbers)) >= 0.005:
                amounts = [f"{100 * number:+.0f}" for number in numbers]
                words.append(f"{'shift' if name == 'translate' else name} {', '.join(amounts)} %")
        elif name == "rotate":
            words += [f"turn {numbers[0]:+.0f}°"] if abs(numbers[0]) >= 0.5 else []
        elif name == "scale":
            words.append(f"× {numbers[0]:.2f}")
        else:
            words.append({"flip-x": "mirrored", "flip-y": "upside down", "perspective": "slanted"}[name])
    short = {"brightness": "bright", "saturation": "colour", "sharpness": "sharp", "contrast": "contrast"}
    for name, numbers in view.pixels:
        if name in short:
            words += [f"{short[name]} {numbers[0]:.2f}"] if abs(numbers[0] - 1) >= 0.005 else []
        elif name == "hue":
            words += [f"hue {360 * numbers[0]:+.0f}°"] if abs(numbers[0]) >= 0.002 else []
        elif name in ("posterise", "solarise"):
            words.append(f"{name} {numbers[0]:.0f}")
        elif name == "noise":
            words.append(f"noise {numbers[0]:.2f}")
        elif name == "blur":
            words.append(f"blur {numbers[0]:.1f}")
        else:
            words.append("hole" if name == "erase" else name)
    return " ".join(f"{word} ·".replace(" ", "\N{NO-BREAK SPACE}") for word in words)[:-2] or "as it is"


def _place(sheet: Image.Image, draw: ImageDraw.ImageDraw, picture: Picture, x: int, y: int) -> None:
    image = Image.fromarray(picture.pixels)
    image = ImageOps.contain(image, (_CELL, _CELL), Image.Resampling.NEAREST)  # what is smaller, as it is
    draw.rectangle([x, y, x + _CELL - 1, y + _CELL - 1], fill=_CARD)
    sheet.paste(image, (x + (_CELL - image.width) // 2, y + (_CELL - image.height) // 2))
    _write(draw, (x, y + _CELL + 4), picture.title, 13, _INK, _CELL)
    lines = _wrap(picture.text, 11, _CELL)
    lines[_LINES - 1 :] = [" ".join(lines[_LINES - 1 :])]  # the last is cut off where it is too long
    for number, line in enumerate(lines):
        _write(draw, (x, y + _CELL + 21 + 14 * number), line, 11, _PALE, _CELL)


def _write(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, fill: str, width: int
) -> None:
    """Write one line, cut off with an ellipsis where it is too long."""
    font = _font(size)
    text = text.replace("\N{NO-BREAK SPACE}", " ")
    text = "".join(c if c.isprintable() else "�" for c in text)
    if font.getlength(text) > width:
        while text and font.getlength(f"{text}…") > width:
            text = text[:-1]
        text = f"{text}…"
    draw.text(at, text, font=font, fill=fill)


def _wrap(text: str, size: int, width: int) -> list[str]:
    """Break a line between words."""
    font, lines = _font(size), [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Matplotlib's DejaVu Sans, which knows Greek and Cyrillic, where it is installed; else Pillow's own."""
    package = importlib.util.find_spec("matplotlib")  # found, not imported
    if package is not None and package.origin is not None:
        path = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if path.is_file():
            return ImageFont.truetype(path, size)
    return ImageFont.load_default(size)
