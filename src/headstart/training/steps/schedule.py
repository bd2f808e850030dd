"""The learning rate in each step, as a pure function of the progress, so that resuming is exact."""

from __future__ import annotations

import math
from typing import Final

from headstart.config import PhaseConfig

# Of one-cycle: the share of the steps in which the rate rises, from 1 / _START_DIVISOR of the largest, and
# what the rate at the end is divided by once more. fastai's share; torch's divisors.
_RISING_SHARE: Final = 0.25
_START_DIVISOR: Final = 25.0
_END_DIVISOR: Final = 1e4


def lr_factor(phase: PhaseConfig, step: int, steps_per_epoch: int) -> float:
    """Return the factor on every group's largest learning rate in one step.

    ``step``, ``multistep`` and ``exponential`` change between epochs, counted from the start of the phase;
    ``cosine`` and ``one-cycle`` change in each step and cover the steps after the warm-up. The warm-up rises
    linearly to the initial value of the schedule.

    Args:
        phase: Settings: the schedule and the number of epochs.
        step: Number of the optimiser step within the phase, from 0, below epochs × steps_per_epoch.
        steps_per_epoch: Number of optimiser steps per epoch, at least 1.

    Returns:
        A number above 0 and up to 1.

    Source:
        Cosine: arXiv 1608.03983. One-cycle: arXiv 1708.07120, with cosines as in fastai. Step for step the
        same as ``torch.optim.lr_scheduler``.
    """
    warmup = round(phase.warmup_epochs * steps_per_epoch)
    rise = min(1.0, (step + 1) / (warmup + 1))  # 1 from the first step behind the warm-up on
    epoch = step // steps_per_epoch
    position, num_steps = max(0, step - warmup), phase.epochs * steps_per_epoch - warmup
    match phase.schedule:
        case "step":
            factor = phase.gamma ** (epoch // phase.step_epochs)
        case "multistep":
            factor = phase.gamma ** sum(milestone <= epoch for milestone in phase.milestones)
        case "exponential":
            factor = phase.gamma**epoch
        case "cosine":
            factor = _cosine(1.0, 0.0, position / max(1, num_steps))
        case "one-cycle":
            factor = _one_cycle(position, num_steps)
        case _:
            factor = 1.0
    return rise * factor


def _cosine(start: float, end: float, done: float) -> float:
    """Interpolate from start to end along half a cosine wave; ``done`` is in 0..1."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * done))


def _one_cycle(position: int, num_steps: int) -> float:
    """Return the factor of one-cycle; with fewer than five steps, it only falls."""
    top, last = _RISING_SHARE * num_steps - 1, num_steps - 1
    if top > 0 and position <= top:
        return _cosine(1 / _START_DIVISOR, 1.0, position / top)
    top = max(0.0, top)
    return _cosine(1.0, 1 / (_START_DIVISOR * _END_DIVISOR), (position - top) / max(1.0, last - top))
