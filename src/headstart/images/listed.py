"""Lists the photos that a path names: a photo, a folder, tar files, a Parquet file, or a pattern of these."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, cast

from headstart.errors import ImageError
from headstart.files import is_remote
from headstart.images.find import walk
from headstart.images.find_tars import exists, find_tars, is_photo
from headstart.images.formats import is_meant_as_image
from headstart.images.given import PhotoLike, as_photos, is_one_photo
from headstart.images.parquet_rows import is_parquet, names_photos, photos_of
from headstart.images.photo import Photo
from headstart.images.tars import members

_WILDCARD: Final = re.compile(r"[*?]|\[.+\]")


def is_pattern(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a pattern such as ``photos/*.jpg``, and not the name of a file or a folder."""
    path = os.fsdecode(path)
    return _WILDCARD.search(path) is not None and not is_remote(path) and not exists(path)


def find_named(path: str | os.PathLike[str], ignored: Counter[str] | None = None) -> Iterator[str]:
    """Yield the photos of what a user has named: a pattern, or anything that ``find_images`` lists.

    Shells of Windows leave patterns to the program, and elsewhere a quoted pattern is not limited by the
    length of a command. ``*`` and ``?`` stand for characters within a name, ``[...]`` for one of several,
    ``**`` for folders at any depth. Hidden names are only matched by patterns that begin with a dot.

    Args:
        path: A pattern that matches photos, folders, tar and Parquet files; or a path as for ``find_images``.
            A pattern that matches nothing is yielded itself.
        ignored: Counts files that are not photos, as for ``find_images``.

    Raises:
        DataError: As for ``find_images``.
        MissingPackageError: Likewise.
    """
    if not is_pattern(path):
        yield from find_images(path, ignored)
        return
    path, ignored = os.fsdecode(path), Counter() if ignored is None else ignored
    matches = sorted(glob.iglob(path, recursive=True), key=os.fsencode)  # noqa: PTH207  # keeps "./"
    for match in matches or [path]:
        if "**" in path and _is_folder(match):
            continue  # its files are matches themselves
        if _is_folder(match) or find_tars(match) or is_parquet(match):
            yield from find_images(match, ignored)
        elif is_meant_as_image(match) or not matches:
            yield match
        else:
            ignored[_kind(Path(match).name)] += 1


def all_photos(photos: PhotoLike | Iterable[PhotoLike]) -> Iterator[Photo]:
    """Yield the photos of an argument one by one, in the calling thread.

    Args:
        photos: A photo, or a collection of photos. A single path may name many, as for ``find_named``; in a
            collection, each path is one photo.

    Raises:
        InputError: An item is not a photo, by its Python type or by the dtype or shape of its array.
        DataError: As for ``find_images``.
        MissingPackageError: Likewise.
    """
    if isinstance(photos, (str, os.PathLike)):
        return as_photos(find_named(photos))
    return as_photos(cast("Iterable[PhotoLike]", [photos] if is_one_photo(photos) else photos))


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
