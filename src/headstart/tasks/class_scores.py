"""How good predicted classes are, in the field's usual numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ClassificationScores:
    """Scores over N photos of K classes. What is undefined is NaN.

    Attributes:
        class_names: The K classes.
        loss: Cross-entropy, the mean of -log(probability of the true class).
        accuracy: Share of photos whose most probable class is the true one, in 0..1.
        precision: By class, the share of what was called so that is so; NaN if nothing was called so.
        recall: By class, the share of what is so that was called so; NaN if there are no such photos.
        f1: By class, the harmonic mean of the two; NaN if there are no such photos, and none were called so.
        support: By class, how many photos are so.
        confusion: (K, K), photos by true class (row) and predicted class (column).
    """

    class_names: tuple[str, ...]
    loss: float
    accuracy: float
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    f1: tuple[float, ...]
    support: tuple[int, ...]
    confusion: tuple[tuple[int, ...], ...]

    @property
    def summary(self) -> dict[str, float]:
        """The numbers that sum it up."""
        return {"loss": self.loss, "accuracy": self.accuracy}

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as JSON has them: ``classes`` with one entry per class, null for undefined."""
        by_class = zip(self.class_names, self.precision, self.recall, self.f1, self.support, strict=True)
        return {
            "loss": self.loss,
            "accuracy": self.accuracy,
            "classes": [
                {
                    "name": name,
                    "precision": _none_if_nan(precision),
                    "recall": _none_if_nan(recall),
                    "f1": _none_if_nan(f1),
                    "support": support,
                }
                for name, precision, recall, f1, support in by_class
            ],
            "confusion": [list(row) for row in self.confusion],
        }


def score(
    labels: np.ndarray, predicted: np.ndarray, losses: np.ndarray, class_names: Sequence[str]
) -> ClassificationScores:
    """Compute all scores of a classifier.

    Args:
        labels: (N,) integers, the true classes as positions in ``class_names``; N at least 1.
        predicted: (N,) likewise, the most probable classes.
        losses: (N,) the photos' cross entropies.
        class_names: The K classes.

    Raises:
        ValueError: Shapes do not fit together, or there are no photos.
    """
    if not 0 < len(labels) == len(predicted) == len(losses):
        raise ValueError(
            f"{len(labels)} labels, {len(predicted)} predicted classes and {len(losses)} losses: give one of "
            "each for every photo, and at least one photo."
        )
    confusion = confusion_matrix(labels, predicted, len(class_names))
    correct, support, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN, as documented
        precision, recall, f1 = correct / predicted, correct / support, 2 * correct / (predicted + support)
    return ClassificationScores(
        class_names=tuple(class_names),
        loss=float(losses.mean(dtype=np.float64)),
        accuracy=float(correct.sum() / len(labels)),
        precision=tuple(precision.tolist()),
        recall=tuple(recall.tolist()),
        f1=tuple(f1.tolist()),
        support=tuple(support.tolist()),
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Count photos by true class (row) and predicted class (column).

    Args:
        labels: (N,) integers in 0..num_classes - 1.
        predicted: (N,) likewise.
        num_classes: K.

    Returns:
        (K, K) int64.
    """
    counts = np.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else value
