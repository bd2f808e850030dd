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

from headstart.findings.repetition import repetition
from headstart.frozen.photos import THUMBNAIL_PX

SAME_GREY: Final = 0.85
"""Least correlation of the grey levels of two photos that show the same picture."""
SAME_DETAIL: Final = 0.8
"""Least correlation of their details. Different guitars on white reach 0.78; see docs/measurements.md."""
_SOME_REPETITION, _BY_REPETITION, _MOST_DETAIL = 0.2, 0.5, 0.97
"""The limit for patterns that repeat themselves: it rises with their repetition above the first number."""
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
    pairs = np.arange(len(first))
    return likeness_of_pairs(np.concatenate([first, second]), pairs, pairs + len(first))


def likeness_of_pairs(pictures: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return how alike pairs of photos are, of which each may be in several.

    Args:
        pictures: (N, 96, 96) uint8, thumbnails.
        first: (P,) ints, rows.
        second: (P,) ints, rows.

    Returns:
        (P,) float32, as by ``likeness``.
    """
    # Each pair is tried as it is, and with the second photo mirrored, which is the row N further down.
    pair = np.tile(np.arange(len(first)), 2)
    one, other = np.tile(first, 2), np.concatenate([second, second + len(pictures)])
    found = np.zeros(len(first), np.float32)
    if not len(first):
        return found
    scales = _scales_of(pictures)
    pose, grey = _best_start(scales[_FINE_PX], one, other)
    (there,) = np.nonzero(grey >= _IS_THERE)
    np.maximum.at(found, pair[there], _compare(scales, one[there], other[there], pose[there]))
    (live,) = np.nonzero((grey >= _MIN_START) & (found[pair] == 0))
    for size_px, num_steps, least_grey, least_detail in _LEVELS:
        at_scale = scales[size_px]
        pose[live], grey, detail = _refine(at_scale[one[live]], at_scale[other[live]], pose[live], num_steps)
        live = live[(grey >= least_grey) & (detail >= least_detail)]
    np.maximum.at(found, pair[live], _compare(scales, one[live], other[live], pose[live]))
    return found


def _scales_of(pictures: np.ndarray) -> dict[int, np.ndarray]:
    """Return pictures and then their mirror images, (2 N, S, S) float32 for each size S."""
    scales = {THUMBNAIL_PX: np.concatenate([pictures, pictures[:, :, ::-1]]).astype(np.float32)}
    for size_px in (48, 24, 12):
        scales[size_px] = _halved(scales[2 * size_px])
    return scales


def _best_start(pictures: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the best of 38 poses, in which one whole photo is a part of the other, and its correlation.

    Args:
        pictures: (N, S, S) float32.
        first: (P,) ints, rows.
        second: (P,) ints, rows.
    """
    parts = _parts(pictures)  # (N, 19, 144)
    correlation = np.concatenate(
        [
            (parts[first] @ parts[second, 0, :, None])[:, :, 0],
            (parts[second] @ parts[first, 0, :, None])[:, :, 0],
        ],
        axis=1,
    )
    best = correlation.argmax(1)
    return _STARTS[best], correlation[np.arange(len(first)), best]


def _parts(pictures: np.ndarray) -> np.ndarray:
    """Return 19 parts of each picture at 12 px, with mean 0 and norm 1, (P, 19, 144) float32."""
    num, size_px = len(pictures), pictures.shape[1]
    filters = _filters(size_px)
    in_x = (pictures @ filters.reshape(-1, size_px).T).reshape(num, size_px, len(_PARTS), _START_PX)
    parts = np.stack([filters[y] @ in_x[:, :, x] for y, x in _BOXES], 1).reshape(num, len(_BOXES), -1)
    parts -= parts.mean(-1, keepdims=True)
    parts /= np.maximum(np.sqrt(np.einsum("nbi,nbi->nb", parts, parts))[:, :, None], 1e-3)
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


def _compare(
    scales: dict[int, np.ndarray], first: np.ndarray, second: np.ndarray, pose: np.ndarray
) -> np.ndarray:
    """Return the correlation of details where photos overlap, (P,); 0 if the pictures are different.

    Args:
        scales: The pictures by their size.
        first: (P,) ints, rows.
        second: (P,) ints, rows.
        pose: (P, 2, 3) float32.
    """
    area = np.abs(np.linalg.det(pose[:, :, :2]))
    # The photo that shows less is the second one, so that the other is magnified and loses nothing.
    swap = area > 1
    first, second = np.where(swap, second, first), np.where(swap, first, second)
    pose = np.where(swap[:, None, None], _inverse(pose), pose)
    area = np.minimum(area, 1 / area)
    shape = len(first), THUMBNAIL_PX, THUMBNAIL_PX
    seen = _warped(scales[THUMBNAIL_PX][first], pose, margin_px=0)
    levels = _halved(seen.levels.reshape(shape))
    inside = _halved(seen.inside.reshape(shape)) > 0.999
    target = scales[_FINE_PX][second]
    grey, _, num = _correlation(levels, target, inside)
    detail, std = _of_details(levels, target, inside)
    cover = num / _FINE_PX**2
    same = (grey >= SAME_GREY) & (detail >= SAME_DETAIL) & (std >= _MIN_DETAIL) & (cover * area >= _MIN_COVER)
    rows = np.flatnonzero(same)
    same[rows] = detail[rows] >= _least_detail(target[rows])
    return np.where(same, np.minimum(detail, 1), 0).astype(np.float32)


def _least_detail(pictures: np.ndarray) -> np.ndarray:
    """Return the least correlation of details for pictures that repeat themselves more or less, (P,)."""
    surplus = _BY_REPETITION * (repetition(_details(pictures)) - _SOME_REPETITION)
    return np.asarray(np.clip(SAME_DETAIL + surplus, SAME_DETAIL, _MOST_DETAIL))


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
    wide = np.empty((len(pictures), size_px + 2, size_px + 2), np.float32)
    wide[:, 1:-1, 1:-1] = pictures
    wide[:, [0, -1], 1:-1] = pictures[:, [0, -1]]
    wide[:, :, [0, -1]] = wide[:, :, [1, -2]]
    rows = wide[:, :size_px] + wide[:, 1:-1] + wide[:, 2:]
    total: np.ndarray = rows[:, :, :size_px] + rows[:, :, 1:-1] + rows[:, :, 2:]
    total *= np.float32(1 / 9)
    return total


def _halved(pictures: np.ndarray) -> np.ndarray:
    """Return (P, S, S) float32 pictures at half their size."""
    rows = pictures[:, ::2] + pictures[:, 1::2]
    total: np.ndarray = rows[:, :, ::2] + rows[:, :, 1::2]
    total *= np.float32(0.25)
    return total


def _grid(size_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x and y of all pixels in -1..1, each (S * S,) float32."""
    centres = ((np.arange(size_px) + 0.5) * 2 / size_px - 1).astype(np.float32)
    return np.tile(centres, size_px), np.repeat(centres, size_px)


def _inverse(pose: np.ndarray) -> np.ndarray:
    matrix = np.linalg.inv(pose[:, :, :2])
    return np.concatenate([matrix, -matrix @ pose[:, :, 2:]], axis=2).astype(np.float32)


_STARTS: Final = _start_poses()
