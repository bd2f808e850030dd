from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from headstart.config import PhaseConfig
from headstart.training.steps.schedule import lr_factor

SCHEDULES = ("constant", "step", "multistep", "exponential", "cosine", "one-cycle")
STEPS_PER_EPOCH = 7


def factors(steps_per_epoch: int = STEPS_PER_EPOCH, **settings: Any) -> list[float]:
    phase = PhaseConfig(**settings)
    return [lr_factor(phase, step, steps_per_epoch) for step in range(phase.epochs * steps_per_epoch)]


def by_torch(make: Callable[[Any], Any], num_steps: int, every: int = 1) -> list[float]:
    """The learning rates of one of torch's schedulers, stepped after every so many steps."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    lrs = []
    for step in range(1, num_steps + 1):
        lrs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step % every == 0 and step < num_steps:
            scheduler.step()
    return lrs


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (lambda o: lr_scheduler.StepLR(o, 5, 0.9), {"schedule": "step", "step_epochs": 5, "gamma": 0.9}),
        (lambda o: lr_scheduler.StepLR(o, 7, 0.9), {"schedule": "step"}),
        (
            lambda o: lr_scheduler.MultiStepLR(o, [20, 50, 80, 120, 150], 0.7),
            {"schedule": "multistep", "milestones": (20, 50, 80, 120, 150), "gamma": 0.7},
        ),
        (
            lambda o: lr_scheduler.MultiStepLR(o, [3, 3, 1], 0.5),
            {"schedule": "multistep", "milestones": (3, 3, 1), "gamma": 0.5},
        ),
        (lambda o: lr_scheduler.ExponentialLR(o, 0.9), {"schedule": "exponential", "gamma": 0.9}),
        (lambda o: lr_scheduler.ConstantLR(o, 1.0), {"schedule": "constant"}),
    ],
)
def test_what_changes_after_epochs_is_what_torch_does(
    make: Callable[[Any], Any], settings: dict[str, Any]
) -> None:
    expected = by_torch(make, 160 * STEPS_PER_EPOCH, every=STEPS_PER_EPOCH)
    np.testing.assert_allclose(factors(epochs=160, **settings), expected, rtol=1e-9)


@pytest.mark.parametrize("epochs", [1, 3, 40])
def test_the_cosine_is_that_of_torch(epochs: int) -> None:
    num_steps = epochs * STEPS_PER_EPOCH
    expected = by_torch(lambda o: lr_scheduler.CosineAnnealingLR(o, num_steps), num_steps)
    np.testing.assert_allclose(factors(epochs=epochs, schedule="cosine"), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("epochs", "steps_per_epoch"), [(5, 1), (1, 6), (3, 7), (10, 50)])
def test_the_cycle_is_that_of_torch(epochs: int, steps_per_epoch: int) -> None:
    num_steps = epochs * steps_per_epoch

    def make(optimizer: torch.optim.Optimizer) -> lr_scheduler.OneCycleLR:
        return lr_scheduler.OneCycleLR(
            optimizer, 1.0, total_steps=num_steps, pct_start=0.25, cycle_momentum=False
        )

    np.testing.assert_allclose(
        factors(steps_per_epoch, epochs=epochs, schedule="one-cycle"), by_torch(make, num_steps), rtol=1e-9
    )


def test_a_cycle_of_very_few_steps_begins_at_the_top() -> None:
    assert factors(1, epochs=1, schedule="one-cycle") == [1.0]
    for epochs in (2, 3, 4):  # torch divides by zero at four
        rates = factors(1, epochs=epochs, schedule="one-cycle")
        assert rates[0] == 1.0
        assert rates == sorted(rates, reverse=True)
        assert rates[-1] == pytest.approx(4e-6)


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_warm_up_rises_in_equal_steps_and_the_schedule_follows(schedule: str) -> None:
    rates = factors(8, epochs=4, schedule=schedule, warmup_epochs=0.5)
    np.testing.assert_allclose(rates[:4], [1 / 5, 2 / 5, 3 / 5, 4 / 5], rtol=1e-12)
    assert rates[4] == 1.0
    if schedule == "cosine":
        rest = by_torch(lambda o: lr_scheduler.CosineAnnealingLR(o, 28), 28)
        np.testing.assert_allclose(rates[4:], rest, rtol=1e-9, atol=1e-12)


def test_epochs_count_from_the_start_of_the_phase_whatever_the_warm_up() -> None:
    rates = factors(2, epochs=4, schedule="exponential", gamma=0.5, warmup_epochs=1.5)
    np.testing.assert_allclose(rates, [1 / 4, 2 / 4, 0.5 * 3 / 4, 0.5, 0.25, 0.25, 0.125, 0.125], rtol=1e-12)


@given(
    schedule=st.sampled_from(SCHEDULES),
    epochs=st.integers(1, 12),
    steps_per_epoch=st.integers(1, 30),
    warmup=st.floats(0, 1.5),
    gamma=st.floats(0.1, 1),
)
def test_a_step_is_never_without_a_rate_and_never_above_the_largest(
    schedule: str, epochs: int, steps_per_epoch: int, warmup: float, gamma: float
) -> None:
    rates = factors(
        steps_per_epoch,
        epochs=epochs,
        schedule=schedule,
        warmup_epochs=warmup * epochs,  # longer than the phase, too
        gamma=gamma,
        milestones=(2, 5),
    )
    assert all(0 < rate <= 1 for rate in rates)
