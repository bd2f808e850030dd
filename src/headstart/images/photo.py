"""A photo: its name and the function that reads its bytes, wherever they are stored."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

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


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo that can be read: a file, an upload, a member of an archive, a remote object.

    Attributes:
        key: Names the photo in messages and tables (column ``path``), and differs from that of every other
            photo of a listing. The key of a file is its path.
        read: Called with the key, it returns the content of an image file (JPEG, PNG, ...) as bytes. Any
            exception means that this photo cannot be read. It is called each time the photo is needed, from
            several threads at once, and is pickled with the photo. Photos from one place share one function,
            so that a listing of a million photos stays small.
    """

    key: str
    read: Callable[[str], bytes] = read_file

    def content(self) -> bytes:
        """Return the bytes of the photo.

        Raises:
            ImageError: They cannot be read.
        """
        try:
            content = self.read(self.key)
        except ImageError:
            raise
        except OSError as error:
            raise ImageError(self.key, f"cannot be read: {error.strerror or error}") from error
        except Exception as error:  # such as KeyError, for a member that an archive does not have
            raise ImageError(self.key, f"cannot be read: {type(error).__name__}: {error}") from error
        if not isinstance(content, bytes):
            raise ImageError(self.key, f"cannot be read: bytes are needed, but read returned {content!r:.60}")
        return content

    def open(self) -> BinaryIO:
        """Open the photo, to read its header: only the needed part of a file is read from disk.

        Raises:
            ImageError: The photo cannot be read.
            OSError: The file cannot be opened.
        """
        return open(self.key, "rb") if self.read is read_file else io.BytesIO(self.content())

    def sha256(self) -> str:
        """Return the SHA-256 of the bytes in lower-case hexadecimal; empty if they cannot be read."""
        try:
            return hashlib.sha256(self.content()).hexdigest()
        except ImageError:
            return ""
