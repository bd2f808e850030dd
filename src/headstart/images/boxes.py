"""Boxes: where a view moves them, and how well two agree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from headstart.images.view import Box, View

if TYPE_CHECKING:
    from headstart.images.settings import Preprocessing


def to_input(box: Box, size: tuple[int, int], view: View, settings: Preprocessing) -> tuple[Box, float]:
    """Move a box along with its photo into the network's input.

    Args:
        box: xmin, ymin, xmax, ymax in pixels of the photo as a viewer shows it.
        size: The photo's width and height.
        view: Which version of the photo the network sees.
        settings: How photos become the network's input.

    Returns:
        The upright box around what the view made of it, in shares of the input's sides and cut off at them;
        and the share of its area that is left after that, in 0..1.
    """
    moved = _moved(box, np.linalg.inv(view.matrix(*size, settings))) / settings.size_px
    seen = np.clip(moved, 0, 1)
    return tuple(seen.tolist()), area(seen) / area(moved)


def to_photo(shares: Box | np.ndarray, size: tuple[int, int], settings: Preprocessing) -> Box:
    """Move a predicted box from the network's input, seen without augmentation, into its photo.

    Args:
        shares: Of the input's sides.
        size: The photo's width and height.
        settings: How photos become the network's input.

    Returns:
        The box in pixels of the photo, cut off at its sides.
    """
    moved = _moved(np.asarray(shares) * settings.size_px, View().matrix(*size, settings))
    cut = np.clip(moved, 0, np.tile(size, 2))
    return tuple(cut.tolist())


def turned_upright(box: Box, size: tuple[float, float], orientation: int) -> Box:
    """Move a box from the pixels as they are stored to the photo as a viewer shows it.

    Args:
        box: xmin, ymin, xmax, ymax in the photo as it is stored.
        size: Width and height as stored.
        orientation: The EXIF orientation, 1..8.
    """
    xmin, ymin, xmax, ymax = box
    if orientation in (2, 3, 7, 8):  # the stored x axis points the other way
        xmin, xmax = size[0] - xmax, size[0] - xmin
    if orientation in (3, 4, 6, 7):  # so does the stored y axis
        ymin, ymax = size[1] - ymax, size[1] - ymin
    # From 5 on, the stored rows are the columns that a viewer shows.
    return (xmin, ymin, xmax, ymax) if orientation < 5 else (ymin, xmin, ymax, xmax)


def area(boxes: np.ndarray) -> np.ndarray:
    """Return the areas, (...), of boxes (..., 4)."""
    product: np.ndarray = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    return product


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return each pair's intersection over union, (N,) in 0..1; 0 where a box is inverted or empty.

    Args:
        first: (N, 4), xmin, ymin, xmax, ymax.
        second: Likewise, in the same unit.
    """
    inner = np.concatenate(
        [np.maximum(first[:, :2], second[:, :2]), np.minimum(first[:, 2:], second[:, 2:])], 1
    )
    shared = np.where((inner[:, 2:] > inner[:, :2]).all(1), area(inner), 0)
    union = area(first) + area(second) - shared
    proper = (first[:, 2:] > first[:, :2]).all(1) & (second[:, 2:] > second[:, :2]).all(1)
    overlaps: np.ndarray = np.divide(shared, union, out=np.zeros(len(first)), where=proper)
    return overlaps


def _moved(box: Box | np.ndarray, matrix: np.ndarray) -> np.ndarray:
    left, top, right, bottom = box
    corners = np.array([(left, top, 1), (right, top, 1), (right, bottom, 1), (left, bottom, 1.0)]) @ matrix.T
    points = corners[:, :2] / corners[:, 2:]
    return np.concatenate([points.min(0), points.max(0)])
