"""Reads the photos of a request, within limits, in memory. Nothing is written to disk or fetched."""

from __future__ import annotations

import io
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from headstart.environment import return_freed_memory
from headstart.serving.answers import Upload
from headstart.serving.names import clean
from headstart.serving.problems import Problem
from headstart.serving.settings import ServeSettings

if TYPE_CHECKING:  # a name for type checkers alone
    from python_multipart.multipart import MultipartCallbacks

FIELD: Final = "photo"
"""Name of the field of a form that holds a photo."""

_MOST_BYTES_AT_ONCE: Final = 4  # times the largest body
_LEAST_BYTES_AT_ONCE: Final = 256_000_000
_MOST_FREED: Final = 16_000_000  # bytes that stay with the process
_AS_IMAGE: Final = "curl -H 'Content-Type: image/jpeg' --data-binary @photo.jpg, or curl -F photo=@photo.jpg"


logging.getLogger("python_multipart").addHandler(logging.NullHandler())  # it reports what clients send


class Memory:
    """Bounds the bytes of all requests that are being received and answered.

    Args:
        max_bytes: Largest body of a request.
    """

    def __init__(self, max_bytes: int) -> None:
        self._most = max(_LEAST_BYTES_AT_ONCE, _MOST_BYTES_AT_ONCE * max_bytes)
        self._used = self._peak = self._earlier_peak = 0

    @contextmanager
    def held(self) -> Iterator[Held]:
        """Release what a request holds at the end of the block."""
        held = Held(self)
        try:
            yield held
        finally:
            self._used -= held.size

    def take(self, size: int) -> None:
        """Count bytes as used.

        Raises:
            Problem: All memory for requests is in use.
        """
        if self._used + size > self._most:
            raise Problem("queue_full", "Too much is being received. Try again in 1 s.", {"Retry-After": "1"})
        self._used += size
        self._peak = max(self._peak, self._used)

    def return_freed(self) -> None:
        """Return memory to the system after large requests: their pieces leave gaps that glibc keeps.

        Called every second. It looks at the peak before the previous call: what was held then is freed by
        now, also where a thread needed a moment longer than the request.
        """
        if self._earlier_peak - self._used > _MOST_FREED:
            return_freed_memory()
        self._earlier_peak, self._peak = self._peak, self._used


class Held:
    """The bytes that one request holds.

    Args:
        memory: What all requests hold.

    Attributes:
        size: Number of bytes.
    """

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.size = 0

    def add(self, size: int) -> None:
        """Hold more bytes.

        Raises:
            Problem: All memory for requests is in use.
        """
        self._memory.take(size)
        self.size += size


async def read_uploads(
    headers: Mapping[str, str], chunks: AsyncIterator[bytes], settings: ServeSettings, held: Held
) -> tuple[list[Upload], bool]:
    """Read the photos of a request.

    Args:
        headers: Of the request.
        chunks: Its body.
        settings: The limits.
        held: Counts the bytes.

    Returns:
        The photos, and whether they came as a form, which may hold several.

    Raises:
        Problem: The request is wrong, or exceeds a limit.
    """
    kind, options = parse_options_header(headers.get("content-type"))
    is_form = kind == b"multipart/form-data"
    if not is_form and kind not in (b"", b"application/octet-stream") and not kind.startswith(b"image/"):
        shown = clean(kind.decode("latin-1"))
        raise Problem(
            "unsupported_media_type",
            f"The content type is {shown!r}; it must be image/..., application/octet-stream or "
            f"multipart/form-data. For example: {_AS_IMAGE}",
        )
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem("unsupported_media_type", "The body is compressed; send it as it is.")
    limited = _within_limit(chunks, headers.get("content-length"), settings, held)
    if is_form:
        return await _form(limited, options.get(b"boundary", b""), settings), True
    content = io.BytesIO()  # grows in place, and gives its bytes away without a copy
    async for chunk in limited:
        content.write(chunk)
    if not content.tell():
        raise Problem("no_photo", f"The body is empty. Send a photo: {_AS_IMAGE}")
    return [Upload(None, content.getvalue())], False


async def _within_limit(
    chunks: AsyncIterator[bytes], length: str | None, settings: ServeSettings, held: Held
) -> AsyncIterator[bytes]:
    too_many = Problem(
        "too_many_bytes",
        f"The body is larger than {settings.max_mb} MB, the most that is allowed. Send fewer or smaller "
        f"photos.",
    )
    if length is not None and length.isdecimal() and int(length) > settings.max_bytes:
        raise too_many
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > settings.max_bytes:
            raise too_many
        held.add(len(chunk))
        yield chunk


async def _form(chunks: AsyncIterator[bytes], boundary: bytes, settings: ServeSettings) -> list[Upload]:
    broken = "The form is not valid multipart/form-data"
    if not boundary:
        raise Problem("invalid_request", f"{broken}: its content type has no boundary.")
    form = _Form(settings.max_photos)
    try:
        parser = MultipartParser(boundary, form.callbacks())
        async for chunk in chunks:
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise Problem("invalid_request", f"{broken}: {error}") from error
    if not form.is_whole:
        raise Problem("invalid_request", f"{broken}: it ends before its last boundary.")
    if not form.uploads:
        raise Problem("no_photo", f"The form has no field {FIELD!r}. For example: {_AS_IMAGE}")
    return form.uploads


class _Form:
    """Collects the photos of a form while it is parsed."""

    def __init__(self, max_photos: int) -> None:
        self.uploads: list[Upload] = []
        self.is_whole = False
        self._max_photos = max_photos
        self._field = self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._name: str | None = None
        self._content = io.BytesIO()

    def callbacks(self) -> MultipartCallbacks:
        """Return what the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._check,
            "on_part_data": self._on_data,
            "on_part_end": lambda: self.uploads.append(Upload(self._name, self._content.getvalue())),
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.uploads) == self._max_photos:
            raise Problem(
                "too_many_photos",
                f"The request has more than {self._max_photos} photos, the most that are allowed. Send them "
                f"in several requests.",
            )
        self._headers, self._content = {}, io.BytesIO()
        self._field = self._value = b""

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._content.write(data[start:end])

    def _end_header(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def _check(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name != FIELD:
            raise Problem("invalid_field", f"The form has a field {clean(name)!r}; it must be {FIELD!r}.")
        if (file_name := options.get(b"filename")) is None:
            raise Problem(
                "invalid_field", f"The field {FIELD!r} is text; it must be a file. For example: {_AS_IMAGE}"
            )
        self._name = clean(file_name.decode("utf-8", "replace"))

    def _end(self) -> None:
        self.is_whole = True
