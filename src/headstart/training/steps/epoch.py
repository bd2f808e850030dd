"""Scores over all photos of a pass, and the pass over the validation batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from headstart.columns import listed
from headstart.errors import TrainingError
from headstart.model.memory import is_out_of_memory, release_memory
from headstart.training.run.history import Scores
from headstart.training.steps.batches import Batch
from headstart.training.steps.criterion import Criterion
from headstart.training.steps.memory import MicroBatch

_MOST_NAMED: Final = 10
_BATCHES_ON_DEVICE: Final = 16  # outputs stay there so long, as fetching them waits for the device


def scores_of(totals: Tensor, criterion: Criterion, accelerator: Accelerator) -> Scores:
    """Return the scores from the sums that each process has counted with ``count``."""
    loss, headline, count = accelerator.reduce(totals, "sum").tolist()
    return {"loss": loss / count, criterion.headline: headline / count}


def count(
    losses: Tensor, outputs: Tensor, batch: Batch, criterion: Criterion, part: slice = slice(None)
) -> Tensor:
    """Return the sums of losses, main score and photos over a part of a batch, (3,), without gradients."""
    weights = batch.weights[part]
    headline = criterion.headline_of(outputs.detach().float(), batch.targets[part]) * weights
    return torch.stack([losses.detach().sum(), headline.sum(), weights.sum()])


def refuse_some_not_finite(losses: Tensor, paths: Sequence[str], where: str) -> None:
    """Raise an error about photos with losses that are not finite, if other photos have finite losses.

    Args:
        losses: (N,), the loss of each photo.
        paths: Paths of the photos.
        where: Time of the event, for the message.

    Raises:
        TrainingError: Some losses are not finite, so these photos are the cause. If no loss is finite,
            nothing is raised, because the weights are the likely cause.
    """
    is_finite = torch.isfinite(losses).tolist()
    wrong = list(dict.fromkeys(path for path, fine in zip(paths, is_finite, strict=True) if not fine))
    if wrong and any(is_finite):
        raise TrainingError(
            f"The loss is not finite (NaN or infinite) for {len(wrong)} of {len(is_finite)} photos "
            f"({where}): {listed(wrong, _MOST_NAMED)}. The network does not return finite numbers "
            "for them. Remove them, for example if they show one colour, or use another network; if they "
            "are photos like the others, a smaller learning rate usually helps."
        )


@torch.no_grad()
def evaluate(
    suffix: nn.Module,
    batches: Iterable[Batch],
    criterion: Criterion,
    accelerator: Accelerator,
    on_batch: Callable[[], object] = lambda: None,
    micro_batch: MicroBatch | None = None,
) -> Scores:
    """Score the suffix on all batches in evaluation mode, with the loss without label smoothing.

    If memory runs out, fewer photos are scored at a time.

    Args:
        suffix: The trained stages.
        batches: The batches of this process.
        criterion: Loss and scores.
        accelerator: Accelerator with device, precision and processes.
        on_batch: Called after each batch.
        micro_batch: Photos per pass, reduced if memory runs out.

    Raises:
        TrainingError: Memory ran out with a single photo; or some photos have losses that are not finite, and
            others do not.
    """
    suffix.eval()
    micro_batch = micro_batch or MicroBatch()
    totals = torch.zeros(3, device=accelerator.device)
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    of_photos: list[tuple[Tensor, tuple[str, ...]]] = []
    on_cpu: list[tuple[Tensor, Tensor, Tensor]] = []
    for batch in batches:
        outputs = _outputs(suffix, batch.inputs, accelerator, micro_batch)
        losses = criterion.losses(outputs, batch.targets) * batch.weights
        totals += count(losses, outputs, batch, criterion)
        of_photos.append((losses, batch.paths))
        if len(criterion.metrics) > 1:
            seen.append((outputs, batch.targets, batch.weights))
            if len(seen) == _BATCHES_ON_DEVICE:
                on_cpu += _to_cpu(seen)
                seen = []
        on_batch()
    on_cpu += _to_cpu(seen)
    micro_batch.agree(accelerator)
    scores = scores_of(totals, criterion, accelerator)
    if not math.isfinite(scores["loss"]):
        paths = [path for _, of_batch in of_photos for path in of_batch]
        refuse_some_not_finite(torch.cat([losses for losses, _ in of_photos]), paths, "while scoring")
    if on_cpu:
        scores |= criterion.scores(*_gathered(on_cpu, accelerator))
    return scores


def score_outputs(outputs: Tensor, rows: Tensor, criterion: Criterion) -> Scores:
    """Score given outputs like ``evaluate``.

    Args:
        outputs: (N, D) float32, outputs of the network.
        rows: (N, ...), targets: see ``Targets.row``.
        criterion: Loss and scores.
    """
    headline = criterion.headline_of(outputs, rows)
    scores = {
        "loss": float(criterion.losses(outputs, rows).double().mean()),
        criterion.headline: float(headline.double().mean()),
    }
    return scores | (criterion.scores(outputs.numpy(), rows.numpy()) if len(criterion.metrics) > 1 else {})


def _outputs(suffix: nn.Module, inputs: Tensor, accelerator: Accelerator, micro_batch: MicroBatch) -> Tensor:
    """Run a batch in as many passes as memory requires; return (B, ...) float32."""
    while True:
        try:
            with accelerator.autocast():
                outputs = [suffix(inputs[part]) for part in micro_batch.parts(len(inputs))]
            return (outputs[0] if len(outputs) == 1 else torch.cat(outputs)).float()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        release_memory()  # here, where the exception no longer holds what the pass has computed
        micro_batch.shrink(len(inputs))


def _to_cpu(seen: list[tuple[Tensor, Tensor, Tensor]]) -> list[tuple[Tensor, Tensor, Tensor]]:
    return [tuple(column.cpu() for column in batch) for batch in seen]  # type: ignore[misc]


def _gathered(seen: list[tuple[Tensor, Tensor, Tensor]], accelerator: Accelerator) -> tuple:  # type: ignore[type-arg]
    """Collect the results of all processes, without dummy photos."""
    columns = [torch.cat(column) for column in zip(*seen, strict=True)]
    if accelerator.num_processes > 1:
        columns = [column.to(accelerator.device) for column in columns]
        # Fills the shorter ones up with zeros, also of the weights.
        columns = [accelerator.gather(accelerator.pad_across_processes(column)).cpu() for column in columns]
    outputs, rows, weights = columns
    return outputs[weights > 0].numpy(), rows[weights > 0].numpy()
