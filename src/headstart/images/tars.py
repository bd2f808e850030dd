"""Reads members of tar files in place: nothing is unpacked, and names of members are never used as paths.

A member has the address ``TAR/NAME``, such as ``shards/0.tar/cat/1.jpg``. It stays the same as long as the
tar file and the member keep their names, wherever in the tar file the member is.
"""

from __future__ import annotations

import os
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
    b"\x1f\x8b": "gzip -d",
    b"BZh": "bzip2 -d",
    b"\xfd7zXZ": "xz -d",
    b"\x28\xb5\x2f\xfd": "zstd -d",
}
_MOST_INDEXES: Final = 1024  # tar files whose members are known at a time


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
    name, index = "", None
    try:
        with open(path, "rb") as file:
            signature = _signature(file.fileno())
            _refuse_compressed(path, file.read(8))
            file.seek(0)
            index = _Index(signature)
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
        _remember(path, index)
    except tarfile.TarError as error:
        if index is not None:
            _remember(path, index)  # members before the damage can be read
        after = f"damaged after its member {name!r}" if name else "not a tar file"
        raise ImageError(path, f"{after}: {error}. Copy or download it again") from error
    except OSError as error:
        raise ImageError(path, f"cannot be read: {error.strerror or error}") from error


def read_member(path: str, name: str) -> bytes:
    """Return the content of a member. The tar file is open only during the call, in any thread.

    Raises:
        ImageError: There is no such member, it is too large, or the tar file cannot be read.
    """
    place = _index_of(path).find(name)
    if place is None:
        raise ImageError(f"{path}/{name}", f"no such photo in {Path(path).name}")
    return read_at(path, name, *place)


def read_at(path: str, name: str, offset: int, size: int) -> bytes:
    """Return the content at a position of a tar file.

    Raises:
        ImageError: It is too large, or the tar file cannot be read.
    """
    address = f"{path}/{name}"
    if size > MAX_FILE_BYTES:
        limit_gb = MAX_FILE_BYTES / 2**30
        raise ImageError(address, f"{size / 2**30:.1f} GiB; photos up to {limit_gb:.0f} GiB are read")
    try:
        with open(path, "rb", buffering=0) as file:
            file.seek(offset)
            content = b""
            while len(content) < size and (part := file.read(size - len(content))):
                content = content + part if content else part
    except OSError as error:
        raise ImageError(address, f"cannot be read: {error.strerror or error}") from error
    if len(content) < size:
        raise ImageError(address, f"truncated: {Path(path).name} ends before the end of this member")
    return content


def has_member(path: str, name: str) -> bool:
    """Return whether a tar file has a readable member of this name; False if it cannot be read."""
    try:
        return _index_of(path).find(name) is not None
    except ImageError:
        return False


class _Index:
    """Positions of the members of one tar file by name, in 16 bytes a member, or 24 in files over 4 GB."""

    def __init__(self, signature: tuple[int, ...]) -> None:
        self.signature = signature
        # A hash of 64 bits in place of the name: two of a million names share one with a probability of 3e-8,
        # and then the content has another SHA-256 than when it was listed.
        self._hashes: array[int] | np.ndarray = array("q")
        self._offsets: array[int] | np.ndarray = array("q")
        self._sizes: array[int] | np.ndarray = array("q")

    def add(self, name: str, offset: int, size: int) -> None:
        for column, value in ((self._hashes, hash(name)), (self._offsets, offset), (self._sizes, size)):
            assert isinstance(column, array)  # until it is closed
            column.append(value)

    def close(self) -> None:
        """Sort the members, after the last one was added."""
        hashes, offsets, sizes = (
            np.array(each, np.int64) for each in (self._hashes, self._offsets, self._sizes)
        )
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


_INDEXES: Final[OrderedDict[str, _Index]] = OrderedDict()
_LOCK: Final = threading.Lock()


def _remember(path: str, index: _Index) -> None:
    index.close()
    with _LOCK:
        _INDEXES[path] = index
        _INDEXES.move_to_end(path)
        if len(_INDEXES) > _MOST_INDEXES:
            _INDEXES.popitem(last=False)


def _index_of(path: str) -> _Index:
    """Return the index of a tar file; it is read again if the file has changed."""
    try:
        status = Path(path).stat()
    except OSError as error:
        raise ImageError(path, f"cannot be read: {error.strerror or error}") from error
    index = _INDEXES.get(path)
    if index is None or index.signature != (status.st_size, status.st_mtime_ns):
        _INDEXES.pop(path, None)
        try:
            for _ in members(path):
                pass
        except ImageError:
            if path not in _INDEXES:
                raise
        index = _INDEXES[path]
    return index


def _signature(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_size, status.st_mtime_ns


def _is_regular(path: str) -> bool:
    try:
        return stat.S_ISREG(Path(path).stat().st_mode)
    except (OSError, ValueError):
        return False


def _refuse_without_end(file: BinaryIO, offset: int) -> None:
    """Check that a tar file ends with an empty block; Python's reader takes a damaged header for its end."""
    file.seek(offset)
    block = file.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it is truncated")
    if any(block):
        raise tarfile.ReadError("no header of a member follows")


def _refuse_compressed(path: str, head: bytes) -> None:
    for start, command in _COMPRESSED.items():
        if head.startswith(start):
            raise ImageError(path, compressed_advice(path, command))


def compressed_advice(path: str, command: str = "gzip -d") -> str:
    """Return why a compressed tar file is not read, and what to do."""
    return (
        "a compressed tar file, whose photos cannot be read in place. Decompress it, which hardly makes it "
        f"larger, as photos are compressed already: {command} {Path(path).name}"
    )
