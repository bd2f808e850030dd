"""Lists the photos that a path names: a photo, a folder, tar files or a Parquet file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from headstart.errors import ImageError
from headstart.images.find import walk
from headstart.images.find_tars import find_tars, is_photo
from headstart.images.parquet_rows import names_photos, photos_of
from headstart.images.tars import members


def find_images(path: str | os.PathLike[str], ignored: Counter[str] | None = None) -> Iterator[str]:
    """Yield the photos in a folder and its subfolders, in tar files, or in a Parquet file.

    Another file is yielded itself.

    Photos are recognised as in training, see ``images.find.walk``, and sorted by folder and name. A folder
    that cannot be listed is yielded itself, so that reading it raises the error.

    Args:
        path: A file or a folder, tar files as in ``find_tars``, or a column of a Parquet file
            (``FILE/COLUMN``).
        ignored: Counts the other files by kind, such as ``.txt``, while photos are yielded.

    Raises:
        DataError: Tar files of a range are missing or compressed, or a Parquet file has several columns of
            photos.
        MissingPackageError: It is a Parquet file, and pyarrow is not installed.
    """
    ignored = Counter() if ignored is None else ignored
    path = os.fsdecode(path)
    if tars := find_tars(path):
        for tar in tars:
            yield from _photos_in(tar, ignored)
        return
    if not _is_folder(path):
        yield from (photos_of(path) if names_photos(path) else (path,))
        return
    for entry in walk(path, into_hidden=False):
        if entry.kind == "image" or entry.error is not None:
            yield entry.path
        elif entry.kind == "other":
            ignored[_kind(entry.names[-1])] += 1


def _kind(name: str) -> str:
    """Return the kind of a file by its name."""
    if name.startswith("."):
        return "hidden"
    return Path(name).suffix.lower() or "without suffix"


def _photos_in(tar: str, ignored: Counter[str]) -> Iterator[str]:
    try:
        for member in members(tar):
            if is_photo(tar, member):
                yield f"{tar}/{member.name}"
            else:
                ignored[_kind(member.name.rpartition("/")[2])] += 1
    except ImageError:
        yield tar  # reading it raises the error


def _is_folder(path: str) -> bool:
    try:
        return Path(path).is_dir()
    except OSError:  # in a folder that may not be entered
        return False
