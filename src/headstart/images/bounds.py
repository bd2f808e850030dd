"""Refuses small files that would keep Pillow's readers busy for minutes, as nothing else bounds these."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

import numpy as np

from headstart.errors import ImageError

_MOST_SCANS: Final = 100  # encoders write about ten
_MOST_EXIF_SEGMENTS: Final = 4  # Pillow joins them in quadratic time
_MOST_SEGMENTS: Final = 10_000  # of a JPEG
_MOST_STRIPS: Final = 131_072  # of a TIFF, each of which becomes several Python objects
_READS: Final = 20_000
_BYTES_PER_READ: Final = 64  # on average, beyond the first reads: Pillow reads chunks of a PNG one by one

_TOO_MANY_PIECES: Final = "it consists of too many small pieces. Save it again"

# In the pixels of a JPEG, 0xFF is followed by one of the excluded bytes.
_JPEG_MARKER: Final = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd7]", re.DOTALL)
_SCAN, _END, _APP1 = 0xDA, 0xD9, 0xE1
_STRIP_TAGS: Final = (273, 279, 324, 325)  # offsets and sizes of strips, and of tiles


class BoundedBytes(io.BytesIO):
    """The content of a file that can be read only a limited number of times.

    Args:
        data: The content.
        path: Name of the file in errors.
    """

    def __init__(self, data: bytes, path: str) -> None:
        super().__init__(data)
        self._path = path
        self._left = _READS + len(data) // _BYTES_PER_READ

    def read(self, size: int | None = -1, /) -> bytes:
        """Read bytes.

        Raises:
            ImageError: There were too many reads.
        """
        self._left -= 1
        if self._left < 0:
            raise ImageError(self._path, _TOO_MANY_PIECES)
        return super().read(size)


def refuse_slow_files(data: bytes, format_name: str, path: str) -> None:
    """Refuse a file whose structure makes it slow to decode.

    Args:
        data: Its content.
        format_name: Its format.
        path: Name of the file in errors.

    Raises:
        ImageError: A JPEG has too many scans or EXIF segments, or a TIFF too many strips.
    """
    if format_name == "JPEG":
        _refuse_jpeg(data, path)
    elif format_name == "TIFF" and (strips := _num_strips(data)) > _MOST_STRIPS:
        raise ImageError(path, f"{strips:,} strips or tiles; up to {_MOST_STRIPS:,} are read. Save it again")


def _refuse_jpeg(data: bytes, path: str) -> None:
    # Every scan takes as long as the photo has pixels, even if it has only a few bytes.
    may_have_many = data.count(b"\xff\xda") > _MOST_SCANS
    scans, exif = 0, 0
    for segments, (marker, after) in enumerate(_segments(data), 1):
        scans += marker == _SCAN
        exif += marker == _APP1 and data[after + 2 : after + 8] == b"Exif\0\0"
        if scans > _MOST_SCANS:
            raise ImageError(path, f"a JPEG of more than {_MOST_SCANS} scans. Save it again")
        if exif > _MOST_EXIF_SEGMENTS:
            raise ImageError(path, f"more than {_MOST_EXIF_SEGMENTS} segments of EXIF. Save it again")
        if segments > _MOST_SEGMENTS:
            raise ImageError(path, _TOO_MANY_PIECES)
        if marker == _SCAN and not may_have_many:
            return


def num_scans(jpeg: bytes) -> int:
    """Return the number of scans of a JPEG, of those in its first 10,000 segments.

    Each takes about as long as the photo has pixels.
    """
    return sum(marker == _SCAN for marker, _ in islice(_segments(jpeg), _MOST_SEGMENTS))


def _segments(jpeg: bytes) -> Iterator[tuple[int, int]]:
    """Yield the marker of each segment of a JPEG, and the place after it."""
    at = 2
    while found := _JPEG_MARKER.search(jpeg, at):
        after = found.end()
        yield jpeg[after - 1], after
        if jpeg[after - 1] == _END:
            return
        at = after + int.from_bytes(jpeg[after : after + 2], "big")


def _num_strips(tiff: bytes) -> int:
    """Return the largest number of strips or tiles that the first directory of a TIFF names."""
    order = "<" if tiff.startswith(b"II") else ">"
    is_big = tiff[2] == 43  # as Pillow decides
    size = "u8" if is_big else "u4"
    (begins,) = np.frombuffer(tiff[8:16] if is_big else tiff[4:8], f"{order}{size}")[:1].tolist() or (0,)
    head = 8 if is_big else 2
    count = int.from_bytes(tiff[begins : begins + head], "little" if order == "<" else "big")
    entry = np.dtype(
        [("tag", f"{order}u2"), ("kind", f"{order}u2"), ("count", f"{order}{size}"), ("at", size)]
    )
    table = tiff[begins + head : begins + head + count * entry.itemsize]
    entries = np.frombuffer(table[: len(table) // entry.itemsize * entry.itemsize], entry)
    of_strips = entries["count"][np.isin(entries["tag"], _STRIP_TAGS)]
    return int(of_strips.max(initial=0))
