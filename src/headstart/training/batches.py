"""From photos to the batches that a phase's suffix trains on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from accelerate import Accelerator

from headstart.data.records import Record
from headstart.features.activations import Activations
from headstart.training.epoch import Batch
from headstart.training.sampler import shards


class Batches:
    """The photos of one split, as one process sees them.

    Args:
        activations: What the suffix takes, photo by photo.
        records: The photos.
        batch_size: Photos per step, over all processes.
        accelerator: Knows which process this is, and the device.
    """

    def __init__(
        self, activations: Activations, records: Sequence[Record], batch_size: int, accelerator: Accelerator
    ) -> None:
        self._activations = activations
        self._records = records
        self._labels = torch.tensor([record.label for record in records])
        self._batch_size = batch_size
        self._accelerator = accelerator

    def epoch(self, order: np.ndarray | None = None, view: int = 0) -> Iterator[Batch]:
        """Yield this process's part of every step.

        Args:
            order: Of the photos; by default as they are.
            view: Which view of each; 0 is the photo as it is.
        """
        order = np.arange(len(self._records)) if order is None else order
        device = self._accelerator.device
        parts = list(
            shards(order, self._batch_size, self._accelerator.process_index, self._accelerator.num_processes)
        )
        rows = self._activations.rows((self._records[i], view) for part in parts for i in part.indices)
        for part in parts:
            inputs = torch.from_numpy(np.stack(list(islice(rows, len(part.indices)))))
            yield Batch(
                inputs.to(device, non_blocking=True),
                self._labels[torch.from_numpy(part.indices)].to(device, non_blocking=True),
                torch.from_numpy(part.weights).to(device, non_blocking=True),
                part.step_size,
            )
