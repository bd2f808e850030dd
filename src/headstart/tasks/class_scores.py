"""Scores of predicted classes: accuracy, precision, recall, F1 and the confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ClassificationScores:
    """Scores over N photos of K classes. Undefined scores are NaN.

    Attributes:
        class_names: The K classes.
        loss: Mean cross entropy: -log(probability of the true class).
        accuracy: Fraction of photos whose most probable class is the true class, in 0..1.
        precision: Per class: the fraction of photos predicted as this class that belong to it; NaN if none
            was predicted.
        recall: Per class: the fraction of photos of this class that were predicted as it; NaN if it has no
            photos.
        f1: Per class: the harmonic mean of precision and recall; NaN if the class neither has photos nor was
            predicted.
        support: Per class: the number of its photos.
        confusion: (K, K), photos by true class (row) and predicted class (column).
        calibrated_loss: Mean cross entropy after the best temperature for these photos; NaN if unknown. It
            serves to compare weights, and is too good as an estimate for other photos.
    """

    class_names: tuple[str, ...]
    loss: float
    accuracy: float
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    f1: tuple[float, ...]
    support: tuple[int, ...]
    confusion: tuple[tuple[int, ...], ...]
    calibrated_loss: float = math.nan

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall of the classes that have photos."""
        return float(np.nanmean(self.recall))

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the classes that have photos or were predicted."""
        return float(np.nanmean(self.f1))

    @property
    def summary(self) -> dict[str, float]:
        """The overall scores by name."""
        return {**self._reported, "calibrated_loss": self.calibrated_loss}

    @property
    def _reported(self) -> dict[str, float]:
        names = ("loss", "accuracy", "balanced_accuracy", "macro_f1")
        return {name: getattr(self, name) for name in names}

    def to_dict(self) -> dict[str, Any]:
        """Return the scores for JSON: ``classes`` has one entry per class; undefined scores are null."""
        names = ("name", "precision", "recall", "f1", "support")
        by_class = zip(self.class_names, self.precision, self.recall, self.f1, self.support, strict=True)
        classes = [without_nan(dict(zip(names, row, strict=True))) for row in by_class]
        return {**self._reported, "classes": classes, "confusion": [list(row) for row in self.confusion]}


def score(
    labels: np.ndarray, predicted: np.ndarray, losses: np.ndarray, class_names: Sequence[str]
) -> ClassificationScores:
    """Compute all scores of a classifier.

    Args:
        labels: (N,) integers, indices of the true classes in ``class_names``; N at least 1.
        predicted: (N,) integers, indices of the most probable classes.
        losses: (N,) cross entropies of the photos.
        class_names: Names of the K classes.

    Raises:
        ValueError: The shapes are inconsistent, or there are no photos.
    """
    if not 0 < len(labels) == len(predicted) == len(losses):
        raise ValueError(
            f"{len(labels)} labels, {len(predicted)} predicted classes and {len(losses)} losses: give one of "
            "each for every photo, and at least one photo."
        )
    confusion = confusion_matrix(labels, predicted, len(class_names))
    precision, recall, f1 = scores_by_class(labels, predicted, len(class_names))
    return ClassificationScores(
        class_names=tuple(class_names),
        loss=float(losses.mean(dtype=np.float64)),
        accuracy=float(confusion.trace() / len(labels)),
        precision=tuple(precision.tolist()),
        recall=tuple(recall.tolist()),
        f1=tuple(f1.tolist()),
        support=tuple(confusion.sum(1).tolist()),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )


def means_over_classes(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> dict[str, float]:
    """Return ``balanced_accuracy`` and ``macro_f1``, as in ``ClassificationScores``.

    Arguments are those of ``confusion_matrix``.
    """
    _, recall, f1 = scores_by_class(labels, predicted, num_classes)
    return {"balanced_accuracy": float(np.nanmean(recall)), "macro_f1": float(np.nanmean(f1))}


def scores_by_class(
    labels: np.ndarray, predicted: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return precision, recall and F1 of each class, (K,) each; undefined scores are NaN.

    Arguments are those of ``confusion_matrix``, which needs K² numbers; this needs K.
    """
    correct, support, claimed = (
        np.bincount(each, minlength=num_classes) for each in (labels[labels == predicted], labels, predicted)
    )
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN, as documented
        return correct / claimed, correct / support, 2 * correct / (claimed + support)


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Count photos by true class (row) and predicted class (column).

    Args:
        labels: (N,) integers in 0..num_classes - 1.
        predicted: (N,) integers in 0..num_classes - 1.
        num_classes: K.

    Returns:
        (K, K) int64.
    """
    counts = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def without_nan(row: dict[str, Any]) -> dict[str, Any]:
    """Return named values with None instead of NaN, which JSON does not have."""
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}
