"""Smaller passes with the same size of step, where memory runs out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from accelerate import Accelerator

from headstart.errors import TrainingError
from headstart.model.memory import ADVICE


class OutOfMemory(Exception):  # noqa: N818  # not an error yet: a smaller pass may do
    """A step did not fit into memory, in any process; its gradients and statistics have been put back."""


@dataclass
class MicroBatch:
    """How many photos of a batch one process takes in one pass; the gradients of all passes add up.

    Attributes:
        size: Photos in a pass, at most; None as long as whole batches fit.
    """

    size: int | None = None

    def parts(self, num_photos: int) -> list[slice]:
        """Cut a batch into as few parts as possible, as equal as possible."""
        if self.size is None or num_photos <= self.size:
            return [slice(0, num_photos)]
        number = math.ceil(num_photos / self.size)
        bounds = [part * num_photos // number for part in range(number + 1)]
        return [slice(a, b) for a, b in pairwise(bounds)]

    def agree(self, accelerator: Accelerator) -> None:
        """Take the smallest size of all processes."""
        if accelerator.num_processes > 1:
            sizes = accelerator.gather(torch.tensor([self.size or 0], device=accelerator.device))
            self.size = min((size for size in sizes.tolist() if size), default=None)

    def shrink(self, num_photos: int) -> None:
        """Halve the passes.

        Args:
            num_photos: In the largest part of a batch that a process has.

        Raises:
            TrainingError: A pass has one photo already.
        """
        largest = min(num_photos, self.size or num_photos)
        if largest <= 1:
            raise TrainingError(f"Memory ran out with one photo at a time. {ADVICE}")
        self.size = math.ceil(largest / 2)
