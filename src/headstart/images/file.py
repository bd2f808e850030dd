"""Reads the file of a photo."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from headstart.errors import ImageError

MAX_FILE_BYTES: Final = 2**30
"""Largest file that is read."""


def read_file(path: str) -> bytes:
    """Return the content of a file.

    Raises:
        ImageError: The file does not exist, cannot be read, is not a regular file, or is too large.
    """
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):  # opening a named pipe would wait for ever
            raise ImageError(path, _why_not_a_file(path, status.st_mode))
        if status.st_size > MAX_FILE_BYTES:
            size_gb, limit_gb = status.st_size / 2**30, MAX_FILE_BYTES / 2**30
            raise ImageError(path, f"a file of {size_gb:.1f} GiB; photos up to {limit_gb:.0f} GiB are read")
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError as error:
        gone = "a link whose target does not exist" if Path(path).is_symlink() else "no such file"
        raise ImageError(path, gone) from error
    except PermissionError as error:
        raise ImageError(path, "no permission to read it") from error
    except (OSError, ValueError) as error:  # ValueError: a path with a zero byte
        raise ImageError(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _why_not_a_file(path: str, mode: int) -> str:
    if not stat.S_ISDIR(mode):
        return "not a regular file"
    return "a folder" if os.access(path, os.R_OK | os.X_OK) else "a folder, without permission to list it"
