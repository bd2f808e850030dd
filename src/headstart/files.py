"""Files that are whole or not there, and the checksums that prove it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from headstart.errors import FileWriteError, UsageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def write_whole(path: str | os.PathLike[str], content: bytes | str | Callable[[BinaryIO], object]) -> None:
    """Write a file so that a reader, or a machine that loses power, sees the old file or the new one.

    The bytes go to a temporary file beside the target, reach the disk (fsync), and take the target's name
    in one step (rename); then the folder's entry reaches the disk too.

    Args:
        path: The file to write; its folder must exist.
        content: Bytes, text (written as UTF-8; lone surrogates, as Python has them in file names that are
            not UTF-8, as the bytes they stand for) or a function that writes to the open binary file.

    Raises:
        FileWriteError: The disk is full, or the like; the old file is as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    num_bytes = 0
    faults: list[OSError] = []
    try:
        with io.BufferedWriter(_File(temporary, faults)) as file:
            if isinstance(content, str):
                content = content.encode("utf-8", "surrogateescape")
            if isinstance(content, bytes):
                num_bytes = len(content)
                file.write(content)
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except Exception as error:
        if isinstance(error, OSError):
            faults.append(error)
        if not faults:
            raise
        raise FileWriteError(os.fspath(path), faults[0].strerror or str(faults[0]), num_bytes) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


class _File(io.FileIO):
    """A new file that notes why it cannot be written: libraries make errors of their own of that."""

    def __init__(self, path: Path, faults: list[OSError]) -> None:
        super().__init__(path, "x")
        self._faults = faults

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self._faults.append(error)
            raise


def refuse_to_write(path: str | os.PathLike[str]) -> None:
    """Tell, before long work, that a file could not be written.

    Raises:
        UsageError: Its folder does not exist or may not be written to, or the name is taken by something that
            is no file.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is no file, so it is not written to. Name a file, new or to be replaced.")
    if not path.parent.is_dir():
        raise UsageError(f"Cannot write {path}: there is no folder {path.parent}. Make it, or name another.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(
            f"Cannot write {path}: no permission to write into {path.parent}. Name another folder."
        )


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    """Return the lower-case hexadecimal SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows has no descriptor for a folder; its rename is durable by itself
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
