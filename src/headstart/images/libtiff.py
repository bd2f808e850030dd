"""Keeps libtiff from writing to the terminal."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from functools import cache

from PIL import _imaging


@cache
def silence_libtiff() -> None:
    """Let libtiff print nothing about damaged TIFF files: Pillow raises an error for them anyway.

    libtiff prints a line without the name of the file, straight to the process's standard error. On Windows,
    where Pillow does not export its functions, it still does.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(_imaging.__file__)
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            function = getattr(library, name)
            function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
            function(None)
