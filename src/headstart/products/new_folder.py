"""The folder of a product that is several files."""

from __future__ import annotations

from pathlib import Path

from headstart.errors import UsageError


def make_new_folder(folder: Path) -> None:
    """Make a folder for files that are written together.

    Raises:
        UsageError: It is there and not empty, it is a file, or the folder above does not exist.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"{folder} already exists. Delete it, or name another folder with --out FOLDER.")
    if not folder.parent.is_dir():
        raise UsageError(
            f"Cannot write {folder}: the folder {folder.parent} does not exist. Create it, or name another."
        )
    folder.mkdir(exist_ok=True)
