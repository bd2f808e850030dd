"""The objective of a phase: the task's loss with class weights, for photos that may be mixed."""

from __future__ import annotations

import torch
from torch import Tensor

from headstart.config import PhaseConfig
from headstart.training.steps.criterion import Criterion
from headstart.training.steps.mix import Mixed


class Objective:
    """The task's loss with the settings of a phase.

    Args:
        criterion: The task's loss of single photos.
        phase: Settings: label smoothing and class weights.
        class_counts: (K,), number of training photos of each class.
        device: Device of the outputs.
    """

    def __init__(
        self, criterion: Criterion, phase: PhaseConfig, class_counts: Tensor, device: torch.device
    ) -> None:
        self._criterion, self._smoothing = criterion, phase.label_smoothing
        self._class_weights: Tensor | None = None
        if phase.class_weights == "balanced":
            self._class_weights = balanced_weights(class_counts).to(device)

    def __call__(
        self, outputs: Tensor, rows: Tensor, mixed: Mixed | None = None, part: slice = slice(None)
    ) -> Tensor:
        """Return the loss of each photo, (B,) float32.

        Args:
            outputs: (B, D), of any floating-point type.
            rows: (N, ...), targets of the whole batch.
            mixed: The result of mixing, if any: the losses of both targets are weighted by their fractions.
            part: Indices of the B outputs among the N photos of the batch.
        """
        outputs = outputs.float()
        losses = self._losses(outputs, rows[part])
        if mixed is None or mixed.other is None or mixed.share is None:
            return losses
        share, other = mixed.share[part], mixed.other[part]
        return share * losses + (1 - share) * self._losses(outputs, rows[other])

    def _losses(self, outputs: Tensor, rows: Tensor) -> Tensor:
        losses = self._criterion.losses(outputs, rows, self._smoothing)
        if self._class_weights is None:
            return losses
        # Not cross_entropy's own weights: it smooths with the weights of the other classes.
        return losses * self._class_weights[self._criterion.classes_of(rows)]


def balanced_weights(class_counts: Tensor) -> Tensor:
    """Return weights of classes that are inversely proportional to their frequency, with a mean of 1 over
    photos.

    Args:
        class_counts: (K,), number of photos of each class; at least one is above 0.

    Returns:
        (K,) float32: N / (K' n), if n of N photos belong to the class and K' classes have photos; 0 for
        classes without photos. The same as scikit-learn's ``class_weight="balanced"``.
    """
    counts = class_counts.double()
    present = counts > 0
    weights = counts.sum() / (present.sum() * counts.clamp(min=1))
    return (weights * present).float()
