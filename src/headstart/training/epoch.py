"""Scores over all photos of a pass, and the pass over the validation batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from headstart.training.batches import Batch
from headstart.training.task import Task

Scores: TypeAlias = dict[str, float]
"""The mean ``loss``, the task's headline and its other metrics, over all photos of all processes."""


def scores_of(totals: Tensor, task: Task, accelerator: Accelerator) -> Scores:
    """Add up what each process has counted in ``count``."""
    loss, headline, count = accelerator.reduce(totals, "sum").tolist()
    return {"loss": loss / count, task.headline: headline / count}


def count(losses: Tensor, outputs: Tensor, batch: Batch, task: Task) -> Tensor:
    """Return a batch's sums of losses, of the headline and of photos, (3,), without gradients."""
    headline = task.headline_of(outputs.detach().float(), batch.targets) * batch.weights
    return torch.stack([losses.detach().sum(), headline.sum(), batch.weights.sum()])


@torch.no_grad()
def evaluate(
    suffix: nn.Module,
    batches: Iterable[Batch],
    task: Task,
    accelerator: Accelerator,
    on_batch: Callable[[], object] = lambda: None,
) -> Scores:
    """Score the suffix on every batch in evaluation mode, by the task's plain loss.

    Args:
        suffix: The unfrozen stages.
        batches: This process's parts.
        task: Judges.
        accelerator: Device, precision and processes.
        on_batch: Called after each batch.
    """
    suffix.eval()
    totals = torch.zeros(3, device=accelerator.device)
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    for batch in batches:
        with accelerator.autocast():
            outputs = suffix(batch.inputs)
        outputs = outputs.float()
        losses = task.losses(outputs, batch.targets) * batch.weights
        totals += count(losses, outputs, batch, task)
        if len(task.metrics) > 1:
            seen.append((outputs.cpu(), batch.targets.cpu(), batch.weights.cpu()))
        on_batch()
    scores = scores_of(totals, task, accelerator)
    if seen:
        scores |= task.scores(*_gathered(seen, accelerator))
    return scores


def score_outputs(outputs: Tensor, rows: Tensor, task: Task) -> Scores:
    """Score outputs that are there already, as ``evaluate`` does.

    Args:
        outputs: (N, D) float32, of the network.
        rows: (N, ...), what they are compared with: see ``Targets.row``.
        task: Judges.
    """
    headline = task.headline_of(outputs, rows)
    scores = {
        "loss": float(task.losses(outputs, rows).double().mean()),
        task.headline: float(headline.double().mean()),
    }
    return scores | (task.scores(outputs.numpy(), rows.numpy()) if len(task.metrics) > 1 else {})


def _gathered(seen: list[tuple[Tensor, Tensor, Tensor]], accelerator: Accelerator) -> tuple:  # type: ignore[type-arg]
    """Bring together what all processes have seen, without the stand-ins."""
    columns = [torch.cat(column) for column in zip(*seen, strict=True)]
    if accelerator.num_processes > 1:
        columns = [column.to(accelerator.device) for column in columns]
        # Fills the shorter ones up with zeros, also of the weights.
        columns = [accelerator.gather(accelerator.pad_across_processes(column)).cpu() for column in columns]
    outputs, rows, weights = columns
    return outputs[weights > 0].numpy(), rows[weights > 0].numpy()
