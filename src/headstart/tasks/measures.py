"""Scores with the part that each photo has in them, from which intervals are computed.

A share is described by one value per photo. Any other score is described by its influence function: how much
a photo moves the score, times the number of photos. The variance of these numbers gives the standard error.
Source: Efron 1982, The Jackknife, the Bootstrap and Other Resampling Plans, chapter 6.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

import numpy as np

Kind: TypeAlias = Literal["share", "f1", "unit", "positive", "r2"]
"""What is known about a score: a share of photos; an F1 of one class; a number in 0..1; a number above 0; or
an R², at most 1.
"""


@dataclass(frozen=True)
class Measure:
    """A score over N photos.

    Attributes:
        value: The score; NaN if it is undefined.
        per_photo: Of a share: a value in 0..1 for each photo that counts, (M,) or (M, K), whose mean is the
            score. Of an F1: (M,), whether the photo has the class and is predicted to have it, for the photos
            of which at least one is true. Of other scores: (N,), influences of the photos, with a mean of 0.
        kind: What is known about the score.
        rows: (M,), the photos that count; None if all do.
        shares: Of a mean of shares, such as balanced accuracy: these shares.
    """

    value: float
    per_photo: np.ndarray
    kind: Kind
    rows: np.ndarray | None = None
    shares: tuple[Measure, ...] = ()

    def of(self, rows: np.ndarray) -> Measure:
        """Return the measure over some of the photos, for a score that is a mean over all photos."""
        if self.kind == "share":
            return share(self.per_photo[rows])
        return mean(self.value + self.per_photo[rows], self.kind)


@dataclass(frozen=True)
class Measures:
    """The scores of a task over N photos.

    Attributes:
        overall: Scores by name, the main score first.
        parts: Scores by name for each class or target.
        is_wrong: (N,) bool: whether the answer contains an error.
        probability: Predicted probabilities, any shape; None for tasks without probabilities.
        is_true: Whether what they are probabilities of is true, in the same shape.
    """

    overall: Mapping[str, Measure]
    parts: Mapping[str, Mapping[str, Measure]]
    is_wrong: np.ndarray
    probability: np.ndarray | None = None
    is_true: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))


def share(values: np.ndarray, counts: np.ndarray | None = None) -> Measure:
    """Return the mean of values in 0..1, over those that count.

    Args:
        values: (N,) or (N, K).
        counts: (N,) bool; None if all do.
    """
    if counts is not None:
        return share_of(np.flatnonzero(counts), values)
    values = values.astype(np.float64)
    return Measure(float(values.mean()) if values.size else math.nan, values, "share")


def share_of(rows: np.ndarray, values: np.ndarray) -> Measure:
    """Return the mean of values in 0..1, (N,) or (N, K), over some rows."""
    return replace(share(values[rows]), rows=rows)


def mean(values: np.ndarray, kind: Kind) -> Measure:
    """Return the mean of one value per photo."""
    values = values.astype(np.float64)
    middle = float(values.mean())
    return Measure(middle, values - middle, kind)


def mean_of(measures: Iterable[Measure]) -> Measure:
    """Return the mean of at least one score, without those that are undefined."""
    total, num, value, first = None, 0, 0.0, None
    for each in measures:
        first = each if first is None else first
        if not math.isnan(each.value):
            total = each.per_photo if total is None else total + each.per_photo
            num, value = num + 1, value + each.value
    assert first is not None
    if total is None:
        return replace(first, value=math.nan)
    return Measure(value / num, total / num, first.kind)


def f1_of_class(has: np.ndarray, said: np.ndarray) -> Measure:
    """Return the F1 of one class as a function of a share: hits / (photos of the class or predicted as it).

    Args:
        has: (N,) bool, photos of the class.
        said: (N,) bool, photos that are predicted to have it.
    """
    hits, either = has & said, has | said
    of_either = share(hits, either)
    return replace(of_either, value=f1_from_share(of_either.value), kind="f1")


def f1_from_share(of_either: float) -> float:
    """Return the F1 of a class from its hits / (photos of the class or predicted as it).

    Source: Hand, Christen and Kirielle 2021, Machine Learning 110, 451-456.
    """
    return 2 * of_either / (1 + of_either)


def f1(has: np.ndarray, said: np.ndarray) -> Measure:
    """Return the F1 of one class with influences, to be averaged; arguments are those of ``f1_of_class``."""
    total = int(has.sum() + said.sum())
    if total == 0:
        return Measure(math.nan, np.zeros(len(has)), "unit")
    value = 2 * int((has & said).sum()) / total
    moved = 2.0 * (has & said) - value * (has.astype(float) + said)
    return Measure(value, moved * (_unbiased(int((has | said).sum())) * len(has) / total), "unit")


def mean_of_shares(shares: Sequence[Measure], num: int) -> Measure:
    """Return the mean of at least one share of some of N photos, without those that are undefined."""
    return replace(mean_of(_with_influences(each, num) for each in shares), shares=tuple(shares))


def _with_influences(of_some: Measure, num: int) -> Measure:
    """Convert a share of some of N photos to influences, whose variance is unbiased for few photos."""
    moved = np.zeros(num)
    if of_some.rows is not None and len(of_some.rows):
        count = len(of_some.rows)
        moved[of_some.rows] = (of_some.per_photo - of_some.value) * (_unbiased(count) * num / count)
    return Measure(of_some.value, moved, "unit")


def _unbiased(num: int) -> float:
    """Return the factor by which the standard deviation of few numbers is too small (Bessel's correction)."""
    return math.sqrt(num / max(num - 1, 1))


def roc_auc(has: np.ndarray, scores: np.ndarray) -> Measure:
    """Return the area under the ROC curve of one class: the probability that a photo of it scores higher.

    Photos with equal scores count half. It is undefined unless there are photos of the class and others.

    Args:
        has: (N,) bool, photos of the class.
        scores: (N,); higher means more likely.

    Source: DeLong, DeLong and Clarke-Pearson 1988, Biometrics 44, 837-845.
    """
    num = len(has)
    positive, negative = scores[has], scores[~has]
    if not len(positive) or not len(negative):
        return Measure(math.nan, np.zeros(num), "unit")
    of_photo = np.empty(num)
    of_photo[has] = _share_below(np.sort(negative), positive)
    of_photo[~has] = 1 - _share_below(np.sort(positive), negative)
    value = float(of_photo[has].mean())
    weight = np.where(has, num / len(positive), num / len(negative))
    return Measure(value, (of_photo - value) * weight, "unit")


def _share_below(ranked: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return which part of some sorted scores is below each score; equal ones count half."""
    left, right = (np.searchsorted(ranked, scores, side) for side in ("left", "right"))
    return np.asarray((left + right) / (2 * len(ranked)))


def average_precision(has: np.ndarray, scores: np.ndarray, value: float) -> Measure:
    """Return the influences on the average precision of one class; arguments are those of ``roc_auc``.

    Args:
        has: As above.
        scores: As above.
        value: The average precision; NaN if no photo has the class.
    """
    num, hits = len(has), int(has.sum())
    if hits == 0:
        return Measure(math.nan, np.zeros(num), "unit")
    levels, level = np.unique(-scores, return_inverse=True)  # the highest score first
    claimed = np.cumsum(np.bincount(level, minlength=len(levels)))
    found = np.bincount(level, has, minlength=len(levels))
    precision = np.cumsum(found) / claimed
    # A photo is in the precision of each level at or below its own.
    of_hit = np.cumsum((found / claimed)[::-1])[::-1]
    of_miss = np.cumsum((found * precision / claimed)[::-1])[::-1]
    moved = has * (precision[level] - value + of_hit[level]) - of_miss[level]
    return Measure(value, moved * (num / hits), "unit")


def rmse(errors: np.ndarray) -> Measure:
    """Return the root mean squared error of (N,) errors."""
    squares = mean(errors**2, "positive")
    root = math.sqrt(squares.value)
    return Measure(root, squares.per_photo / (2 * root) if root else squares.per_photo, "positive")


def r2(truth: np.ndarray, errors: np.ndarray) -> Measure:
    """Return R² of (N,) errors; NaN if the true numbers do not vary."""
    squares, spread = mean(errors**2, "positive"), mean((truth - truth.mean()) ** 2, "positive")
    if not spread.value > 0:
        return Measure(math.nan, np.zeros(len(truth)), "r2")
    ratio = squares.value / spread.value
    return Measure(1 - ratio, (ratio * spread.per_photo - squares.per_photo) / spread.value, "r2")
