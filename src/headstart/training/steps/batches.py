"""Makes the batches for training the suffix of a phase."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from itertools import islice

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from headstart.data.targets import Targets
from headstart.frozen.activations import Activations
from headstart.records import Record
from headstart.training.steps.device import to_device
from headstart.training.steps.sampler import shards
from headstart.views.augmentation import Augmentation


@dataclass(frozen=True)
class Batch:
    """One process's part of one batch.

    Attributes:
        number: Number of the batch within its epoch, from 0.
        inputs: (B, ...), inputs of the suffix, on the device.
        targets: (B, ...), targets for the loss: see ``Targets.row``.
        weights: (B,) float32, 0 for a dummy photo that must not count.
        size: Number of photos in the batch, in all processes together.
        step_size: Number of photos in the optimiser step, in all its batches and all processes.
        paths: Paths of this process's photos.
    """

    number: int
    inputs: Tensor
    targets: Tensor
    weights: Tensor
    size: int
    step_size: int
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Batches:
    """The photos of one split, for one process.

    Args:
        activations: The inputs of the suffix for each photo.
        records: The photos.
        targets: Targets of the dataset.
        batch_size: Photos per batch, in all processes together.
        accelerator: Accelerator with process and device.
        augmentation: The augmentation of ``activations``, if any.
        accumulate: Batches per optimiser step.
        memory_format: Memory format of inputs that are maps, (B, C, H, W).
    """

    activations: Activations
    records: Sequence[Record]
    targets: Targets
    batch_size: int
    accelerator: Accelerator
    _: KW_ONLY
    augmentation: Augmentation | None = None
    accumulate: int = 1
    memory_format: torch.memory_format = torch.contiguous_format

    @property
    def batches_per_epoch(self) -> int:
        """Number of batches; one batch is divided over all processes."""
        return math.ceil(len(self.records) / self.batch_size)

    @property
    def steps_per_epoch(self) -> int:
        """Number of optimiser steps."""
        return math.ceil(self.batches_per_epoch / self.accumulate)

    @property
    def largest_part(self) -> int:
        """Largest number of photos of a batch in one process."""
        num_processes: int = self.accelerator.num_processes
        return math.ceil(min(self.batch_size, len(self.records)) / num_processes)

    def epoch(self, order: np.ndarray | None = None, view: int = 0, first: int = 0) -> Iterator[Batch]:
        """Yield this process's part of every batch.

        Args:
            order: Order of the photos; by default unchanged.
            view: Number of the view of each photo; 0 for no augmentation.
            first: Number of the first batch, if earlier ones are done.
        """
        order = np.arange(len(self.records)) if order is None else order
        rank, num_processes = self.accelerator.process_index, self.accelerator.num_processes
        parts = list(shards(order, self.batch_size, rank, num_processes))
        # Of the batches whose photos are being loaded: what comes later is not worked out yet.
        targets_ahead: deque[np.ndarray] = deque()

        def photos() -> Iterator[tuple[Record, int]]:
            for part in parts[first:]:
                records = [self.records[i] for i in part.indices.tolist()]
                # A photo may show another view than the one that was asked for: see ``Targets.view``.
                seen = [self.targets.view(record, view, self.augmentation) for record in records]
                targets_ahead.append(np.stack([targets for _, targets in seen]))
                yield from zip(records, [number for number, _ in seen], strict=True)

        rows = self.activations.rows(photos())
        for number, part in enumerate(parts[first:], first):
            step = number - number % self.accumulate
            step_parts = parts[step : step + self.accumulate]
            inputs = torch.from_numpy(np.stack(list(islice(rows, len(part.indices)))))
            targets = torch.from_numpy(targets_ahead.popleft())
            yield Batch(
                number=number,
                inputs=self._on_device(inputs),
                targets=to_device(targets, self.accelerator.device),
                weights=to_device(torch.from_numpy(part.weights), self.accelerator.device),
                size=part.step_size,
                step_size=sum(each.step_size for each in step_parts),
                paths=tuple(self.records[i].path for i in part.indices),
            )

    def _on_device(self, inputs: Tensor) -> Tensor:
        is_map = inputs.ndim == 4 and inputs.is_floating_point()  # pixels lie as channels_last wants it
        memory_format = self.memory_format if is_map else torch.preserve_format
        return to_device(inputs, self.accelerator.device, memory_format)
