"""Recognises errors about exhausted memory, and converts them into a message with advice."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import torch

from headstart.errors import TrainingError

ADVICE: Final = (
    "Use smaller photos (--size-px), a smaller batch (--batch-size) or a smaller backbone, or unfreeze fewer "
    "stages in the recipe."
)
_MESSAGES: Final = (
    "out of memory",  # CUDA and MPS
    "can't allocate memory",  # PyTorch on a CPU
    "not enough memory",
    "failed to allocate memory",  # ONNX Runtime
    "alloc_failed",  # cuDNN and cuBLAS
    "bad_alloc",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception means that memory ran out, whatever library raised it."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, Exception) and any(text in str(error).lower() for text in _MESSAGES)


def release_memory() -> None:
    """Release the memory that a failed pass has left allocated."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.mps.is_available():
        torch.mps.empty_cache()


@contextmanager
def memory_explained() -> Iterator[None]:
    """Convert errors about exhausted memory inside the block into an error with advice.

    Raises:
        TrainingError: Memory ran out.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, TrainingError) or not is_out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0][:200] or type(error).__name__
        raise TrainingError(f"Memory ran out: {reason} {ADVICE}") from error
