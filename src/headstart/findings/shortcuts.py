"""Finds shortcuts: what the shape, file type, file size or border of photos alone predicts about their class.

A model may learn them in place of what the photos show. A small decision tree on each property is scored by
cross-validation. A property is reported only if the tree is clearly better than always answering the most
frequent class, and by an amount that matters.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from headstart.answers.intervals import Interval, of_proportion
from headstart.findings.finding import Severity
from headstart.frozen.photos import PhotoFacts
from headstart.images.formats import FORMATS
from headstart.packed import Some
from headstart.probe.folds import deal_folds

FEWEST_PHOTOS: Final = 40
"""With fewer photos, nothing is reported."""

LEAST_GAIN: Final = 0.2
"""A shortcut is reported if it corrects at least this share of the errors of the most frequent class."""

LEAST_SURE_GAIN: Final = 0.1
"""The same at the lower end of the interval of the accuracy."""

STRONG_GAIN: Final = 0.5
"""A shortcut that corrects at least this share of the errors is a warning; others are notes."""

LEAST_OF_CLASS: Final = 0.5
"""A shortcut to a single class is reported if its recall and its precision, at the lower ends of their
intervals, are at least this far on the way from the share of the class to 1.
"""

_MOST_BINS: Final = 64  # candidates for a threshold
_LEAVES: Final = (8, 64)  # smallest and largest number of leaves that a tree may have; two for each class
_FEWEST_IN_LEAF: Final = 5
_AT_ONCE: Final = 64  # thumbnails, to limit the memory
_FRAME_PX: Final = 1  # of the thumbnail's 96: thin frames, too
_EVEN: Final = 4.0  # largest standard deviation of an edge of one colour, in grey levels 0..255
_MOST_NAMED: Final = 3


@dataclass(frozen=True)
class Shortcut:
    """A property that predicts the class.

    Attributes:
        name: The property, such as ``"file type"``.
        accuracy: Accuracy of the property alone, in cross-validation, 0..1.
        interval: Its 95 % interval; photos of one unit are dependent.
        majority: Accuracy of always answering the most frequent class, in the same cross-validation.
        class_names: The classes that it recognises best, best first, at most three.
        severity: ``"warning"`` or ``"note"``: see ``STRONG_GAIN``.
        sentence: What was found, with numbers, and what to do.
        kind: Kind of the finding.
    """

    name: str
    accuracy: float
    interval: Interval
    majority: float
    class_names: tuple[str, ...]
    severity: Severity
    sentence: str
    kind: Literal["shortcut"] = "shortcut"


@dataclass(frozen=True)
class Property:
    """A property of photos.

    Attributes:
        name: Its name in findings.
        values: Returns the property of N photos as numbers, (N, P).
        text: Describes the property of some photos of a class.
    """

    name: str
    values: Callable[[Sequence[PhotoFacts]], np.ndarray]
    text: Callable[[Sequence[PhotoFacts]], str]


def find_shortcuts(
    facts: Sequence[PhotoFacts],
    labels: np.ndarray,
    class_names: Sequence[str],
    units: np.ndarray | None = None,
) -> list[Shortcut]:
    """Find properties that predict the class of a photo.

    Takes a tenth of a second for 1,000 photos of four classes, and no further pass over the photos.

    Args:
        facts: Facts about the N photos.
        labels: (N,) ints, their classes. For one of several labels: whether the photo has it.
        class_names: The K classes.
        units: (N,) ints; photos of the same unit, such as near-duplicates, stay in one fold. None if all
            photos are independent.

    Returns:
        The shortcuts, the strongest first.
    """
    units = np.arange(len(facts)) if units is None else units
    if len(facts) < FEWEST_PHOTOS or len(np.unique(labels)) < 2 or len(np.unique(units)) < 2:
        return []
    folds = deal_folds(labels, units)
    majority = predict_by(None, facts, labels, folds)
    found = []
    for each in PROPERTIES:
        predicted = predict_by(each, facts, labels, folds)
        if shortcut := _judged(each, facts, predicted, majority, labels, class_names, units):
            found.append(shortcut)
    return sorted(found, key=lambda shortcut: -shortcut.accuracy)


def predict_by(
    of: Property | None, facts: Sequence[PhotoFacts], labels: np.ndarray, folds: np.ndarray
) -> np.ndarray:
    """Return the class that a property alone predicts for each photo, in cross-validation, (N,).

    Args:
        of: The property; None for the most frequent class.
        facts: Facts about the N photos.
        labels: (N,) ints, their classes.
        folds: (N,) ints, at least two different ones.
    """
    values = np.zeros((len(facts), 1)) if of is None else of.values(facts)
    return _cross_validated(values, labels, folds)


def _judged(
    of: Property,
    facts: Sequence[PhotoFacts],
    predicted: np.ndarray,
    majority: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    units: np.ndarray,
) -> Shortcut | None:
    """Return what a property predicts, or None if that is not clearly more than chance or does not matter."""
    is_right = predicted == labels
    accuracy, chance = float(is_right.mean()), float((majority == labels).mean())
    low, high = of_proportion(is_right, units)
    errors = 1 - chance
    classes = _recognised(predicted, labels, units)
    if accuracy - chance < LEAST_GAIN * errors or low - chance < LEAST_SURE_GAIN * errors:
        classes = [each for each in classes if each.is_own]
    if not classes:
        return None
    classes = classes[:_MOST_NAMED]
    best = classes[0].label
    of_best, others = (Some(facts, np.flatnonzero(is_it)) for is_it in (labels == best, labels != best))
    shown = ", ".join(
        f"{class_names[each.label]!r} (recall {each.recall:.2f}, precision {each.precision:.2f})"
        for each in classes
    )
    sentence = (
        f"From the {of.name} alone, {accuracy:.1%} of the photos can be classified correctly (95 % interval "
        f"{low:.1%} to {high:.1%}), instead of {chance:.1%} by always answering the most frequent class. "
        f"Best recognised: {shown}. {class_names[best]!r} has {of.text(of_best)}; the other classes have "
        f"{of.text(others)}. A model may learn this instead of what the photos show. Make it the same for "
        f"all classes, or score the model on photos for which it is."
    )
    names = tuple(class_names[each.label] for each in classes)
    severity: Severity = "warning" if accuracy - chance >= STRONG_GAIN * errors else "note"
    return Shortcut(of.name, accuracy, (low, high), chance, names, severity, sentence)


@dataclass(frozen=True)
class _Recognised:
    """Recall and precision of a class by a property, and whether they are a shortcut of their own."""

    label: int
    recall: float
    precision: float
    is_own: bool


def _recognised(predicted: np.ndarray, labels: np.ndarray, units: np.ndarray) -> list[_Recognised]:
    """Return the classes that are recognised at all, those with the highest F1 first."""
    found = []
    for label in np.unique(labels[predicted == labels]).tolist():
        is_it, is_said = labels == label, predicted == label
        least = is_it.mean() + LEAST_OF_CLASS * (1 - is_it.mean())
        is_own = all(
            len(np.unique(units[rows])) >= _FEWEST_IN_LEAF
            and of_proportion(right[rows], units[rows])[0] >= least
            for rows, right in ((is_it, is_said), (is_said, is_it))
        )
        found.append(_Recognised(label, float(is_said[is_it].mean()), float(is_it[is_said].mean()), is_own))
    return sorted(found, key=lambda each: -each.recall * each.precision / (each.recall + each.precision))


def _cross_validated(values: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Return the class that trees on the other folds predict for each photo, (N,)."""
    predicted = np.empty_like(labels)
    num_classes = int(labels.max()) + 1
    for fold in np.unique(folds):
        held_out = folds == fold
        edges = [_edges(column) for column in values[~held_out].T]
        bins = np.stack(
            [np.searchsorted(each, column) for each, column in zip(edges, values.T, strict=True)], 1
        )
        predicted[held_out] = _predict(bins[~held_out], labels[~held_out], bins[held_out], num_classes)
    return predicted


def _edges(column: np.ndarray) -> np.ndarray:
    """Return at most 63 thresholds halfway between values, so that about as many photos are in each bin."""
    levels = np.unique(np.quantile(column, np.linspace(0, 1, _MOST_BINS), method="lower"))
    return np.asarray((levels[:-1] + levels[1:]) / 2)


def _predict(bins: np.ndarray, labels: np.ndarray, others: np.ndarray, num_classes: int) -> np.ndarray:
    """Grow a tree that divides the leaf next whose division gains most, and return its classes of other rows.

    Args:
        bins: (N, P) ints, the bins of P numbers of each photo.
        labels: (N,) ints.
        others: (M, P) ints.
        num_classes: K.

    Returns:
        (M,) ints.
    """
    leaves = [(np.arange(len(bins)), np.arange(len(others)))]
    divisions = [_best_division(bins, labels, num_classes)]
    while len(leaves) < np.clip(2 * num_classes, *_LEAVES):
        number = max(range(len(leaves)), key=lambda leaf: divisions[leaf][0])
        gain, column, limit = divisions[number]
        if gain <= 0:
            break
        rows, other_rows = leaves[number]
        is_left, others_left = bins[rows, column] <= limit, others[other_rows, column] <= limit
        leaves[number] = (rows[is_left], other_rows[others_left])
        leaves.append((rows[~is_left], other_rows[~others_left]))
        divisions[number] = _best_division(bins[rows[is_left]], labels[rows[is_left]], num_classes)
        divisions.append(_best_division(bins[rows[~is_left]], labels[rows[~is_left]], num_classes))
    predicted = np.empty(len(others), labels.dtype)
    for rows, other_rows in leaves:
        predicted[other_rows] = np.bincount(labels[rows], minlength=num_classes).argmax()
    return predicted


def _best_division(bins: np.ndarray, labels: np.ndarray, num_classes: int) -> tuple[float, int, int]:
    """Return the best division: the decrease of Gini impurity times the rows, its column, its last bin."""
    best = (0.0, 0, 0)
    if len(labels) < 2 * _FEWEST_IN_LEAF:
        return best
    counts = np.bincount(labels, minlength=num_classes)
    whole = float(np.square(counts).sum() / len(labels))
    for column in range(bins.shape[1]):
        cells = np.bincount(bins[:, column] * num_classes + labels, minlength=_MOST_BINS * num_classes)
        left = cells.reshape(-1, num_classes).cumsum(0)
        right = counts - left
        sizes = left.sum(1)
        is_allowed = np.minimum(sizes, len(labels) - sizes) >= _FEWEST_IN_LEAF
        purity = np.square(left).sum(1) / np.maximum(sizes, 1)
        purity = purity + np.square(right).sum(1) / np.maximum(len(labels) - sizes, 1)
        gains = np.where(is_allowed, purity - whole, 0.0)
        limit = int(gains.argmax())
        if gains[limit] > best[0] + 1e-9:
            best = (float(gains[limit]), column, limit)
    return best


def _numbers(of_photo: Callable[[PhotoFacts], tuple[float, ...]]) -> Callable[..., np.ndarray]:
    return lambda photos: np.array([of_photo(photo) for photo in photos], float)


def _edge_colours(photos: Sequence[PhotoFacts]) -> np.ndarray:
    """Return the grey level of the top and bottom edges, and of the left and right ones, (N, 2).

    It is -1 where the edges do not have one colour.
    """
    found = [np.empty((0, 2))]
    for first in range(0, len(photos), _AT_ONCE):
        grey = [photo.thumbnail for photo in photos[first : first + _AT_ONCE]]
        sides = (grey, [each.T for each in grey])
        pairs = [[(each[:_FRAME_PX], each[-_FRAME_PX:]) for each in side] for side in sides]
        edges = np.array(pairs, float).reshape(2, len(grey), -1)
        found.append(np.where(edges.std(2) <= _EVEN, edges.mean(2), -1.0).T)
    return np.concatenate(found)


def _median(values: Sequence[float]) -> float:
    return float(np.median(values)) if len(values) else 0.0


def _of_types(photos: Sequence[PhotoFacts]) -> str:
    counts = Counter(photo.format for photo in photos).most_common(_MOST_NAMED)
    return "the type " + ", ".join(f"{count / len(photos):.0%} {name}" for name, count in counts)


def _of_sizes(photos: Sequence[PhotoFacts]) -> str:
    widths, heights = [each.width_px for each in photos], [each.height_px for each in photos]
    ((width, height), count) = Counter(zip(widths, heights, strict=True)).most_common(1)[0]
    return (
        f"a median of {_median(widths):.0f} × {_median(heights):.0f} pixels, most often {width} × {height} "
        f"({count / len(photos):.0%})"
    )


def _of_borders(photos: Sequence[PhotoFacts]) -> str:
    levels = _edge_colours(photos).ravel().tolist()
    known = [level for level in levels if level >= 0]
    middle = f", median grey level {_median(known):.0f} of 255" if known else ""
    return f"{len(known) / max(len(levels), 1):.0%} pairs of edges of one colour{middle}"


PROPERTIES: Final = (
    Property("width and height", _numbers(lambda p: (p.width_px, p.height_px)), _of_sizes),
    Property(
        "aspect ratio",
        _numbers(lambda p: (p.width_px / p.height_px,)),
        lambda photos: f"a median of {_median([p.width_px / p.height_px for p in photos]):.2f}",
    ),
    Property("file type", _numbers(lambda p: tuple(float(p.format == name) for name in FORMATS)), _of_types),
    Property(
        "file size",
        _numbers(lambda p: (p.num_bytes,)),
        lambda photos: f"a median of {_median([p.num_bytes for p in photos]) / 1000:.3g} kB",
    ),
    Property("border colour", _edge_colours, _of_borders),
)
