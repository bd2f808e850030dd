"""Scores of predictions with several labels per photo."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.tasks.class_scores import without_nan


@dataclass(frozen=True)
class MultilabelScores:
    """Scores over N photos and K classes. Undefined scores are NaN, and are left out of means.

    Attributes:
        class_names: The K classes.
        loss: Mean binary cross entropy over photos and classes.
        accuracy: Fraction of correct decisions, one per photo and class, at a probability of 0.5.
        map: Mean average precision over the classes.
        f1: Mean F1 over the classes that have photos.
        average_precision: Per class: the area under the precision-recall steps; NaN without photos of the
            class.
        precision, recall, f1_by_class: Per class, at its threshold.
        thresholds: Per class: a photo is predicted to have the class if its probability is at least this.
        support: Per class: the number of photos that have it.
        calibrated_loss: Mean binary cross entropy after the best temperature for these photos; NaN if
            unknown. It serves to compare weights, and is too good as an estimate for other photos.
    """

    class_names: tuple[str, ...]
    loss: float
    accuracy: float
    map: float
    f1: float
    average_precision: tuple[float, ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    f1_by_class: tuple[float, ...]
    thresholds: tuple[float, ...]
    support: tuple[int, ...]
    calibrated_loss: float = math.nan

    @property
    def summary(self) -> dict[str, float]:
        """The overall scores by name."""
        return {**self._reported, "calibrated_loss": self.calibrated_loss}

    @property
    def _reported(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in ("loss", "accuracy", "map", "f1")}

    def to_dict(self) -> dict[str, Any]:
        """Return the scores for JSON; undefined scores are null."""
        columns = {
            "name": self.class_names,
            "average_precision": self.average_precision,
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1_by_class,
            "threshold": self.thresholds,
            "support": self.support,
        }
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return without_nan({**self._reported, "classes": [without_nan(row) for row in rows]})


def score_multilabel(
    labels: np.ndarray,
    probabilities: np.ndarray,
    losses: np.ndarray,
    class_names: Sequence[str],
    thresholds: Sequence[float],
) -> MultilabelScores:
    """Compute all scores.

    Args:
        labels: (N, K) bool; N at least 1.
        probabilities: (N, K) in 0..1.
        losses: (N,), binary cross entropy of each photo, averaged over the classes.
        class_names: The K classes.
        thresholds: Thresholds of the K classes.
    """
    said = probabilities >= np.asarray(thresholds)
    hits, support, claimed = (said & labels).sum(0), labels.sum(0), said.sum(0)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN, as documented
        precision, recall, f1 = hits / claimed, hits / support, 2 * hits / (claimed + support)
    columns = zip(labels.T, probabilities.T, strict=True)
    precisions = np.array([average_precision(*column) for column in columns])
    return MultilabelScores(
        class_names=tuple(class_names),
        loss=float(losses.mean(dtype=np.float64)),
        accuracy=float(((probabilities > 0.5) == labels).mean()),
        map=_mean(precisions),
        f1=_mean(np.where(support > 0, f1, np.nan)),
        average_precision=tuple(precisions.tolist()),
        precision=tuple(precision.tolist()),
        recall=tuple(recall.tolist()),
        f1_by_class=tuple(f1.tolist()),
        thresholds=tuple(float(each) for each in thresholds),
        support=tuple(support.tolist()),
    )


def average_precision(labels: np.ndarray, scores: np.ndarray) -> float:
    """Return the average precision of a ranking of photos; NaN if no photo has the class.

    Like scikit-learn's ``average_precision_score``: photos with equal scores have the same rank.

    Args:
        labels: (N,) bool.
        scores: (N,); higher means more likely.
    """
    if not labels.any():
        return math.nan
    order = np.argsort(-scores, kind="stable")
    labels, scores = labels[order], scores[order]
    last_of_equal = np.append(np.diff(scores) != 0, True)
    hits = np.cumsum(labels)[last_of_equal]
    precision = hits / (np.flatnonzero(last_of_equal) + 1)
    return float((np.diff(hits, prepend=0) * precision).sum() / hits[-1])


def choose_thresholds(labels: np.ndarray, probabilities: np.ndarray) -> tuple[float, ...]:
    """Choose the threshold of each class that maximises its F1; 0.5 for a class of all photos or none.

    Args:
        labels: (N, K) bool, of photos that were not used for training.
        probabilities: (N, K) in 0..1.

    Returns:
        K thresholds, each halfway between the probabilities of two photos, or between the lowest and 0.
    """
    return tuple(_threshold(labels[:, k], probabilities[:, k]) for k in range(labels.shape[1]))


def _threshold(labels: np.ndarray, probabilities: np.ndarray) -> float:
    if labels.all() or not labels.any():
        return 0.5
    values = np.unique(probabilities)
    candidates = np.append((values[:-1] + values[1:]) / 2, values[0] / 2)
    # Photos at or above each candidate, and those of them that have the class.
    claimed = len(labels) - np.searchsorted(np.sort(probabilities), candidates)
    hits = labels.sum() - np.searchsorted(np.sort(probabilities[labels]), candidates)
    f1 = 2 * hits / (claimed + labels.sum())
    best = candidates[f1 == f1.max()]
    return float(best[np.abs(best - 0.5).argmin()])  # of equally good ones, the least opinionated


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else math.nan
