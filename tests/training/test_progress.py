"""Where training stands: which phases and epochs are still to come."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import torch

from headstart.config import TrainConfig
from headstart.training.run.history import EpochRecord
from headstart.training.run.progress import Best, Progress


def record(epoch: int, val_loss: float, phase: str = "a") -> EpochRecord:
    train, val = {"loss": 0.5, "accuracy": 0.5}, {"loss": val_loss, "accuracy": 0.5}
    return EpochRecord(phase, epoch, train, val, 1e-3, 1.0)


def config(**phase: Any) -> TrainConfig:
    return TrainConfig.from_settings("photos", phases=[{"name": "a", "epochs": 10, **phase}, {"name": "b"}])


def run(progress: Progress, settings: TrainConfig, losses: list[float]) -> list[int]:
    """Go through epochs with given losses; return their numbers."""
    done = []
    for epoch in progress.remaining_epochs(settings):
        done.append(epoch)
        progress.history.append(record(epoch, losses[epoch - 1]))
        progress.epoch = epoch
    return done


def test_all_epochs_come_one_after_the_other_from_where_the_run_stands() -> None:
    assert run(Progress(), config(), [1.0] * 10) == list(range(1, 11))
    assert run(Progress(epoch=7), config(), [1.0] * 10) == [8, 9, 10]


@pytest.mark.parametrize(
    ("losses", "last"),
    [
        ([5, 4, 3, 3, 3, 1, 1, 1, 1, 1], 5),  # two epochs after the third, as good is not better
        ([5, 4, 4.5, 3, 3.5, 2, 1, 0.9, 0.8, 0.7], 10),
        ([1, 2, 3, 0, 0, 0, 0, 0, 0, 0], 3),
    ],
)
def test_patience_ends_a_phase(losses: list[float], last: int) -> None:
    assert run(Progress(), config(patience=2), losses)[-1] == last


def test_patience_counts_within_the_phase() -> None:
    progress = Progress(history=[record(1, 0.001, "before")])
    assert run(progress, config(patience=3), [5, 4, 3, 2, 1, 1, 1, 1, 1, 1])[-1] == 8


def test_a_run_out_of_patience_does_not_go_on_when_resumed() -> None:
    progress = Progress(epoch=3, history=[record(n, float(n)) for n in (1, 2, 3)])
    assert run(progress, config(patience=2), [0.0] * 10) == []


def test_time_ends_a_run_only_when_there_are_weights_to_keep() -> None:
    settings = dataclasses.replace(config(), max_minutes=1.0)
    progress = Progress(seconds=61)
    assert progress.has_run_long(settings)
    progress.is_over = True
    assert not progress.out_of_time
    assert next(progress.remaining_epochs(settings)) == 1
    progress.best = Best(record(1, 1.0), "best-0001.safetensors")
    assert progress.out_of_time
    assert list(progress.remaining_epochs(settings)) == []
    assert list(progress.remaining(settings)) == []
    assert not Progress(seconds=59).has_run_long(settings)


def test_it_survives_being_written() -> None:
    progress = Progress(
        phase=1,
        epoch=2,
        batch=3,
        totals=torch.tensor([1.1, 2.0, 3.0]),
        seconds=4.0,
        history=[record(1, 0.1)],
        best=Best(record(1, 0.1), "best-0001.safetensors", 0.5),
        floor=record(1, 0.2),
        start="best-0001.safetensors",
    )
    again = Progress.from_dict(json.loads(json.dumps(progress.to_dict())))
    again.take_totals(0, 1)
    assert again.totals is not None
    assert progress.totals is not None
    assert torch.equal(again.totals, progress.totals)
    for_two = progress.to_dict() | {"gathered": [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]}
    for num_processes, found in ((1, [5.0, 7.0, 9.0]), (2, [4.0, 5.0, 6.0]), (3, [0.0, 0.0, 0.0])):
        again = Progress.from_dict(for_two)
        again.take_totals(num_processes - 1, num_processes)
        assert again.totals is not None
        assert again.totals.tolist() == found
    between_epochs = dataclasses.replace(progress, totals=None, gathered=[[1.0, 2.0, 3.0]])
    assert between_epochs.to_dict()["gathered"] is None
    assert again.seconds == pytest.approx(4.0, abs=0.5)
    nothing = {"totals": None, "seconds": 0.0}
    assert dataclasses.replace(again, **nothing) == dataclasses.replace(progress, **nothing)
