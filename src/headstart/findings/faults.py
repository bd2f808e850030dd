"""Finds faulty photos from their facts, without decoding them again: blank, blurred, placeholders, odd sizes.

A photo that shows nothing is faulty in every data set. All other faults are relative, because documents are
nearly white, night photos are dark, and the photos of a microscope are soft: a photo has to be far from the
others of its data set, and of each kind, at most 2 % of the photos are reported, or five.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from headstart.findings.finding import Severity
from headstart.findings.near import groups_of
from headstart.frozen.photos import THUMBNAIL_PX, PhotoFacts
from headstart.packed import same_names

FaultKind = Literal["black", "white", "one colour", "placeholder", "blurred", "tiny", "odd shape", "odd size"]
_MOST: Final = 0.02  # part of the photos that are reported for a relative fault
_AT_LEAST: Final = 5  # photos that may be reported in spite of that
_FEW: Final = 20  # photos; fewer have no usual range
_FAR_SHARPNESS: Final = 2.5  # robust standard deviations from the median
_FAR_SIZE: Final = 4.0

_BLANK_CONTRAST: Final = 0.02  # standard deviation of grey levels, 0..0.5
_BLANK_RANGE: Final = 24  # difference of the lightest and darkest grey level of the thumbnail, 0..255
_FULL_CONTRAST: Final = 0.05  # where the median is lower, both limits are, too, as in photos of the night
_LEAST_SCALE: Final = 0.3
_NO_CONTRAST: Final = 1 / 255  # at most: about one grey level
_DARK: Final = 0.1  # mean of grey levels, 0..1; below this, a blank photo is black
_LIGHT: Final = 0.9  # above this, it is white

_SHARPNESS: Final = (
    9.0  # limits that hold in every data set; docs/measurements.md has the values of real photos
)
_FINE: Final = 0.045
_SMALLEST_PX: Final = 32
_SHAPE: Final = 4.0  # longer side by shorter side
_SIZE: Final = 6.0  # times as large or small as the median

_MANY_LABELS: Final = 5  # photos of a placeholder that occurs under several labels
_MANY: Final = 10  # and under one label
_FOR_MEDIAN: Final = 100  # photos of a group
_SAME_LEVELS: Final = 1.5  # mean difference of grey levels from the group's median picture
_AT_ONCE: Final = 64  # thumbnails, to limit the memory


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a photo.

    Attributes:
        row: Its row.
        kind: What is wrong.
        severity: ``"error"`` if the photo shows nothing or is a placeholder under several labels, ``"note"``
            for an odd size, otherwise ``"warning"``.
        sentence: What was found, with the value and the usual range.
    """

    row: int
    kind: FaultKind
    severity: Severity
    sentence: str


def faulty_photos(
    facts: Sequence[PhotoFacts], labels: Sequence[object] | None = None, groups: np.ndarray | None = None
) -> list[Fault]:
    """Return the faults of photos, sorted by rows; a photo may have several.

    Args:
        facts: Of each photo; among fewer than 20 photos, only blank ones and placeholders are found.
        labels: Label of each photo, if it has one, to recognise placeholders that occur under several.
        groups: (N,) ints, near-duplicates (``near.groups_of``), to recognise placeholders in different files.
            By default, only identical files.
    """
    faults = [*_blank(facts), *_placeholders(facts, labels, groups)]
    if len(facts) >= _FEW:
        shown = np.ones(len(facts), bool)
        shown[[fault.row for fault in faults]] = False
        tiny = list(_tiny(facts))
        faults += [*_blurred(facts, shown), *tiny, *_odd_shapes(facts)]
        faults += _odd_sizes(facts, {fault.row for fault in tiny})
    return sorted(faults, key=lambda fault: (fault.row, fault.kind))


def _blank(facts: Sequence[PhotoFacts]) -> Iterable[Fault]:
    """Yield photos in which nothing can be seen."""
    contrasts = [each.contrast for each in facts]
    scale = min(max(float(np.median(contrasts)) / _FULL_CONTRAST, _LEAST_SCALE), 1) if contrasts else 1
    usual = _usual(contrasts)
    is_blank = np.array([each <= _BLANK_CONTRAST * scale for each in contrasts], bool)
    for row in np.flatnonzero(is_blank).tolist():
        is_blank[row] = int(np.ptp(facts[row].thumbnail)) <= _BLANK_RANGE * scale
    is_sure = np.array([each.contrast <= _NO_CONTRAST or _is_extreme(each) for each in facts], bool)
    doubtful = _unless_common(is_blank & ~is_sure)
    for row in sorted([*np.flatnonzero(is_blank & is_sure).tolist(), *doubtful]):
        each = facts[row]
        kind: FaultKind = "one colour"
        if _is_extreme(each):
            kind = "black" if each.brightness < _DARK else "white"
        sentence = (
            f"{'Nothing' if is_sure[row] else 'Almost nothing'} can be seen: brightness "
            f"{each.brightness:.2f} of 0 to 1, contrast {each.contrast:.3f} (usual: {usual})."
        )
        yield Fault(row, kind, "error" if is_sure[row] else "warning", sentence)


def _is_extreme(photo: PhotoFacts) -> bool:
    return not _DARK <= photo.brightness <= _LIGHT


def _placeholders(
    facts: Sequence[PhotoFacts], labels: Sequence[object] | None, groups: np.ndarray | None
) -> Iterable[Fault]:
    """Yield photos whose picture occurs many times, which may stand for photos that are missing."""
    same_file = np.arange(len(facts))
    for rows in same_names((each.sha256 for each in facts), lambda row: facts[row].sha256):
        same_file[rows] = rows[0]
    same_group = _firsts(groups) if groups is not None else []
    pairs = [
        (first, row)
        for firsts in (same_file.tolist(), same_group)
        for row, first in enumerate(firsts)
        if first != row
    ]
    group_of_row = groups_of(pairs, len(facts))
    for group in np.flatnonzero(np.bincount(group_of_row, minlength=len(facts)) >= _MANY_LABELS):
        rows = np.flatnonzero(group_of_row == group).tolist()
        picture = np.median([facts[row].thumbnail for row in rows[:_FOR_MEDIAN]], axis=0)
        rows = [row for row in rows if np.abs(facts[row].thumbnail - picture).mean() <= _SAME_LEVELS]
        num_labels = len({labels[row] for row in rows}) if labels is not None else 1
        if len(rows) < (_MANY_LABELS if num_labels > 1 else _MANY):
            continue
        under = f", under {num_labels} labels" if num_labels > 1 else ""
        sentence = f"This picture occurs {len(rows)} times{under}. It may stand for photos that are missing."
        for row in rows:
            yield Fault(row, "placeholder", "error" if num_labels > 1 else "warning", sentence)


def _firsts(values: np.ndarray) -> list[int]:
    """Return for each row the first row that has the same value."""
    _, firsts, inverse = np.unique(values, return_index=True, return_inverse=True)
    rows: list[int] = firsts[inverse].tolist()
    return rows


def _blurred(facts: Sequence[PhotoFacts], shown: np.ndarray) -> Iterable[Fault]:
    """Yield photos without fine details, by their sharpness and by the ratio of fine to coarse details.

    Smooth photos, such as those of fog, have a low sharpness, too, but few coarse details either.
    """
    sharpness = np.array([each.sharpness for each in facts])
    large = np.array([max(each.width_px, each.height_px) >= THUMBNAIL_PX for each in facts]) & shown
    is_blurred = large & (sharpness < _SHARPNESS)
    if not is_blurred.any():
        return
    fine = _fineness(facts)
    logs = np.log(sharpness + 0.01), np.log(fine)
    limits = [np.median(each[large]) - _FAR_SHARPNESS * _spread(each[large]) for each in logs]
    is_blurred &= (fine < _FINE) & (logs[0] < limits[0]) & (logs[1] < limits[1])
    usual = _usual(sharpness)
    for row in _most_unusual(is_blurred, -logs[0] - logs[1]):
        sentence = f"It looks blurred: sharpness {sharpness[row]:.1f} (usual: {usual})."
        yield Fault(row, "blurred", "warning", sentence)


def _fineness(facts: Sequence[PhotoFacts]) -> np.ndarray:
    """Return the variance of the Laplacian of each thumbnail by that at a quarter of its size, (N,)."""
    quarter = THUMBNAIL_PX // 4
    ratios = []
    for first in range(0, len(facts), _AT_ONCE):
        levels = np.stack([each.thumbnail for each in facts[first : first + _AT_ONCE]]).astype(np.int32)
        # Sums of 16 levels: their Laplacian has 256 times the variance of that of the means.
        small = levels.reshape(-1, quarter, 4, quarter, 4).sum((2, 4))
        # Levels are rounded, which adds 20 / 12 to the first and a sixteenth of it to the second.
        noise = 20 / 12
        fine, coarse = _laplacian(levels) - noise, _laplacian(small) / 256 - noise / 16
        ratios.append(np.maximum(fine, 0.1) / np.maximum(coarse, 0.1))
    return np.concatenate(ratios)


def _laplacian(levels: np.ndarray) -> np.ndarray:
    """Return the variance of the Laplacian of (N, S, S) int32 pictures, (N,) float64."""
    around = levels[:, :-2, 1:-1] + levels[:, 2:, 1:-1] + levels[:, 1:-1, :-2] + levels[:, 1:-1, 2:]
    around -= 4 * levels[:, 1:-1, 1:-1]
    values = around.reshape(len(levels), -1)
    mean = values.mean(1)
    return np.asarray(np.einsum("ij,ij->i", values, values, dtype=np.int64) / values.shape[1] - mean * mean)


def _tiny(facts: Sequence[PhotoFacts]) -> Iterable[Fault]:
    """Yield photos of a few pixels."""
    sides = np.array([min(each.width_px, each.height_px) for each in facts])
    usual = _usual(sides, digits=0)
    for row in _most_unusual(sides < min(_SMALLEST_PX, float(np.median(sides)) / 2), -sides):
        each = facts[row]
        sentence = f"It has {each.width_px} × {each.height_px} pixels (usual shorter side: {usual})."
        yield Fault(row, "tiny", "warning", sentence)


def _odd_shapes(facts: Sequence[PhotoFacts]) -> Iterable[Fault]:
    """Yield photos that are much longer than the others."""
    sides = np.array([(each.width_px, each.height_px) for each in facts])
    shapes = sides.max(1) / sides.min(1)
    logs = np.log(shapes)
    limit = max(float(np.median(logs) + _FAR_SIZE * _spread(logs)), float(np.log(_SHAPE)))
    usual = _usual(shapes)
    for row in _unless_common(logs > limit):
        each = facts[row]
        sentence = (
            f"It has {each.width_px} × {each.height_px} pixels: its longer side is {shapes[row]:.1f} times "
            f"its shorter one (usual: {usual})."
        )
        yield Fault(row, "odd shape", "warning", sentence)


def _odd_sizes(facts: Sequence[PhotoFacts], tiny: set[int]) -> Iterable[Fault]:
    """Yield photos that are much larger or smaller than the others, but not the tiny ones."""
    sides = np.sqrt([each.width_px * each.height_px for each in facts])
    logs = np.log(sides)
    distance = np.abs(logs - np.median(logs))
    limit = max(_FAR_SIZE * _spread(logs), float(np.log(_SIZE)))
    usual = _usual(sides, digits=0)
    for row in sorted({*_unless_common(distance > limit)} - tiny):
        each = facts[row]
        sentence = (
            f"It has {each.width_px} × {each.height_px} pixels, as many as a square of {sides[row]:.0f} px "
            f"(usual: {usual} px)."
        )
        yield Fault(row, "odd size", "note", sentence)


def _most_unusual(is_faulty: np.ndarray, unusual: np.ndarray) -> list[int]:
    """Return faulty rows, the most unusual ones if there are more than 2 % of all and more than five."""
    rows = np.flatnonzero(is_faulty)
    num = max(int(_MOST * len(is_faulty)), _AT_LEAST)
    order = np.argsort(-unusual[rows], kind="stable")[:num]
    return sorted(rows[order].tolist())


def _unless_common(is_odd: np.ndarray) -> list[int]:
    """Return odd rows, but none if there are so many that the range of the data set is just wide."""
    return [] if is_odd.sum() > max(int(_MOST * len(is_odd)), _AT_LEAST) else np.flatnonzero(is_odd).tolist()


def _spread(values: np.ndarray) -> float:
    """Return the median absolute deviation, scaled to the standard deviation of a normal distribution."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _usual(values: Sequence[float] | np.ndarray, digits: int = 2) -> str:
    """Return the range of the middle 90 % of values as text."""
    low, high = np.percentile(values, [5, 95]) if len(values) else (0, 0)
    return f"{low:.{digits}f} to {high:.{digits}f}"
