"""Draws heat maps on photos.

The colours run from dark violet over red and orange to light yellow. Their lightness rises all the way, so
they can be told apart with every kind of colour blindness and in grey. The photo below is grey, so that no
colour is its own.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

from headstart.images.view import Box

_COLOURS: Final = np.array([(34, 14, 84), (130, 26, 116), (214, 62, 78), (250, 148, 38), (255, 246, 160)])
_NUM_LEVELS: Final = 256
_MOST_OPAQUE: Final = 0.6
_LEAST: Final = 1e-12
_LIGHTEST: Final = 0.85  # of the grey photo, so that the lightest colour shows on white, too


def draw_heat(photo: Image.Image, values: np.ndarray, area: Box) -> Image.Image:
    """Draw a heat map on a photo: nothing where values are 0 or less, the lightest colour at the largest.

    Values between the centres of positions are interpolated linearly. Around the area, the photo is as it is.

    Args:
        photo: RGB, upright; it is not changed.
        values: (h, w), by row and column of the map.
        area: What the map covers, in pixels of ``photo``; it may go beyond its edges.

    Returns:
        An image of the same size.
    """
    left, top, right, bottom = area
    rows, is_in_rows = _along(values.shape[0], photo.height, top, bottom)
    columns, is_in_columns = _along(values.shape[1], photo.width, left, right)
    heat = rows @ (values / max(float(values.max()), _LEAST)).astype(np.float32) @ columns.T
    levels = (np.clip(heat, 0, 1) * (_NUM_LEVELS - 1)).round().astype(np.intp)
    grey = _LIGHTEST * np.asarray(photo.convert("L"), np.float32)[..., None]
    scale = np.linspace(0, 1, _NUM_LEVELS)
    places = np.linspace(0, 1, len(_COLOURS))
    opacity = (_MOST_OPAQUE * np.sqrt(scale)).astype(np.float32)[:, None]
    colours = np.stack([np.interp(scale, places, channel) for channel in _COLOURS.T], 1).astype(np.float32)
    drawn = (opacity * colours)[levels] + (1 - opacity)[levels] * grey
    is_inside = (is_in_rows[:, None] & is_in_columns)[..., None]
    return Image.fromarray(np.where(is_inside, (drawn + 0.5).astype(np.uint8), np.asarray(photo)))


def _along(number: int, num_pixels: int, first: float, last: float) -> tuple[np.ndarray, np.ndarray]:
    """Return how pixels along a side depend on the positions of the map, and which of them it covers.

    Returns:
        (num_pixels, number) weights, whose rows add up to 1; and (num_pixels,) bool.
    """
    places = (np.arange(num_pixels) + 0.5 - first) / (last - first) * number
    weights = [np.interp(places - 0.5, np.arange(number), one) for one in np.eye(number)]
    return np.stack(weights, 1).astype(np.float32), (places >= 0) & (places < number)
