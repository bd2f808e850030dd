"""What a phase minimises: the task's loss, with class weights, of photos that may be mixed."""

from __future__ import annotations

import torch
from torch import Tensor

from headstart.config import PhaseConfig
from headstart.training.steps.criterion import Criterion
from headstart.training.steps.mix import Mixed


class Objective:
    """A task's loss with what the phase says.

    Args:
        criterion: Judges one photo.
        phase: Its label smoothing, and its class weights.
        class_counts: (K,), training photos of each class.
        device: Where the outputs will be.
    """

    def __init__(
        self, criterion: Criterion, phase: PhaseConfig, class_counts: Tensor, device: torch.device
    ) -> None:
        self._criterion, self._phase = criterion, phase
        self._class_weights: Tensor | None = None
        if phase.class_weights == "balanced":
            self._class_weights = balanced_weights(class_counts).to(device)

    def __call__(
        self, outputs: Tensor, rows: Tensor, mixed: Mixed | None = None, part: slice = slice(None)
    ) -> Tensor:
        """Return each photo's loss, (B,) float32.

        Args:
            outputs: (B, D), of any floating-point type.
            rows: (N, ...), what the outputs of the whole batch are compared with.
            mixed: What the photos were mixed with, if they were: both rows count, by their shares.
            part: Which B of the batch's N photos the outputs are of.
        """
        outputs = outputs.float()
        losses = self._losses(outputs, rows[part])
        if mixed is None or mixed.other is None or mixed.share is None:
            return losses
        share, other = mixed.share[part], mixed.other[part]
        return share * losses + (1 - share) * self._losses(outputs, rows[other])

    def _losses(self, outputs: Tensor, rows: Tensor) -> Tensor:
        losses = self._criterion.losses(outputs, rows, self._phase)
        if self._class_weights is None:
            return losses
        # Not cross_entropy's own weights: it smooths with the weights of the other classes.
        return losses * self._class_weights[self._criterion.classes_of(rows)]


def balanced_weights(class_counts: Tensor) -> Tensor:
    """Return the weight of a photo of each class: the rarer the class, the more, and 1 on average.

    Args:
        class_counts: (K,), photos of each class; at least one is above 0.

    Returns:
        (K,) float32: N / (K' n) where n of N photos are of the class and K' classes have photos; 0 for those
        without. The same as scikit-learn's ``class_weight="balanced"``.
    """
    counts = class_counts.double()
    present = counts > 0
    weights = counts.sum() / (present.sum() * counts.clamp(min=1))
    return (weights * present).float()
