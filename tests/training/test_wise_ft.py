"""Mixtures of weights: the best one is found, and nothing else is left behind."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from headstart.training.run.history import EpochRecord, Scores
from headstart.training.run.interrupt import Stopped
from headstart.training.steps.wise_ft import SHARES, best_mixture


def record(val_loss: float) -> EpochRecord:
    return EpochRecord("fine", 3, scores(0.1, 0.9), scores(val_loss), 1e-3, 1.0)


def scores(loss: float, accuracy: float = 0.5) -> Scores:
    return {"loss": loss, "accuracy": accuracy}


def network(value: float) -> nn.Module:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.fill_(value)
    return module


def value_of(module: nn.Module) -> float:
    values = {round(t.flatten()[0].item(), 6) for t in module.state_dict().values() if t.is_floating_point()}
    assert len(values) == 1
    return values.pop()


@pytest.mark.parametrize("optimum", [0.4, 0.8])
def test_the_best_share_is_found_and_put_in(optimum: float) -> None:
    fine, before = network(10.0), network(0.0).state_dict()

    def evaluate() -> Scores:
        return scores((value_of(fine) / 10 - optimum) ** 2)

    found = best_mixture(fine, before, record(1.0), record(1.0), "val_loss", evaluate)
    assert found is not None
    assert found[1] == optimum
    assert (found[0].epoch, found[0].val["loss"]) == (3, pytest.approx(0, abs=1e-9))
    assert value_of(fine) == pytest.approx(10 * optimum)
    assert fine[1].num_batches_tracked == 10  # type: ignore[index]  # counters are not mixed


def test_without_a_better_one_the_weights_stay_as_they_were() -> None:
    fine, before = network(10.0), network(0.0).state_dict()
    assert best_mixture(fine, before, record(1.0), record(0.5), "val_loss", lambda: scores(0.5)) is None
    assert value_of(fine) == 10


def test_broken_off_it_leaves_the_fine_tuned_weights() -> None:
    fine, before = network(10.0), network(0.0).state_dict()
    left = iter([scores(0.1, 0.9)] * (len(SHARES) - 2))

    def evaluate() -> Scores:
        try:
            return next(left)
        except StopIteration:
            raise Stopped from None

    with pytest.raises(Stopped):
        best_mixture(fine, before, record(1.0), record(1.0), "val_loss", evaluate)
    assert value_of(fine) == 10
