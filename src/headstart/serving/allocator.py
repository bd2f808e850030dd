"""Lets glibc give the memory of large uploads back to the system; elsewhere, this does nothing."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from typing import Final

_MMAP_THRESHOLD: Final = -3  # M_MMAP_THRESHOLD of malloc.h
_BYTES: Final = 16_000_000  # more than photos of usual size take while they are decoded


def return_large_blocks() -> None:
    """Make the C library return blocks of 16 MB or more at once, from now on, in the whole process.

    By default, glibc keeps such blocks once some have been freed: after a few uploads of 60 MB, hundreds of
    megabytes.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # musl has no mallopt
            ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _BYTES)
