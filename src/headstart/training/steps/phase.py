"""A phase made ready for its steps: what is trained, from which batches, by which trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from headstart.columns import counted
from headstart.config import PhaseConfig
from headstart.data.targets import strata
from headstart.records import Record
from headstart.training.setup import Setup
from headstart.training.steps.batches import Batch, Batches
from headstart.training.steps.device import memory_format
from headstart.training.steps.features import PhaseFeatures
from headstart.training.steps.memory import MicroBatch, OutOfMemory
from headstart.training.steps.sampler import epoch_order
from headstart.training.steps.schedule import lr_factor
from headstart.training.steps.trainer import Trainer


@dataclass(frozen=True)
class ReadyPhase:
    """What takes the steps of a phase.

    Attributes:
        batches: Of the training photos.
        trainer: Takes the steps.
        labels: (N,) int64, classes of the training photos.
        layout: How maps lie in memory.
        seed: Of the run.
        features: What the phase reads.
        say: Told where memory has run out, and what is done instead.
        scoring: Photos in one pass while scoring.
    """

    batches: Batches
    trainer: Trainer
    labels: np.ndarray
    layout: torch.memory_format
    seed: int
    features: PhaseFeatures
    say: Callable[[str], object]
    scoring: MicroBatch = field(default_factory=MicroBatch)

    def batches_of_steps(self, epoch: int, first: int = 0) -> Iterator[list[Batch]]:
        """Yield the batches of each step of an epoch, in its order and on its view.

        Args:
            epoch: From 1.
            first: Number of the first batch, where those before it are done.
        """
        phase = self.features.phase
        order = epoch_order(self.labels, phase.sampling, self.seed, phase.name, epoch)
        batches = self.batches.epoch(order, self.features.view(epoch), first)
        while step := list(islice(batches, phase.accumulate)):
            yield step

    def step(self, batches: Sequence[Batch], epoch: int, totals: Tensor) -> Batch:
        """Take a step: see ``Trainer.step``.

        Where memory runs out, the step is taken again in smaller passes, whose gradients add up. The step has
        the same size and, up to rounding, the same result, unless norms learn in it.

        Raises:
            TrainingError: As ``Trainer.step``; or memory ran out with one photo.
        """
        while True:
            try:
                return self.trainer.step(batches, epoch, totals)
            except OutOfMemory:
                pass
            self._shrink()

    def steps(self, epoch: int, totals: Tensor, first: int = 0) -> Iterator[Batch]:
        """Take the steps of an epoch, and yield the last batch of each."""
        return (self.step(batches, epoch, totals) for batches in self.batches_of_steps(epoch, first))

    def micro_batches(self) -> dict[str, int]:
        """Return how many photos a process takes in one pass, by what it does, where memory has run out."""
        sizes = {"training": self.trainer.micro_batch.size, "scoring": self.scoring.size}
        return {name: size for name, size in sizes.items() if size is not None}

    def resume(self, sizes: Mapping[str, int]) -> None:
        """Take as many photos in one pass as ``micro_batches`` returned."""
        self.trainer.micro_batch.size = sizes.get("training")
        self.scoring.size = sizes.get("scoring")

    def _shrink(self) -> None:
        """Halve the photos in one pass: the same number in all processes."""
        self.trainer.shrink(self.batches.largest_part)
        size = self.trainer.micro_batch.size
        text = f"Memory ran out. From now on, each step is computed {counted(size or 1, 'photo')} at a time."
        if self.trainer.learns_statistics:
            text += (
                " This changes the result, because batch norms that learn see fewer photos at a time. To "
                'avoid it, set norm = "frozen" or use smaller photos (--size-px).'
            )
        self.say(f"Warning: {text}")


def make_ready(
    setup: Setup,
    features: PhaseFeatures,
    records: Sequence[Record],
    accelerator: Accelerator,
    schedule: Callable[[PhaseConfig, int, int], float] = lr_factor,
) -> ReadyPhase:
    """Lay out a phase's suffix in memory and build what trains it.

    Args:
        setup: Of the run.
        features: Of the phase; its suffix has been made trainable.
        records: The training photos.
        accelerator: Device, precision and processes.
        schedule: The factor of the learning rates, as ``lr_factor``.
    """
    config, phase, suffix = setup.config, features.phase, features.suffix
    layout = memory_format(config.memory_format, suffix)
    suffix.to(memory_format=layout)
    batches = Batches(
        features.training,
        records,
        setup.targets,
        config.batch_size,
        accelerator,
        augmentation=features.augmentation,
        accumulate=phase.accumulate,
        memory_format=layout,
    )
    labels = strata(records)
    class_counts = torch.from_numpy(np.bincount(labels, minlength=len(setup.targets.class_names)))
    steps = batches.steps_per_epoch
    trainer = Trainer(
        phase, setup.network, suffix, setup.criterion, class_counts, steps, accelerator, config.seed, schedule
    )
    return ReadyPhase(batches, trainer, labels, layout, config.seed, features, setup.source.say)
