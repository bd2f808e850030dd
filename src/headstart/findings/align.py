"""Compares two photos where they overlap, after their small grey pictures have been aligned.

One photo may be scaled, stretched, cropped, mirrored, turned by about ten degrees, framed, darker or
brighter: it is mapped onto the other by an affine map, and only pixels that both photos have are compared.
Black or white corners of a turned photo, and borders, are outside of the other photo and do not count.

The map is found by Gauss-Newton steps on the squared difference of the standardised pictures, from coarse to
fine. Source: Baker and Matthews 2004, "Lucas-Kanade 20 years on", International Journal of Computer Vision
56.

A *pose* is such a map, (2, 3): it maps a position in the second photo, x and y in -1..1, to one in the first.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from headstart.frozen.photos import THUMBNAIL_PX

SAME_GREY: Final = 0.85
"""Least correlation of the grey levels of two photos that show the same picture."""
SAME_DETAIL: Final = 0.8
"""Least correlation of their details. Different guitars on white reach 0.78; see docs/measurements.md."""
_MIN_DETAIL: Final = 0.1  # standard deviation of details; those of a blank photo are noise
_WEAK: Final = 4  # grey levels; details that are weaker count less
_MIN_COVER: Final = 0.25  # part of each photo that the other shows

_START_PX: Final = 12
_MIN_START: Final = 0.5  # correlation at the best start from which on a pose is searched for
_IS_THERE: Final = 0.97  # correlation at the start from which on the pose may be right already
_LEVELS: Final = (
    (12, 4, 0.7, -1),
    (12, 3, 0.8, -1),
    (24, 2, 0.8, 0.15),
    (24, 4, 0.8, 0.35),
    (48, 3, SAME_GREY, 0.5),
)
"""Sizes in px, steps, and least correlations, of grey levels and of details, to go on with."""
_FINE_PX: Final = 48
_LEAST: Final = np.array([[0.5, -0.45, -1], [-0.45, 0.5, -1]], np.float32)  # limits of a pose
_MOST: Final = np.array([[2, 0.45, 1], [0.45, 2, 1]], np.float32)  # so that each has an inverse

_PARTS: Final = [(0.0, 1.0)] + [(place * (1 - part), part) for part in (0.85, 0.69) for place in (0, 0.5, 1)]
"""Begin and length of the parts of a side at which the search begins."""
_BOXES: Final = [(0, 0)] + [
    (3 * size + y, 3 * size + x) for size in (0, 1) for y in (1, 2, 3) for x in (1, 2, 3)
]
"""Parts of both sides, (y, x): the whole photo, and nine boxes of two sizes each."""


def likeness(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return how alike the pictures of pairs of photos are.

    Args:
        first: (P, 96, 96) uint8, thumbnails (``PhotoFacts.thumbnail``).
        second: (P, 96, 96) uint8. The result hardly depends on which of the two is the first.

    Returns:
        (P,) float32: the correlation of their details where they overlap, 0.8..1, if both show the same
        picture, otherwise 0. Photos without details, such as black ones, are not judged and have 0.
    """
    num = len(first)
    pair = np.tile(np.arange(num), 2)  # each pair is tried as it is, and with the second photo mirrored
    a = np.concatenate([first, first])
    b = np.concatenate([second, second[:, :, ::-1]])
    found = np.zeros(num, np.float32)
    pose, grey = _best_start(_pooled(a, _FINE_PX), _pooled(b, _FINE_PX))
    (there,) = np.nonzero(grey >= _IS_THERE)
    np.maximum.at(found, pair[there], _compare(a[there], b[there], pose[there]))
    (live,) = np.nonzero((grey >= _MIN_START) & (found[pair] == 0))
    for size_px, num_steps, least_grey, least_detail in _LEVELS:
        small = _pooled(a[live], size_px), _pooled(b[live], size_px)
        pose[live], grey, detail = _refine(*small, pose[live], num_steps)
        live = live[(grey >= least_grey) & (detail >= least_detail)]
    np.maximum.at(found, pair[live], _compare(a[live], b[live], pose[live]))
    return found


def _best_start(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the best of 38 poses, in which one whole photo is a part of the other, and its correlation.

    Args:
        a: (P, S, S) float32.
        b: (P, S, S) float32.
    """
    parts_of_a, parts_of_b = _parts(a), _parts(b)  # (P, 19, 144)
    correlation = np.concatenate(
        [
            (parts_of_a @ parts_of_b[:, 0, :, None])[:, :, 0],
            (parts_of_b @ parts_of_a[:, 0, :, None])[:, :, 0],
        ],
        axis=1,
    )
    best = correlation.argmax(1)
    return _STARTS[best], correlation[np.arange(len(a)), best]


def _parts(pictures: np.ndarray) -> np.ndarray:
    """Return 19 parts of each picture at 12 px, with mean 0 and norm 1, (P, 19, 144) float32."""
    num, size_px = len(pictures), pictures.shape[1]
    filters = _filters(size_px)
    in_x = (pictures @ filters.reshape(-1, size_px).T).reshape(num, size_px, len(_PARTS), _START_PX)
    parts = np.stack([filters[y] @ in_x[:, :, x] for y, x in _BOXES], 1).reshape(num, len(_BOXES), -1)
    parts -= parts.mean(-1, keepdims=True)
    parts /= np.maximum(np.linalg.norm(parts, axis=-1, keepdims=True), 1e-3)
    return parts


def _filters(size_px: int) -> np.ndarray:
    """Return the weights of bilinear resizing for each part of a side, (7, 12, S) float32."""
    begin, length = np.array(_PARTS).T[:, :, None]
    centres = (begin + length * (np.arange(_START_PX) + 0.5) / _START_PX) * size_px  # (7, 12)
    scale = np.maximum(length * size_px / _START_PX, 1)[:, :, None]
    weights: np.ndarray = np.maximum(1 - np.abs(np.arange(size_px) + 0.5 - centres[:, :, None]) / scale, 0)
    weights /= weights.sum(-1, keepdims=True)
    return weights.astype(np.float32)


def _start_poses() -> np.ndarray:
    """Return the poses of the starts, (38, 2, 3) float32: one photo is a part of the other."""
    poses = np.zeros((len(_BOXES), 2, 3), np.float32)
    for pose, (y, x) in zip(poses, _BOXES, strict=True):
        for row, part in enumerate((x, y)):
            begin, length = _PARTS[part]
            pose[row, row], pose[row, 2] = length, 2 * begin + length - 1
    return np.concatenate([poses, _inverse(poses)])


def _refine(
    a: np.ndarray, b: np.ndarray, pose: np.ndarray, num_steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Improve poses by Gauss-Newton steps.

    Args:
        a: (P, S, S) float32.
        b: (P, S, S) float32.
        pose: (P, 2, 3) float32.
        num_steps: Number of steps, at least 1.

    Returns:
        The poses, and the correlations of grey levels and of details before the last step.
    """
    num, size_px = len(a), a.shape[1]
    if not num:
        return pose, np.zeros(0, np.float32), np.zeros(0, np.float32)
    axes = np.stack([*_grid(size_px), np.ones(size_px * size_px, np.float32)])
    b = b.reshape(num, size_px**2)
    slopes = np.empty((num, 8, b.shape[1]), np.float32)  # of the residuals by pose, gain and level
    diagonal = np.arange(8)
    for _ in range(num_steps):
        seen = _warped(a, pose, margin_px=0.5)
        levels, std = _standardised(seen.levels, seen.inside)
        target, _ = _standardised(b, seen.inside)
        scale = seen.inside * (size_px / 2 / std)
        np.multiply((seen.slope_x * scale)[:, None], axes, out=slopes[:, :3])
        np.multiply((seen.slope_y * scale)[:, None], axes, out=slopes[:, 3:6])
        slopes[:, 6], slopes[:, 7] = levels, seen.inside
        squares = slopes @ slopes.transpose(0, 2, 1)
        damping = 1e-3 * np.trace(squares, axis1=1, axis2=2) / 8 + 1e-6
        squares[:, diagonal, diagonal] += damping[:, None]
        step = np.linalg.solve(squares, slopes @ (target - levels)[:, :, None])[:, :6, 0]
        pose = np.clip(pose + np.clip(step.reshape(-1, 2, 3), -0.2, 0.2), _LEAST, _MOST)
    pictures = [each.reshape(a.shape) for each in (levels, target, seen.inside)]
    return pose, _correlation(*pictures)[0], _of_details(*pictures)[0]


def _compare(a: np.ndarray, b: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Return the correlation of details where photos overlap, (P,); 0 if the pictures are different.

    Args:
        a: (P, 96, 96).
        b: (P, 96, 96).
        pose: (P, 2, 3) float32.
    """
    area = np.abs(np.linalg.det(pose[:, :, :2]))
    # The photo that shows less is the second one, so that the other is magnified and loses nothing.
    swap = (area > 1)[:, None, None]
    a, b = np.where(swap, b, a).astype(np.float32), np.where(swap, a, b)
    pose = np.where(swap, _inverse(pose), pose)
    area = np.minimum(area, 1 / area)
    shape = len(a), THUMBNAIL_PX, THUMBNAIL_PX
    seen = _warped(a, pose, margin_px=0)
    levels = _pooled(seen.levels.reshape(shape), _FINE_PX)
    inside = _pooled(seen.inside.reshape(shape), _FINE_PX) > 0.999
    target = _pooled(b, _FINE_PX)
    grey, _, num = _correlation(levels, target, inside)
    detail, std = _of_details(levels, target, inside)
    cover = num / _FINE_PX**2
    same = (grey >= SAME_GREY) & (detail >= SAME_DETAIL) & (std >= _MIN_DETAIL) & (cover * area >= _MIN_COVER)
    return np.where(same, np.minimum(detail, 1), 0).astype(np.float32)


def _correlation(
    a: np.ndarray, b: np.ndarray, inside: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the correlations of (P, S, S) pictures inside, their deviations and numbers of pixels."""
    mask = inside.reshape(len(a), a.shape[1] ** 2).astype(np.float32)
    num = np.maximum(mask.sum(1), 1)
    x, std_x = _standardised(a.reshape(mask.shape), mask)
    y, std_y = _standardised(b.reshape(mask.shape), mask)
    return (x * y).sum(1) / num, np.minimum(std_x, std_y)[:, 0], num


def _of_details(a: np.ndarray, b: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the correlations of details of (P, S, S) pictures, and their smaller deviations, each (P,)."""
    whole = _mean_of_nine(inside.astype(np.float32)) > 0.999
    whole[:, [0, -1]] = whole[:, :, [0, -1]] = False
    return _correlation(_details(a), _details(b), whole)[:2]


def _details(pictures: np.ndarray) -> np.ndarray:
    """Return differences from the means of 3 x 3 pixels, divided by the strength of those around.

    Without the division, the outline of a lamp on black would hide that the lamps differ.
    """
    details: np.ndarray = pictures - _mean_of_nine(pictures)
    details /= np.sqrt(_mean_of_nine(details * details) + np.float32(_WEAK**2))
    return details


class _Warped(NamedTuple):
    """First photos as seen at the positions of the second, each (P, S * S) float32.

    Attributes:
        levels: Grey levels.
        slope_x, slope_y: Their differences per pixel.
        inside: 1 at positions that the first photo has, otherwise 0.
    """

    levels: np.ndarray
    slope_x: np.ndarray
    slope_y: np.ndarray
    inside: np.ndarray


def _warped(pictures: np.ndarray, pose: np.ndarray, *, margin_px: float) -> _Warped:
    """Interpolate (P, S, S) float32 pictures; positions nearer to an edge than the margin are outside."""
    num, size_px = pictures.shape[:2]
    u, v = _grid(size_px)
    matrix = pose * np.float32(size_px / 2)
    matrix[:, :, 2] += (size_px - 1) / 2
    x = matrix[:, 0, :1] * u + matrix[:, 0, 1:2] * v + matrix[:, 0, 2:]
    y = matrix[:, 1, :1] * u + matrix[:, 1, 1:2] * v + matrix[:, 1, 2:]
    last = size_px - 1 - margin_px
    inside = ((x >= margin_px) & (x <= last) & (y >= margin_px) & (y <= last)).astype(np.float32)
    left = np.clip(x, 0, size_px - 2).astype(np.intp)  # not below 0, so this rounds down
    top = np.clip(y, 0, size_px - 2).astype(np.intp)
    x -= left
    y -= top
    flat = pictures.reshape(-1)
    corner = top * size_px + left + (np.arange(num) * size_px**2)[:, None]
    top_left, bottom_left = flat[corner], flat[corner + size_px]
    across = flat[corner + 1] - top_left
    across_bottom = flat[corner + size_px + 1] - bottom_left
    upper = top_left + x * across
    slope_y = bottom_left + x * across_bottom - upper
    return _Warped(upper + y * slope_y, across + y * (across_bottom - across), slope_y, inside)


def _standardised(levels: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (P, N) values with mean 0 and deviation 1 inside, 0 elsewhere, and their deviations, (P, 1)."""
    num = np.maximum(inside.sum(1, keepdims=True), 1)
    centred = (levels - (levels * inside).sum(1, keepdims=True) / num) * inside
    std = np.maximum(np.sqrt((centred * centred).sum(1, keepdims=True) / num), np.float32(1e-3))
    return centred / std, std


def _mean_of_nine(pictures: np.ndarray) -> np.ndarray:
    """Return the mean of each pixel and its eight neighbours; edges are repeated."""
    size_px = pictures.shape[1]
    wide = np.pad(pictures, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = wide[:, :size_px] + wide[:, 1:-1] + wide[:, 2:]
    total: np.ndarray = rows[:, :, :size_px] + rows[:, :, 1:-1] + rows[:, :, 2:]
    return total / np.float32(9)


def _pooled(pictures: np.ndarray, size_px: int) -> np.ndarray:
    """Return pictures at a size that divides theirs, (P, size_px, size_px) float32."""
    factor = pictures.shape[1] // size_px
    blocks = pictures.reshape(len(pictures), size_px, factor, size_px, factor)
    total = sum(blocks[:, :, y, :, x].astype(np.float32) for y in range(factor) for x in range(factor))
    return np.asarray(total, np.float32) / np.float32(factor**2)


def _grid(size_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of all pixels in -1..1, each (S * S,) float32."""
    centres = ((np.arange(size_px) + 0.5) * 2 / size_px - 1).astype(np.float32)
    return np.tile(centres, size_px), np.repeat(centres, size_px)


def _inverse(pose: np.ndarray) -> np.ndarray:
    matrix = np.linalg.inv(pose[:, :, :2])
    return np.concatenate([matrix, -matrix @ pose[:, :, 2:]], axis=2).astype(np.float32)


_STARTS: Final = _start_poses()
