"""Draws predictions on photos: boxes, and a line of text below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from headstart.images.view import Box

_LONGEST_SIDE_PX: Final = 1000
_COLOURS: Final = ("#d4380d", "#1f6feb")


def annotate(photo: Image.Image, words: str, boxes: Sequence[Box] = ()) -> Image.Image:
    """Draw boxes on a photo and text below it; a large photo is scaled down first.

    Args:
        photo: RGB; it is not changed.
        words: One line of text, truncated to the width of the photo.
        boxes: In pixels of the photo. The first is red; the second, usually the true box, is blue.
    """
    scale = min(1, _LONGEST_SIDE_PX / max(photo.size))
    width, height = (max(1, round(scale * side)) for side in photo.size)
    font = ImageFont.load_default(size=max(12, min(22, width // 24)))
    _, top, _, bottom = font.getbbox("Åg")
    margin = 6
    picture = Image.new("RGB", (width, height + round(bottom - top) + 2 * margin), "white")
    picture.paste(photo.resize((width, height), Image.Resampling.LANCZOS))
    pen = ImageDraw.Draw(picture)
    for box, colour in zip(boxes, _COLOURS, strict=False):
        sides = [
            min(max(scale * side, 0), limit)
            for side, limit in zip(box, (width - 1, height - 1) * 2, strict=True)
        ]
        pen.rectangle(sides, outline="white", width=5)  # an edge that shows on any photo
        pen.rectangle(sides, outline=colour, width=3)
    pen.text((margin, height + margin - top), words, fill="black", font=font)
    return picture


def outline(pixels: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return a copy of pixels, (H, W, 3) uint8, with the outline of a box."""
    picture = Image.fromarray(pixels)
    limits = np.array([picture.width - 1, picture.height - 1] * 2)
    sides = np.clip(np.round(box), 0, limits).tolist()
    pen = ImageDraw.Draw(picture)
    pen.rectangle(sides, outline="white", width=4)
    pen.rectangle(sides, outline=_COLOURS[0], width=2)
    return np.asarray(picture)
