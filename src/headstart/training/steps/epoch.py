"""Scores over all photos of a pass, and the pass over the validation batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from headstart.errors import TrainingError
from headstart.model.memory import is_out_of_memory, release_memory
from headstart.training.run.history import Scores
from headstart.training.steps.batches import Batch
from headstart.training.steps.criterion import Criterion
from headstart.training.steps.memory import MicroBatch

_MOST_NAMED: Final = 10
_BATCHES_ON_DEVICE: Final = 16  # outputs stay there so long, as fetching them waits for the device


def scores_of(totals: Tensor, criterion: Criterion, accelerator: Accelerator) -> Scores:
    """Add up what each process has counted in ``count``."""
    loss, headline, count = accelerator.reduce(totals, "sum").tolist()
    return {"loss": loss / count, criterion.headline: headline / count}


def count(
    losses: Tensor, outputs: Tensor, batch: Batch, criterion: Criterion, part: slice = slice(None)
) -> Tensor:
    """Return a part's sums of losses, of the headline and of photos, (3,), without gradients."""
    weights = batch.weights[part]
    headline = criterion.headline_of(outputs.detach().float(), batch.targets[part]) * weights
    return torch.stack([losses.detach().sum(), headline.sum(), weights.sum()])


def refuse_some_not_finite(losses: Tensor, paths: Sequence[str], where: str) -> None:
    """Name the photos whose losses are not finite, if those of the others are: then the photos are the cause.

    Args:
        losses: (N,), one for each photo.
        paths: Of the photos.
        where: When this happened, for the message.

    Raises:
        TrainingError: There are such photos. Where no loss is finite, nothing is raised: the weights are the
            likely cause then.
    """
    is_finite = torch.isfinite(losses).tolist()
    wrong = list(dict.fromkeys(path for path, fine in zip(paths, is_finite, strict=True) if not fine))
    if wrong and any(is_finite):
        more = f" and {len(wrong) - _MOST_NAMED} more" if len(wrong) > _MOST_NAMED else ""
        raise TrainingError(
            f"The loss is not finite (NaN or infinite) for {len(wrong)} of {len(is_finite)} photos "
            f"({where}): {', '.join(wrong[:_MOST_NAMED])}{more}. The network does not return finite numbers "
            "for them. Remove them, for example if they show one colour, or use another network; if they "
            "are photos like the others, a smaller learning rate is the usual cure."
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
    """Score the suffix on every batch in evaluation mode, by the plain loss.

    Where memory runs out, photos are scored fewer at a time.

    Args:
        suffix: The unfrozen stages.
        batches: This process's parts.
        criterion: Judges.
        accelerator: Device, precision and processes.
        on_batch: Called after each batch.
        micro_batch: Photos in one pass; becomes smaller where memory runs out.

    Raises:
        TrainingError: Memory ran out with one photo; or the loss of some photos is not finite, and that of
            the others is.
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
    """Score outputs that are there already, as ``evaluate`` does.

    Args:
        outputs: (N, D) float32, of the network.
        rows: (N, ...), what they are compared with: see ``Targets.row``.
        criterion: Judges.
    """
    headline = criterion.headline_of(outputs, rows)
    scores = {
        "loss": float(criterion.losses(outputs, rows).double().mean()),
        criterion.headline: float(headline.double().mean()),
    }
    return scores | (criterion.scores(outputs.numpy(), rows.numpy()) if len(criterion.metrics) > 1 else {})


def _outputs(suffix: nn.Module, inputs: Tensor, accelerator: Accelerator, micro_batch: MicroBatch) -> Tensor:
    """Run a batch, in as many passes as memory needs; (B, ...) float32."""
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
    """Bring together what all processes have seen, without the stand-ins."""
    columns = [torch.cat(column) for column in zip(*seen, strict=True)]
    if accelerator.num_processes > 1:
        columns = [column.to(accelerator.device) for column in columns]
        # Fills the shorter ones up with zeros, also of the weights.
        columns = [accelerator.gather(accelerator.pad_across_processes(column)).cpu() for column in columns]
    outputs, rows, weights = columns
    return outputs[weights > 0].numpy(), rows[weights > 0].numpy()
