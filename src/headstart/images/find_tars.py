"""Finds the tar files that a name stands for, and the photos in them, for training and prediction."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from headstart.errors import DataError
from headstart.files import is_remote
from headstart.images.find import is_system, walk
from headstart.images.formats import HEAD_BYTES, IMAGE_SUFFIXES, looks_like_image
from headstart.images.tars import TAR_SUFFIX, Member, compressed_advice, read_at

_COMPRESSED: Final = (".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz", ".tar.zst")
_RANGE: Final = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}")
_MOST_IN_RANGE: Final = 1_000_000


def find_tars(data: str) -> list[str]:
    """Return the paths of the tar files that ``data`` names; none if it names something else.

    Args:
        data: A tar file; several, as in ``train-{000..199}.tar``; or a folder that contains tar files, in
            subfolders too, and no photos.

    Raises:
        DataError: A tar file of a range is missing, or a tar file is compressed.
    """
    path = Path(data)
    if is_remote(data):
        return []
    try:
        if path.is_dir():
            return _in_folder(data)
        if _RANGE.search(data) and not path.exists():
            return _in_range(data)
        if not path.is_file():
            return []
    except OSError:  # in a folder that may not be entered; reading it reports that
        return []
    _refuse_compressed(data)
    return [data] if data.lower().endswith(TAR_SUFFIX) else []


def exists(data: str) -> bool:
    """Return whether ``data`` is a file or a folder, or a range or remote address, which need not exist."""
    try:
        return is_remote(data) or Path(data).exists() or _RANGE.search(data) is not None
    except OSError:  # a name that is too long, or in a folder that may not be entered
        return False


def is_same(data: str, other: str) -> bool:
    """Return whether two arguments name the same file or folder, or the same range of tar files."""
    try:
        return Path(data).samefile(other)
    except OSError:  # a range
        return Path(data) == Path(other)


def root_of(data: str) -> str:
    """Return the folder to which the paths of photos are relative: ``data``, or the folder of a file."""
    return data if is_remote(data) or Path(data).is_dir() else str(Path(data).parent)


def is_hidden(name: str) -> bool:
    """Return whether a member is hidden, or in a hidden folder, as macOS adds them to archives."""
    return any(map(is_system, name.split("/")))


def is_photo(tar: str, member: Member) -> bool:
    """Return whether a member of a tar file is meant as a photo, by its suffix; without one, by its bytes."""
    if not member.is_readable or is_hidden(member.name):
        return False
    if suffix := Path(member.name).suffix:
        return suffix.lower() in IMAGE_SUFFIXES
    return looks_like_image(read_at(tar, member.name, member.offset, min(member.size, HEAD_BYTES)))


def _in_folder(folder: str) -> list[str]:
    tars, compressed = [], []
    for entry in walk(folder, into_hidden=False):
        if entry.kind == "image":
            return []
        name = entry.names[-1].lower() if entry.names else ""
        if entry.kind == "other" and not name.startswith("."):
            if name.endswith(TAR_SUFFIX):
                tars.append(entry.path)
            elif name.endswith(_COMPRESSED):
                compressed.append(entry.path)
    if not tars and compressed:
        _refuse_compressed(compressed[0])
    return tars


def _in_range(data: str) -> list[str]:
    paths = [data]
    while (match := _RANGE.search(paths[0])) is not None:
        first, last = match.groups()
        numbers = range(int(first), int(last) + 1)
        if not 0 < len(numbers) * len(paths) <= _MOST_IN_RANGE:
            raise DataError(
                f"{data!r}: the range {match[0]} is empty or too long. Write the first and the last number, "
                "as in {000..199}."
            )
        paths = [_RANGE.sub(f"{number:0{len(first)}}", path, count=1) for path in paths for number in numbers]
    missing = [path for path in paths if not Path(path).is_file()]
    if missing:
        raise DataError(
            f"{data!r} names {len(paths):,} tar files, of which {len(missing):,} do not exist, such as "
            f"{missing[0]!r}."
        )
    for path in paths:
        _refuse_compressed(path)
    return paths


def _refuse_compressed(path: str) -> None:
    if path.lower().endswith(_COMPRESSED):
        raise DataError(f"{path!r} is {compressed_advice(path)}")
