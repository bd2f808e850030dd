"""The bytes of a remote photo while they arrive, and the failures after which they are requested again."""

from __future__ import annotations

import re
import time
from typing import Any, Final

from headstart.errors import ImageError
from headstart.images.file import MAX_FILE_BYTES

_PART_BYTES: Final = 2**16
_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class MayPassError(Exception):
    """A request failed in a way that another one may not; ``after`` is a pause that the server asks for."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


class Arrived:
    """The bytes of a photo that have arrived; if the connection breaks off, only the others are requested.

    Attributes:
        size: Number of bytes that have arrived.
        total: Number of all bytes; None if the server has not said it.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.size = 0
        self.total: int | None = None
        self._version = ""  # of the photo, by which the server knows that it has not changed

    def clear(self) -> None:
        """Forget all bytes, so that all are requested again."""
        self._parts.clear()
        self.size, self.total = 0, None

    def content(self) -> bytes:
        """Return all bytes.

        Raises:
            MayPassError: Some have not arrived.
        """
        if self.total not in (None, self.size):
            raise MayPassError(f"the connection broke off after {self.size:,} of {self.total:,} bytes")
        return b"".join(self._parts)

    def conditions(self) -> dict[str, str]:
        """Return the headers of a request for the other bytes; none if all are requested."""
        if not (self.size and self._version):
            self.clear()
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": self._version}

    def begin(self, response: Any) -> None:
        """Read the headers of an answer of HTTP, which may contain all bytes although fewer were requested.

        Raises:
            MayPassError: It contains other bytes than those that were requested.
        """
        headers, before = response.headers, self._version
        tag, length = headers.get("ETag", ""), headers.get("Content-Length", "")
        self._version = headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag
        if response.status != 206:
            self.clear()
            self.total = int(length) if length.isdecimal() else None
            return
        given = _RANGE.fullmatch(headers.get("Content-Range", ""))
        if given is None or int(given[1]) != self.size or (self.size and self._version != before):
            self.clear()
            raise MayPassError("the server sends other bytes than those that were requested")
        self.total = int(given[2]) + 1 if given[3] == "*" else int(given[3])

    def read(self, file: Any, address: str, until: float) -> None:
        """Read a file part by part.

        Args:
            file: What contains the bytes.
            address: Names the photo in errors.
            until: The time, by ``time.monotonic``, at which reading ends.

        Raises:
            ImageError: The photo is too large.
            MayPassError: It took too long.
        """
        read = getattr(
            file, "read1", file.read
        )  # as much as there is: a slow server sends few bytes at a time
        while part := read(_PART_BYTES):
            self._parts.append(part)
            self.size += len(part)
            if self.size > MAX_FILE_BYTES:
                raise ImageError(address, f"more than {MAX_FILE_BYTES / 2**30:.0f} GiB, which are not read")
            if time.monotonic() > until:
                raise MayPassError(f"only {self.size:,} bytes have arrived in the time for one photo")
