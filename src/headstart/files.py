"""Files that are whole or not there, and the checksums that prove it."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_whole(path: str | os.PathLike[str], content: bytes | str | Callable[[BinaryIO], object]) -> None:
    """Write a file so that a reader, or a machine that loses power, sees the old file or the new one.

    The bytes go to a temporary file beside the target, reach the disk (fsync), and take the target's name
    in one step (rename); then the folder's entry reaches the disk too.

    Args:
        path: The file to write; its folder must exist.
        content: Bytes, text (written as UTF-8; lone surrogates, as Python has them in file names that are
            not UTF-8, as the bytes they stand for) or a function that writes to the open binary file.
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with open(temporary, "xb") as file:
            if isinstance(content, str):
                file.write(content.encode("utf-8", "surrogateescape"))
            elif isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


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
