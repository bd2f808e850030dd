"""One augmented version of a photo as parameters, and its geometry as one matrix."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from headstart.images.settings import Preprocessing

Step: TypeAlias = tuple[str, tuple[float, ...]]
"""Name of an operation, and its parameters."""

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels; integers are the boundaries between pixels."""


@dataclass(frozen=True)
class View:
    """One augmented version of a photo. With the default values, the photo is not changed.

    Attributes:
        part: The crop that replaces the centre crop: its area as a fraction of the photo's, its aspect ratio
            (width / height), and its position (0 is left or top, 1 is right or bottom). None for the crop
            that prediction uses.
        geometry: Keys of ``WARPS`` with their parameters, in the order of application.
        pixels: Keys of ``images.adjust.ADJUSTMENTS`` with their parameters, in the order of application.
    """

    part: tuple[float, float, float, float] | None = None
    geometry: tuple[Step, ...] = ()
    pixels: tuple[Step, ...] = ()

    def box(self, width: int, height: int, settings: Preprocessing) -> Box:
        """Return the visible part of a photo of this size, before ``geometry`` is applied.

        The part keeps its aspect ratio and is made smaller if it does not fit into the photo. With ``squash``
        and ``pad``, the aspect ratio is relative to that of the photo, because prediction distorts or pads
        photos in the same way.
        """
        if self.part is None:
            if settings.resize != "crop":
                return 0, 0, width, height
            side = settings.crop_fraction * min(width, height)
            return (width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2
        area, aspect, x, y = self.part
        if settings.resize != "crop":
            aspect *= width / height
        box_width = math.sqrt(area * width * height * aspect)
        box_height = math.sqrt(area * width * height / aspect)
        smaller = min(1, width / box_width, height / box_height)
        box_width, box_height = smaller * box_width, smaller * box_height
        left, top = max(0, x * (width - box_width)), max(0, y * (height - box_height))
        # Never beyond the photo, whatever rounding does.
        return left, top, min(left + box_width, width), min(top + box_height, height)

    def warp(self) -> np.ndarray:
        """Return the matrix (3, 3) float64 of ``geometry``, from output to input.

        Both are squares from -1 to 1, x to the right and y down, in homogeneous coordinates.
        """
        matrix = np.eye(3)
        for name, numbers in self.geometry:
            matrix = np.matmul(matrix, WARPS[name](*numbers))
        return matrix

    def matrix(self, width: int, height: int, settings: Preprocessing) -> np.ndarray:
        """Return the matrix (3, 3) float64 from the network's input to a photo of this size, in pixels.

        It maps a point (column, row, 1) of the input to homogeneous coordinates of the photo. Its inverse
        transforms boxes.
        """
        box, half = self.box(width, height, settings), settings.size_px / 2
        to_square, to_pixels = _scaling(1 / half, 1 / half, -1, -1), _scaling(half, half, half, half)
        matrix: np.ndarray = _placing(rectangle(box, settings), box) @ to_pixels @ self.warp() @ to_square
        return matrix

    def magnification(self) -> float:
        """Return the largest magnification of details compared with the whole photo.

        It determines the resolution at which a photo must be decoded, before its size is known.
        """
        area, aspect = (1.0, 1.0) if self.part is None else self.part[:2]
        smallest_side = min(math.sqrt(area * min(aspect, 1 / aspect)), aspect, 1 / aspect)
        if not self.geometry:
            return 1 / smallest_side
        # Singular values of the warp's Jacobian in the middle: the smallest belongs to what is enlarged most.
        return float(1 / (smallest_side * np.linalg.svd(jacobian(self.warp(), 0, 0), compute_uv=False)[-1]))


def rectangle(box: Box, settings: Preprocessing) -> Box:
    """Return the rectangle of the input that a part of a photo fills: all of it, or less with ``pad``."""
    size_px = settings.size_px
    if settings.resize != "pad":
        return 0, 0, size_px, size_px
    width, height = box[2] - box[0], box[3] - box[1]
    scale = size_px / max(width, height)
    columns, rows = max(1, round(scale * width)), max(1, round(scale * height))
    left, top = (size_px - columns) // 2, (size_px - rows) // 2
    return left, top, left + columns, top + rows


def jacobian(matrix: np.ndarray, x: float, y: float) -> np.ndarray:
    """Return the Jacobian (2, 2) of a homogeneous transformation at a point."""
    u, v, w = matrix @ (x, y, 1)
    moves: np.ndarray = (matrix[:2, :2] - np.outer((u / w, v / w), matrix[2, :2])) / w
    return moves


def _scaling(x: float, y: float, shift_x: float = 0, shift_y: float = 0) -> np.ndarray:
    return np.array([[x, 0, shift_x], [0, y, shift_y], [0, 0, 1.0]])


def _placing(source: Box, target: Box) -> np.ndarray:
    """Return the matrix that maps one box to another."""
    x = (target[2] - target[0]) / (source[2] - source[0])
    y = (target[3] - target[1]) / (source[3] - source[1])
    return _scaling(x, y, target[0] - x * source[0], target[1] - y * source[1])


# Each from what is seen to what was there before.


def _rotate(degrees: float) -> np.ndarray:
    """Counter-clockwise on the screen. As y points down, the signs differ from the textbook's."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]])


def _shear(along_x: float, along_y: float) -> np.ndarray:
    """Shear first along x, then along y; the parameters are tangents of the angles."""
    matrix: np.ndarray = np.array([[1, -along_x, 0], [0, 1, 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [-along_y, 1, 0], [0, 0, 1.0]]
    )
    return matrix


def _perspective(*moves: float) -> np.ndarray:
    """Move each corner towards the centre by fractions of half a side: x and y of each corner.

    Corners are in clockwise order from the top left. They determine the eight parameters of the matrix.
    """
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1.0)])
    seen = corners * (1 - np.reshape(moves, (4, 2)))
    equations = np.zeros((8, 8))
    for row, ((x, y), (u, v)) in enumerate(zip(seen, corners, strict=True)):
        equations[2 * row] = x, y, 1, 0, 0, 0, -u * x, -u * y
        equations[2 * row + 1] = 0, 0, 0, x, y, 1, -v * x, -v * y
    return np.append(np.linalg.solve(equations, corners.ravel()), 1).reshape(3, 3)


WARPS: Final[dict[str, Callable[..., np.ndarray]]] = {
    "flip-x": lambda: _scaling(-1, 1),
    "flip-y": lambda: _scaling(1, -1),
    "rotate": _rotate,  # degrees
    "scale": lambda factor: _scaling(1 / factor, 1 / factor),
    "shear": _shear,
    # Shares of a side; the square is 2 wide.
    "translate": lambda x, y: _scaling(1, 1, -2 * x, -2 * y),
    "perspective": _perspective,
}
"""Geometric operations by name: functions that return the matrix from output to input, on -1..1 squares."""
