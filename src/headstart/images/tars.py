"""Reads members of tar files in place: nothing is unpacked, and names of members are never used as paths.

A member has the address ``TAR/NAME``, such as ``shards/0.tar/cat/1.jpg``. It stays the same as long as the
tar file and the member keep their names, wherever in the tar file the member is.
"""

from __future__ import annotations

import os
import re
import stat
import tarfile
import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from headstart.errors import ImageError
from headstart.images.file import MAX_FILE_BYTES

TAR_SUFFIX: Final = ".tar"

_COMPRESSED: Final = {
    rb"\x1f\x8b": "gzip -d",
    rb"BZh[1-9](1AY&SY|\x17rE8P\x90)": "bzip2 -d",  # a tar file of the folder BZhou begins with BZh too
    rb"\xfd7zXZ": "xz -d",
    rb"\x28\xb5\x2f\xfd": "zstd -d",
}
_MOST_INDEX_BYTES: Final = 2**28  # of the tar files whose members are known at a time
_MOST_PADDING_BYTES: Final = 2**24  # of zeros after the end; tar itself writes 10 KB at most
# What Python's reader raises for headers that no program writes: numbers and names of any size.
_DAMAGE: Final = (tarfile.TarError, ValueError, OverflowError, RecursionError, MemoryError)


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a tar file that is not a folder.

    Attributes:
        name: Its name, without empty parts and ``.``; so it never begins with a slash.
        offset: Position of its content in the tar file.
        size: Number of bytes.
        is_readable: False for links, devices, sparse files, and names with ``..``, which are not read.
    """

    name: str
    offset: int
    size: int
    is_readable: bool


def split_address(address: str) -> tuple[str, str] | None:
    """Return the tar file and the name of the member; None for an address that is not in a tar file."""
    lower, end = address.lower(), 0
    while (end := lower.find(TAR_SUFFIX, end)) >= 0:
        end += len(TAR_SUFFIX)
        if address[end : end + 1] in ("/", os.sep) and _is_regular(address[:end]):
            name = address[end + 1 :]
            return address[:end], name if os.sep == "/" else name.replace(os.sep, "/")
    return None


def members(path: str) -> Iterator[Member]:
    """Yield the members of a tar file in their order, with constant memory.

    Raises:
        ImageError: The file cannot be read, is compressed, or is not a tar file; or it is damaged, after the
            members before the damage.
    """
    try:
        with open(path, "rb") as file:
            yield from _members(path, file, _Index())
    except OSError as error:
        raise ImageError(path, f"cannot be read: {error.strerror or error}") from error


def read_member(path: str, name: str) -> bytes:
    """Return the content of a member. The tar file is open only during the call, in any thread.

    Raises:
        ImageError: There is no such member, it is too large, or the tar file cannot be read.
    """
    address = f"{path}/{name}"
    try:
        with open(path, "rb") as file:
            index = _index_of(path, file)
            place = index.find(name)
            if place is None:
                why = f", which is {index.damage}" if index.damage else ""
                raise ImageError(address, f"no such photo in {Path(path).name}{why}")
            return _content(address, file, *place)
    except OSError as error:
        raise ImageError(address, f"cannot be read: {error.strerror or error}") from error


def read_at(path: str, name: str, offset: int, size: int) -> bytes:
    """Return the content at a position of a tar file.

    Raises:
        ImageError: It is too large, or the tar file cannot be read.
    """
    address = f"{path}/{name}"
    try:
        with open(path, "rb") as file:
            return _content(address, file, offset, size)
    except OSError as error:
        raise ImageError(address, f"cannot be read: {error.strerror or error}") from error


def has_member(path: str, name: str) -> bool:
    """Return whether a tar file has a readable member of this name; False if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return _index_of(path, file).find(name) is not None
    except (OSError, ImageError):
        return False


class _Index:
    """Positions of the members of one tar file by name, in 16 bytes a member, or 24 in files over 4 GB."""

    def __init__(self) -> None:
        self.signature: tuple[int, ...] = ()
        self.damage = ""  # why members after the last one may be missing
        # A hash of 64 bits in place of the name: two of a million names share one with a probability of 3e-8,
        # and then the content has another SHA-256 than when it was listed.
        self._hashes: array[int] | np.ndarray = array("q")
        self._offsets: array[int] | np.ndarray = array("q")
        self._sizes: array[int] | np.ndarray = array("q")

    @property
    def num_bytes(self) -> int:
        """Memory of the finished index."""
        return sum(column.nbytes for column in self._columns() if isinstance(column, np.ndarray))

    def add(self, name: str, offset: int, size: int) -> None:
        """Add a member. Raises OverflowError for numbers above 2**63."""
        for column, value in zip(self._columns(), (offset, size, hash(name)), strict=True):
            assert isinstance(column, array)  # until it is closed
            column.append(value)

    def close(self) -> None:
        """Sort the members, after the last one was added."""
        number = len(self._hashes)  # a member with a number above 2**63 was added in part
        offsets, sizes, hashes = (np.array(each[:number], np.int64) for each in self._columns())
        order = np.argsort(hashes, kind="stable")
        kind = np.uint32 if offsets.max(initial=0) < 2**32 and sizes.max(initial=0) < 2**32 else np.int64
        self._hashes = hashes[order]
        self._offsets, self._sizes = offsets[order].astype(kind), sizes[order].astype(kind)

    def find(self, name: str) -> tuple[int, int] | None:
        """Return position and size; of several members of one name those of the last, as tar itself does."""
        place = int(np.searchsorted(self._hashes, hash(name), "right")) - 1
        if place < 0 or self._hashes[place] != hash(name):
            return None
        return int(self._offsets[place]), int(self._sizes[place])

    def _columns(self) -> tuple[array[int] | np.ndarray, ...]:
        return self._offsets, self._sizes, self._hashes


class _Indexes:
    """Indexes of the tar files that were used last, shared by all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, _Index] = OrderedDict()
        self._num_bytes = 0

    def get(self, path: str, signature: tuple[int, ...]) -> _Index | None:
        """Return the index of a tar file; None if it is not known, or the file has changed."""
        with self._lock:
            index = self._known.get(path)
            if index is None or index.signature != signature:
                return None
            self._known.move_to_end(path)
            return index

    def add(self, path: str, index: _Index) -> None:
        """Finish an index, and forget those that were not used for the longest time, if there is no room."""
        index.close()
        with self._lock:
            if path in self._known:
                self._num_bytes -= self._known.pop(path).num_bytes
            self._known[path] = index
            self._num_bytes += index.num_bytes
            while len(self._known) > 1 and self._num_bytes > _MOST_INDEX_BYTES:
                self._num_bytes -= self._known.popitem(last=False)[1].num_bytes


_INDEXES: Final = _Indexes()
_LISTING: Final = [threading.Lock() for _ in range(64)]  # a tar file is listed by one thread at a time


def _members(path: str, file: BinaryIO, index: _Index) -> Iterator[Member]:
    """Yield the members of an open tar file, and fill its index, which other threads can then use."""
    index.signature = _signature(file)
    _refuse_compressed(path, file)
    name = ""
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            while (info := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # else it remembers every member
                if info.isdir():
                    continue
                parts = [part for part in info.name.split("/") if part not in ("", ".")]
                name = "/".join(parts)
                is_plain = info.isreg() and info.sparse is None and ".." not in parts and bool(parts)
                if is_plain:
                    index.add(name, info.offset_data, info.size)
                yield Member(name, info.offset_data, info.size, is_plain)
            _refuse_without_end(file, archive.offset)
    except _DAMAGE as error:
        what = f"damaged after its member {name!r}" if name else "not a tar file"
        index.damage = f"{what}: {str(error) or 'its headers make no sense'}. Copy or download it again"
        _INDEXES.add(path, index)  # members before the damage can be read
        raise ImageError(path, index.damage) from error
    _INDEXES.add(path, index)


def _index_of(path: str, file: BinaryIO) -> _Index:
    """Return the index of an open tar file; members before a damage are found."""
    with _LISTING[hash(path) % len(_LISTING)]:
        if (known := _INDEXES.get(path, _signature(file))) is not None:
            return known
        index = _Index()
        try:
            for _ in _members(path, file, index):
                pass
        except ImageError:
            if not index.damage:
                raise
        return index


def _signature(file: BinaryIO) -> tuple[int, ...]:
    """Return what changes if the file at a path is replaced or written again."""
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns, status.st_ino


def _content(address: str, file: BinaryIO, offset: int, size: int) -> bytes:
    if size > MAX_FILE_BYTES:
        limit_gb = MAX_FILE_BYTES / 2**30
        raise ImageError(address, f"{size / 2**30:.1f} GiB; photos up to {limit_gb:.0f} GiB are read")
    file.seek(offset)
    content = file.read(size)
    if len(content) < size:
        raise ImageError(address, "truncated: the tar file ends before the end of this member")
    return content


def _is_regular(path: str) -> bool:
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except (OSError, ValueError):
        return False


def _refuse_without_end(file: BinaryIO, offset: int) -> None:
    """Check that a tar file ends with an empty block, and that only zeros follow.

    Python's reader takes for the end what may be none: a damaged header, and an empty block in the middle of
    a file that was not downloaded whole, or in which several tar files were joined.
    """
    file.seek(offset)
    block = file.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it is truncated")
    if any(block):
        raise tarfile.ReadError("no header of a member follows")
    num_zeros = 0
    while part := file.read(2**20):
        num_zeros += len(part)
        if part.count(0) < len(part):
            raise tarfile.ReadError(
                "an empty block follows, which marks the end, and then more data: a part of the download is "
                "missing, or tar files were joined without tar --concatenate"
            )
        if num_zeros > _MOST_PADDING_BYTES:
            raise tarfile.ReadError("nothing but zeros follows: the rest of the download is missing")


def _refuse_compressed(path: str, file: BinaryIO) -> None:
    head = file.read(10)
    file.seek(0)
    for start, command in _COMPRESSED.items():
        if re.match(start, head):
            raise ImageError(path, compressed_advice(path, command))


def compressed_advice(path: str, command: str = "gzip -d") -> str:
    """Return why a compressed tar file is not read, and what to do."""
    return (
        "a compressed tar file, whose photos cannot be read in place. Decompress it, which hardly makes it "
        f"larger, as photos are compressed already: {command} {Path(path).name}"
    )
