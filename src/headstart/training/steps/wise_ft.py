"""WiSE-FT: averages of the weights before and after fine-tuning.

They are often better than either, especially on photos unlike the training photos, and cost only evaluations.
Source: Wortsman et al. 2022, arXiv 2109.01903.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor, nn

from headstart.model.tensors import named_tensors
from headstart.training.run.history import EpochRecord, Scores

SHARES: Final = (0.8, 0.6, 0.4, 0.2)
"""Fractions of the fine-tuned weights to try; 1 and 0 have already been scored."""


def best_mixture(
    network: nn.Module,
    before: Mapping[str, Tensor],
    record: EpochRecord,
    best: EpochRecord,
    select: str,
    evaluate: Callable[[], Scores],
    floor: EpochRecord | None = None,
) -> tuple[EpochRecord, float] | None:
    """Score mixtures of weights on the validation photos.

    Args:
        network: The network with the fine-tuned weights; finally with those of the best mixture, or unchanged
            if there is none or scoring is interrupted.
        before: Entries of the state dict before fine-tuning.
        record: Scores of the epoch with the fine-tuned weights.
        best: Scores of the best weights so far.
        select: Name of the score to compare, such as ``"val_loss"``.
        evaluate: Scores the network.
        floor: As for ``EpochRecord.is_better_than``.

    Returns:
        The record with the validation scores of the mixture, and the fraction of the fine-tuned weights; None
        if no mixture is better than ``best``.
    """
    state = named_tensors(network)
    after = {name: state[name].detach().clone() for name in before}
    found: tuple[EpochRecord, float] | None = None
    try:
        for share in SHARES:
            _set(state, before, after, share)
            scores = evaluate()
            mixed = dataclasses.replace(record, val=scores)
            if mixed.is_better_than(found[0] if found else best, select, floor):
                found = mixed, share
    except BaseException:  # a signal: what is saved now must be the fine-tuned weights
        found = None
        raise
    finally:
        _set(state, before, after, found[1] if found else 1.0)
    return found


@torch.no_grad()
def _set(
    state: Mapping[str, Tensor], before: Mapping[str, Tensor], after: Mapping[str, Tensor], share: float
) -> None:
    for name, old in before.items():
        if share < 1 and after[name].is_floating_point():
            state[name].copy_(torch.lerp(old.to(after[name].device), after[name], share))
        else:  # counters of batches
            state[name].copy_(after[name])
