"""One pass over the training batches, and one over the validation batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from headstart.training.sampler import key


@dataclass(frozen=True)
class Batch:
    """One process's part of one step.

    Attributes:
        inputs: What the suffix takes, (B, ...), on the device.
        labels: (B,) int64.
        weights: (B,) float32, 0 for a stand-in that must not count.
        step_size: Photos in the step over all processes.
    """

    inputs: Tensor
    labels: Tensor
    weights: Tensor
    step_size: int


@dataclass(frozen=True)
class Scores:
    """Mean loss and accuracy over all photos of all processes."""

    loss: float
    accuracy: float


def train_one_epoch(
    suffix: nn.Module,
    batches: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    *,
    generator_key: tuple[object, ...],
    on_step: Callable[[int, Tensor], None],
) -> Scores:
    """Train the suffix on every batch once.

    Args:
        suffix: The unfrozen stages, as prepared by the accelerator.
        batches: This process's part of each step.
        optimizer: As prepared by the accelerator.
        accelerator: Device, precision and processes.
        generator_key: What dropout depends on, with the step and the process: (seed, phase, epoch).
        on_step: Called after each step with its number of photos, over all processes, and this process's
            running totals: sum of losses, right answers, photos. Reading them waits for the device.

    Returns:
        The scores as seen while training: with dropout, and with weights that change from step to step.
    """
    suffix.train()  # the one place; what is frozen or held stays in evaluation mode
    totals = torch.zeros(3, device=accelerator.device)
    for step, batch in enumerate(batches):
        # No hidden generator state: what is dropped depends on where we are, not on what ran before.
        torch.manual_seed(key(*generator_key, step, accelerator.process_index))
        with accelerator.autocast():
            logits = suffix(batch.inputs)
        losses = F.cross_entropy(logits.float(), batch.labels, reduction="none") * batch.weights
        # The step's mean over all its photos: gradients are averaged over processes, hence the factor.
        loss = losses.sum() * (accelerator.num_processes / batch.step_size)
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
        totals += _totals(losses.detach(), logits, batch)
        on_step(batch.step_size, totals)
    return _scores(totals, accelerator)


@torch.no_grad()
def evaluate(suffix: nn.Module, batches: Iterable[Batch], accelerator: Accelerator) -> Scores:
    """Score the suffix on every batch in evaluation mode."""
    suffix.eval()
    totals = torch.zeros(3, device=accelerator.device)
    for batch in batches:
        with accelerator.autocast():
            logits = suffix(batch.inputs)
        losses = F.cross_entropy(logits.float(), batch.labels, reduction="none") * batch.weights
        totals += _totals(losses, logits, batch)
    return _scores(totals, accelerator)


def _totals(losses: Tensor, logits: Tensor, batch: Batch) -> Tensor:
    correct = (logits.argmax(1) == batch.labels) * batch.weights
    return torch.stack([losses.sum(), correct.sum(), batch.weights.sum()])


def _scores(totals: Tensor, accelerator: Accelerator) -> Scores:
    loss, correct, count = accelerator.reduce(totals, "sum").tolist()
    return Scores(loss / count, correct / count)
