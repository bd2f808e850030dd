"""Boxes: transforming them with a view, and their overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from headstart.images.view import Box, View

if TYPE_CHECKING:
    from headstart.images.settings import Preprocessing


def to_input(box: Box, size: tuple[int, int], view: View, settings: Preprocessing) -> tuple[Box, float]:
    """Transform a box from its photo to the network's input.

    Args:
        box: xmin, ymin, xmax, ymax in pixels of the photo as a viewer displays it.
        size: Width and height of the photo.
        view: The version of the photo that the network gets.
        settings: How photos become the network's input.

    Returns:
        The axis-aligned bounding box of the transformed box, as fractions of the input's sides, clipped to
        the input; and the fraction of its area that remains after clipping, in 0..1.
    """
    moved = _moved(box, np.linalg.inv(view.matrix(*size, settings))) / settings.size_px
    seen = np.clip(moved, 0, 1)
    return tuple(seen.tolist()), area(seen) / area(moved)


def to_photo(shares: Box | np.ndarray, size: tuple[int, int], settings: Preprocessing) -> Box:
    """Transform a predicted box from the network's input, without augmentation, to its photo.

    Args:
        shares: xmin, ymin, xmax, ymax as fractions of the input's sides.
        size: Width and height of the photo.
        settings: How photos become the network's input.

    Returns:
        The box in pixels of the photo, clipped to the photo.
    """
    moved = _moved(np.asarray(shares) * settings.size_px, View().matrix(*size, settings))
    cut = np.clip(moved, 0, np.tile(size, 2))
    return tuple(cut.tolist())


def turned_upright(box: Box, size: tuple[float, float], orientation: int) -> Box:
    """Transform a box from the stored pixels to the photo as a viewer displays it.

    Args:
        box: xmin, ymin, xmax, ymax in the stored pixels.
        size: Width and height of the stored pixels.
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
    """Return the areas (...) of boxes (..., 4)."""
    product: np.ndarray = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    return product


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the intersection over union of each pair, (N,) in 0..1; 0 if a box is inverted or empty.

    Args:
        first: (N, 4), xmin, ymin, xmax, ymax.
        second: (N, 4), in the same unit.
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
