"""Smaller passes with the same step size, for when memory runs out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from accelerate import Accelerator

from headstart.errors import TrainingError
from headstart.model.memory import ADVICE


class OutOfMemory(Exception):  # noqa: N818  # not an error yet: a smaller pass may do
    """A step did not fit into memory, in any process; gradients and statistics have been restored."""


@dataclass
class MicroBatch:
    """The number of photos of a batch that one process uses in one pass; gradients of the passes add up.

    Attributes:
        size: Largest number of photos per pass; None while whole batches fit.
    """

    size: int | None = None

    def parts(self, num_photos: int) -> list[slice]:
        """Divide a batch into as few and as equal parts as possible."""
        if self.size is None or num_photos <= self.size:
            return [slice(0, num_photos)]
        number = math.ceil(num_photos / self.size)
        bounds = [part * num_photos // number for part in range(number + 1)]
        return [slice(a, b) for a, b in pairwise(bounds)]

    def agree(self, accelerator: Accelerator) -> None:
        """Use the smallest size of all processes."""
        if accelerator.num_processes > 1:
            sizes = accelerator.gather(torch.tensor([self.size or 0], device=accelerator.device))
            self.size = min((size for size in sizes.tolist() if size), default=None)

    def shrink(self, num_photos: int) -> None:
        """Halve the size of passes.

        Args:
            num_photos: Number of photos in the largest part of a batch in one process.

        Raises:
            TrainingError: A pass already has only one photo.
        """
        largest = min(num_photos, self.size or num_photos)
        if largest <= 1:
            raise TrainingError(f"Memory ran out with one photo at a time. {ADVICE}")
        self.size = math.ceil(largest / 2)
