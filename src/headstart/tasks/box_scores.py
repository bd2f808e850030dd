"""Scores of predicted boxes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.images.boxes import iou
from headstart.tasks.class_scores import ClassificationScores
from headstart.tasks.measures import Measures, mean, share


@dataclass(frozen=True)
class BoxScores:
    """Scores over N photos with one box each.

    Attributes:
        iou: Mean intersection over union, in 0..1.
        iou50: Fraction of photos with an intersection over union of at least 0.5.
        error_px: Mean absolute error of the coordinates, in pixels of the photos.
        classes: Scores of the boxes' classes, if there are two or more classes.
    """

    iou: float
    iou50: float
    error_px: float
    classes: ClassificationScores | None = None

    @property
    def summary(self) -> dict[str, float]:
        """The overall scores by name."""
        numbers = {"iou": self.iou, "iou50": self.iou50, "error_px": self.error_px}
        return numbers | ({"accuracy": self.classes.accuracy} if self.classes else {})

    def to_dict(self) -> dict[str, Any]:
        """Return the scores for JSON."""
        of_classes = {} if self.classes is None else {"classes": self.classes.to_dict()["classes"]}
        return {**self.summary, **of_classes}


def score_boxes(
    truth: np.ndarray, predicted: np.ndarray, classes: ClassificationScores | None = None
) -> BoxScores:
    """Compute all scores.

    Args:
        truth: (N, 4), true boxes: xmin, ymin, xmax, ymax in pixels; N at least 1.
        predicted: (N, 4), predicted boxes.
        classes: Scores of the boxes' classes, if there are two or more classes.
    """
    overlaps = iou(truth, predicted)
    error_px = np.abs(truth - predicted).mean()
    return BoxScores(float(overlaps.mean()), float((overlaps >= 0.5).mean()), float(error_px), classes)


def measure_boxes(truth: np.ndarray, predicted: np.ndarray, losses: np.ndarray) -> Measures:
    """Return the scores of boxes with the part of each photo; no box is exactly right.

    Args:
        truth: (N, 4), as for ``score_boxes``.
        predicted: (N, 4), likewise.
        losses: (N,).
    """
    overlaps = iou(truth, predicted)
    overall = {
        "iou": mean(overlaps, "unit"),
        "iou50": share(overlaps >= 0.5),
        "error_px": mean(np.abs(truth - predicted).mean(1), "positive"),
        "loss": mean(losses, "positive"),
    }
    return Measures(overall, {}, np.ones(len(truth), bool))
