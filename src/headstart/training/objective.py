"""What training minimises. Validation is scored by the plain cross entropy instead."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from headstart.config import PhaseConfig
from headstart.training.mix import Mixed


class Objective:
    """Cross entropy with a phase's label smoothing and class weights.

    Args:
        phase: Holds both.
        class_counts: (K,), training photos of each class.
        device: Where the logits will be.

    Source:
        Label smoothing: arXiv 1512.00567.
    """

    def __init__(self, phase: PhaseConfig, class_counts: Tensor, device: torch.device) -> None:
        self._label_smoothing = phase.label_smoothing
        self._class_weights: Tensor | None = None
        if phase.class_weights == "balanced":
            self._class_weights = balanced_weights(class_counts).to(device)

    def __call__(self, logits: Tensor, labels: Tensor, mixed: Mixed | None = None) -> Tensor:
        """Return each photo's loss, (B,) float32.

        Args:
            logits: (B, K), of any floating-point type.
            labels: (B,) int64.
            mixed: What the photos were mixed with, if they were: both labels count, by their shares.
        """
        logits = logits.float()
        losses = self._losses(logits, labels)
        if mixed is None or mixed.other is None or mixed.share is None:
            return losses
        return mixed.share * losses + (1 - mixed.share) * self._losses(logits, labels[mixed.other])

    def _losses(self, logits: Tensor, labels: Tensor) -> Tensor:
        losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=self._label_smoothing)
        # Not cross_entropy's own weights: it smooths with the weights of the other classes.
        return losses if self._class_weights is None else losses * self._class_weights[labels]


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
