"""Memory that runs out: smaller passes with the same size of step, or a sentence that says what to set."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import torch
from accelerate import Accelerator

from headstart.errors import TrainingError

_ADVICE = (
    "Use smaller photos (--size-px), a smaller batch (--batch-size) or a smaller backbone, or unfreeze fewer "
    "stages in the recipe."
)
_MESSAGES = (
    "out of memory",  # CUDA and MPS
    "can't allocate memory",  # PyTorch on a CPU
    "not enough memory",
    "failed to allocate memory",  # ONNX Runtime
    "alloc_failed",  # cuDNN and cuBLAS
    "bad_alloc",
)


class OutOfMemory(Exception):  # noqa: N818  # not an error yet: a smaller pass may do
    """A step did not fit into memory, in any process; its gradients and statistics have been put back."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception says that memory ran out, whatever raised it."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, Exception) and any(text in str(error).lower() for text in _MESSAGES)


def release_memory() -> None:
    """Give back what a failed pass has left behind."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.mps.is_available():
        torch.mps.empty_cache()


@contextmanager
def memory_explained() -> Iterator[None]:
    """Turn memory that runs out inside the block into a sentence.

    Raises:
        TrainingError: Memory ran out.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, TrainingError) or not is_out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0][:200] or type(error).__name__
        raise TrainingError(f"Memory ran out: {reason} {_ADVICE}") from error


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
            raise TrainingError(f"Memory ran out with one photo at a time. {_ADVICE}")
        self.size = math.ceil(largest / 2)
