"""Finds the photos in a folder and its subfolders, in the same way for training and prediction."""

from __future__ import annotations

import heapq
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from headstart.images.formats import is_meant_as_image

_NEVER_DATA: Final = frozenset(  # and names with a leading dot
    {
        *("thumbs.db", "desktop.ini", "$recycle.bin", "system volume information"),  # Windows
        *("__macosx", "lost+found"),  # macOS, Linux
        *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot"),  # Synology, QNAP
    }
)

# A folder that several paths lead to is entered by the plainest: a real one before a link, both before what
# lies in a folder that holds no data.
_REAL, _LINKED, _NOT_DATA = range(3)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or a folder below the root, or the root itself.

    Attributes:
        path: Path that opens it.
        names: Names of the folders from the root to it, and its own; empty for the root.
        kind: ``"image"`` for a file that is meant as a photo, ``"other"`` for any other file, ``"folder"``
            for a folder that may contain photos, ``"run"`` for the folder of a training run.
        error: Why a folder cannot be listed; None if it can.
    """

    path: str
    names: tuple[str, ...]
    kind: Literal["image", "other", "folder", "run"]
    error: OSError | None = None


def is_system(name: str) -> bool:
    """Return whether a file or folder has a name of an operating system or network drive, or is hidden."""
    return name.startswith(".") or name.lower() in _NEVER_DATA


def walk(
    root: str, entered: set[tuple[int, int]] | None = None, *, into_hidden: bool = True
) -> Iterator[Entry]:
    """Yield each folder, then its files, then its subfolders; linked folders come after all others.

    Images are files with the suffix or the first bytes of an image, unless they are hidden, in a hidden
    folder, or in the folder of a run. Links are followed, but no folder is entered twice. Names are sorted by
    their bytes, so that the order is the same on every file system.

    Args:
        root: The folder; it is searched even if it is hidden or a run.
        entered: Folders not to enter, by device and inode; those that are entered are added.
        into_hidden: Whether files in hidden folders are also yielded, at the end, as ``"other"``.
    """
    entered = set() if entered is None else entered
    waiting: list[tuple[int, tuple[bytes, ...], tuple[str, ...], str]] = [(_REAL, (), (), root)]
    while waiting:
        rank, _, names, path = heapq.heappop(waiting)
        if rank == _NOT_DATA and not into_hidden:
            continue
        try:
            status = Path(path).stat()
            if (status.st_dev, status.st_ino) in entered:
                continue
            entered.add((status.st_dev, status.st_ino))
            with os.scandir(path) as scan:
                entries = sorted(scan, key=lambda entry: os.fsencode(entry.name))
        except OSError as error:
            yield Entry(path, names, "folder", error)
            continue
        is_run = len(names) > 0 and _is_run({entry.name for entry in entries})
        if is_run:
            rank = _NOT_DATA
            yield Entry(path, names, "run")
        elif rank != _NOT_DATA:
            yield Entry(path, names, "folder")
        for entry in entries:
            hidden = rank == _NOT_DATA or is_system(entry.name)
            entry_names = (*names, entry.name)
            if _is_folder(entry):
                entry_rank = _NOT_DATA if hidden else max(rank, _LINKED if entry.is_symlink() else _REAL)
                order = tuple(os.fsencode(name) for name in entry_names)
                heapq.heappush(waiting, (entry_rank, order, entry_names, entry.path))
            else:
                is_image = not hidden and is_meant_as_image(entry.path)
                yield Entry(entry.path, entry_names, "image" if is_image else "other")


def _is_run(names: Collection[str]) -> bool:
    """Return whether a folder with these file names was written by a training run, finished or not."""
    others = {"checkpoints", "metrics.json", "model.onnx", "steps"}
    return "config.toml" in names and not others.isdisjoint(names)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or in a folder that may be listed and not entered
        return False
