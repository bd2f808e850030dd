"""Folders that are written completely or not at all."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from headstart.errors import UsageError
from headstart.files import delete


def refuse_unless_empty(folder: Path) -> None:
    """Raise ``UsageError`` if a folder cannot be created, and exists with files in it."""
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"{folder} already exists. Delete it, or name another folder with --out FOLDER.")
    if not folder.parent.is_dir():
        raise UsageError(
            f"Cannot write {folder}: the folder {folder.parent} does not exist. Create it, or name another."
        )


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[None]:
    """Create a folder, and delete what has been written into it if an error follows.

    Args:
        folder: Created if it does not exist; it must be empty.

    Raises:
        UsageError: As for ``refuse_unless_empty``.
    """
    refuse_unless_empty(folder)
    is_new = not folder.exists()
    folder.mkdir(exist_ok=True)
    try:
        yield
    except BaseException:
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                delete(path)
        if is_new:
            with contextlib.suppress(OSError):  # another program has a file in it open
                folder.rmdir()
        raise
