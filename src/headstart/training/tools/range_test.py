"""The steps of a learning rate range test, at growing rates."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import chain, count
from typing import Final

import torch
from accelerate import Accelerator

from headstart.data.split import Splits
from headstart.errors import TrainingError
from headstart.training.setup import Setup
from headstart.training.steps.epoch import scores_of
from headstart.training.steps.features import PhaseFeatures
from headstart.training.steps.phase import make_ready
from headstart.training.tools.lr_range import END_LR, LEAST, NUM_STEPS, START_LR, LrRange, suggest
from headstart.training.watch.watchers import Watchers

_SMOOTHING: Final = 0.98  # what the smoothed loss keeps of itself in each step
_EXPLODED: Final = 4.0  # times the smallest smoothed loss: the test ends


@dataclass
class _Losses:
    """The loss of each step so far, and their average, in which recent ones weigh more."""

    each: list[float] = field(default_factory=list)
    smoothed: list[float] = field(default_factory=list)
    _average: float = 0.0

    def add(self, loss: float) -> None:
        self.each.append(loss)
        self._average = _SMOOTHING * self._average + (1 - _SMOOTHING) * loss
        self.smoothed.append(self._average / (1 - _SMOOTHING ** len(self.each)))

    @property
    def have_exploded(self) -> bool:
        settled = self.smoothed[NUM_STEPS // 10 :]  # an average of few is chance
        return bool(settled) and settled[-1] > _EXPLODED * max(min(settled), LEAST)


def range_test(
    setup: Setup, features: PhaseFeatures, splits: Splits, accelerator: Accelerator, watchers: Watchers
) -> LrRange:
    """Take steps at growing rates, until there are enough of them or the loss explodes.

    Args:
        setup: With the scale of the training photos.
        features: Of the phase that is tested; its suffix has been made trainable, and is changed.
        splits: Of the photos.
        accelerator: Device, precision and processes.
        watchers: Are told how far the test is, and why it ended.

    Raises:
        TrainingError: The very first loss is not finite.
    """
    phase, batch_size = features.phase, setup.config.batch_size
    growth = math.log(END_LR / START_LR) / (NUM_STEPS - 1)
    lrs = [START_LR * math.exp(growth * step) for step in range(NUM_STEPS)]
    if len(splits.train) < batch_size:
        watchers.say(
            f"There are fewer training photos ({len(splits.train)}) than a batch has ({batch_size}): every "
            f"step sees the same ones, and the loss falls more smoothly than it would on new ones."
        )
    ready = make_ready(
        setup, features, splits.train, accelerator, lambda phase, step, _: lrs[step] / phase.head_lr
    )
    losses, ended = _Losses(), f"all {NUM_STEPS} steps are done"
    totals = torch.zeros(3, device=accelerator.device)  # of a step
    num_photos = NUM_STEPS * min(len(splits.train), batch_size * phase.accumulate)
    try:
        with watchers.counting("Range test", num_photos) as counter:
            for batch in chain.from_iterable(ready.steps(epoch, totals) for epoch in count(1)):
                ready.trainer.verify()  # each loss is looked at, so each step may be
                losses.add(scores_of(totals, setup.criterion, accelerator)["loss"])
                totals.zero_()
                counter.advance(batch.step_size)
                if losses.have_exploded:
                    ended = f"the loss exploded at a learning rate of {lrs[len(losses.each) - 1]:.2g}"
                    break
                if len(losses.each) == NUM_STEPS:
                    break
    except TrainingError:
        if not losses.each:
            raise
        ended = f"the loss was no longer finite at a learning rate of {lrs[len(losses.each)]:.2g}"
    watchers.say(f"The test has ended: {ended}.")
    lrs = lrs[: len(losses.each)]
    each, smoothed = tuple(losses.each), tuple(losses.smoothed)
    return LrRange(
        phase.name, setup.config.phases, tuple(lrs), each, smoothed, *suggest(lrs, smoothed), ended
    )
