"""Scores over all photos of a pass, and the pass over the validation batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from headstart.training.batches import Batch


@dataclass(frozen=True)
class Scores:
    """Mean loss and accuracy over all photos of all processes."""

    loss: float
    accuracy: float

    @classmethod
    def of(cls, totals: Tensor, accelerator: Accelerator) -> Scores:
        """Add up what each process has counted in ``count``."""
        loss, correct, count = accelerator.reduce(totals, "sum").tolist()
        return cls(loss / count, correct / count)


def count(losses: Tensor, logits: Tensor, batch: Batch) -> Tensor:
    """Return a batch's sum of losses, right answers and photos, (3,), without gradients."""
    correct = (logits.argmax(1) == batch.labels) * batch.weights
    return torch.stack([losses.detach().sum(), correct.sum(), batch.weights.sum()])


@torch.no_grad()
def evaluate(
    suffix: nn.Module,
    batches: Iterable[Batch],
    accelerator: Accelerator,
    on_batch: Callable[[], object] = lambda: None,
) -> Scores:
    """Score the suffix on every batch in evaluation mode, by plain cross entropy.

    Args:
        suffix: The unfrozen stages.
        batches: This process's parts.
        accelerator: Device, precision and processes.
        on_batch: Called after each batch.
    """
    suffix.eval()
    totals = torch.zeros(3, device=accelerator.device)
    for batch in batches:
        with accelerator.autocast():
            logits = suffix(batch.inputs)
        losses = F.cross_entropy(logits.float(), batch.labels, reduction="none") * batch.weights
        totals += count(losses, logits, batch)
        on_batch()
    return Scores.of(totals, accelerator)
