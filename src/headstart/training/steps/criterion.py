"""Loss and scores of each task while training in steps. The heads are in ``model/head.py``.

The targets are rows of ``data.targets.Targets``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from headstart import tasks
from headstart.data.targets import Targets
from headstart.model.spatial_head import upright
from headstart.tasks.calibration import calibrated_loss
from headstart.tasks.class_scores import means_over_classes
from headstart.tasks.label_scores import choose_thresholds, score_multilabel
from headstart.tasks.losses import BOX_BETA, LEAST_AREA
from headstart.tasks.number_scores import score_regression


class Criterion:
    """Base class of criteria.

    Args:
        targets: Targets of the dataset.

    Attributes:
        metrics: Names of all scores that ``scores`` returns, with the main score first.
    """

    def __init__(self, targets: Targets) -> None:
        self.targets = targets
        self.metrics = tasks.of(targets.task).metrics_of(targets.num_box_classes)

    @property
    def headline(self) -> str:
        """Name of the main score, a mean over photos, so that it can be shown while training."""
        return self.metrics[0]

    def losses(self, outputs: Tensor, rows: Tensor, smoothing: float = 0.0) -> Tensor:
        """Return the loss of each photo, (B,) float32.

        Args:
            outputs: (B, D) float32, outputs of the network.
            rows: (B, ...), targets of the photos.
            smoothing: Fraction of each target that is spread over all classes; 0 for scoring.
        """
        raise NotImplementedError

    def headline_of(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Return the main score of each photo, (B,)."""
        raise NotImplementedError

    def classes_of(self, rows: Tensor) -> Tensor:
        """Return the class of each photo, (B,) int64, for class weights, if each photo has one class."""
        return rows

    def scores(self, outputs: np.ndarray, rows: np.ndarray) -> dict[str, float]:
        """Return the scores that are not means over photos.

        Args:
            outputs: (N, D) float32, for all photos.
            rows: (N, ...), targets of the photos.
        """
        return {}


class Classification(Criterion):
    """One class per photo: cross entropy. Source of label smoothing: arXiv 1512.00567."""

    def losses(self, outputs: Tensor, rows: Tensor, smoothing: float = 0.0) -> Tensor:
        """Return the cross entropy of each photo."""
        return F.cross_entropy(outputs, rows, reduction="none", label_smoothing=smoothing)

    def headline_of(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Return whether each photo is classified correctly."""
        return outputs.argmax(1) == rows

    def scores(self, outputs: np.ndarray, rows: np.ndarray) -> dict[str, float]:
        """Return the loss after the best temperature, balanced accuracy and macro F1."""
        means = means_over_classes(rows, outputs.argmax(1), outputs.shape[1])
        return {"calibrated_loss": calibrated_loss(outputs, rows), **means}


class Multilabel(Criterion):
    """Any number of classes per photo: binary cross entropy, averaged over the classes."""

    def losses(self, outputs: Tensor, rows: Tensor, smoothing: float = 0.0) -> Tensor:
        """Return the binary cross entropy of each photo."""
        smoothed = rows * (1 - smoothing) + smoothing / 2
        return F.binary_cross_entropy_with_logits(outputs, smoothed, reduction="none").mean(1)

    def headline_of(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Return the fraction of correct decisions for each photo."""
        return ((outputs > 0) == (rows > 0.5)).float().mean(1)

    def scores(self, outputs: np.ndarray, rows: np.ndarray) -> dict[str, float]:
        """Return average precision, F1 at the best thresholds, and the loss after the best temperature."""
        labels, probabilities = rows > 0.5, 1 / (1 + np.exp(-outputs.astype(np.float64)))
        thresholds = choose_thresholds(labels, probabilities)  # as they are chosen at the end
        names = [str(k) for k in range(labels.shape[1])]
        photo_losses = tasks.MULTILABEL.losses(outputs.astype(np.float64), rows)
        found = score_multilabel(labels, probabilities, photo_losses, names, thresholds).summary
        scores = {name: 0.0 if np.isnan(found[name]) else found[name] for name in ("map", "f1")}
        return scores | {"calibrated_loss": calibrated_loss(outputs, labels)}


class Regression(Criterion):
    """Numbers: smooth L1 of standardised numbers, quadratic up to one standard deviation; scores in their own
    units.
    """

    def losses(self, outputs: Tensor, rows: Tensor, smoothing: float = 0.0) -> Tensor:
        """Return the smooth L1 loss of each photo."""
        return F.smooth_l1_loss(outputs, rows, reduction="none").mean(1)

    def headline_of(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Return the mean absolute error of each photo, in the units of the targets."""
        std = torch.tensor(self.targets.scale.std, device=outputs.device)
        return ((outputs - rows).abs() * std).mean(1)

    def scores(self, outputs: np.ndarray, rows: np.ndarray) -> dict[str, float]:
        """Return RMSE, in the units of the targets, and R², averaged over the targets."""
        std = np.array(self.targets.scale.std)
        names = [str(k) for k in range(len(std))]
        summary = score_regression(rows * std, outputs * std, names).summary  # a mean changes no difference
        return {"rmse": summary["rmse"], "r2": 0.0 if np.isnan(summary["r2"]) else summary["r2"]}


class Box(Criterion):
    """One box per photo: smooth L1 and GIoU (arXiv 1902.09630) of the box, cross entropy of its class."""

    def losses(self, outputs: Tensor, rows: Tensor, smoothing: float = 0.0) -> Tensor:
        """Return the sum of smooth L1, 1 - GIoU and the cross entropy of the class for each photo."""
        boxes, truth = outputs[:, :4], rows[:, :4]
        sides = F.smooth_l1_loss(boxes, truth, reduction="none", beta=BOX_BETA).sum(1)
        losses = sides + 1 - _giou(boxes, truth)
        if self.targets.num_box_classes:
            labels = rows[:, 4].long()
            logits = outputs[:, 4:]
            losses = losses + F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
        return losses

    def headline_of(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """Return the IoU of each predicted box."""
        return _iou(outputs[:, :4], rows[:, :4])

    def scores(self, outputs: np.ndarray, rows: np.ndarray) -> dict[str, float]:
        """Return the fraction of boxes with an IoU of at least 0.5, and the accuracy of their classes."""
        overlaps = _iou(torch.from_numpy(outputs[:, :4]), torch.from_numpy(rows[:, :4]))
        found = {"iou50": float((overlaps >= 0.5).double().mean())}
        if self.targets.num_box_classes:
            found["accuracy"] = float((outputs[:, 4:].argmax(1) == rows[:, 4]).mean())
        return found


def _giou(boxes: Tensor, truth: Tensor) -> Tensor:
    """Return the generalised IoU of each pair, (B,) in -1..1.

    torchvision's function is not used, because a predicted box may be inverted; its area would be negative,
    and the loss could fall without limit. Here the sides of a box are sorted first.
    """
    boxes = upright(boxes)
    shared, union = _shared_and_union(boxes, truth)
    low, high = torch.minimum(boxes[:, :2], truth[:, :2]), torch.maximum(boxes[:, 2:], truth[:, 2:])
    around = (high - low).prod(1).clamp(min=LEAST_AREA)
    return shared / union - (around - union) / around


def _iou(boxes: Tensor, truth: Tensor) -> Tensor:
    """Return the IoU of each pair, (B,), with boxes as in the deployed model."""
    shared, union = _shared_and_union(upright(boxes), truth)
    return shared / union


def _shared_and_union(boxes: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    low, high = torch.maximum(boxes[:, :2], truth[:, :2]), torch.minimum(boxes[:, 2:], truth[:, 2:])
    shared = (high - low).clamp(min=0).prod(1)
    one, other = ((each[:, 2:] - each[:, :2]).clamp(min=0).prod(1) for each in (boxes, truth))
    return shared, (one + other - shared).clamp(min=LEAST_AREA)


_CRITERIA: Final[Mapping[str, type[Criterion]]] = {
    "classification": Classification,
    "multilabel": Multilabel,
    "regression": Regression,
    "box": Box,
}


def criterion_of(targets: Targets) -> Criterion:
    """Return the criterion for a dataset's targets."""
    return _CRITERIA[targets.task](targets)
