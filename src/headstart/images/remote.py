"""Reads photos at remote addresses: each is requested once, and stored on disk.

``http://`` and ``https://`` need no further package. Other addresses, such as ``s3://`` and ``gs://``, are
read with fsspec (the extra ``remote``) and the package that fsspec names for them.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from headstart.columns import counted
from headstart.errors import DataError, HeadstartError, ImageError, MissingPackageError, requires_extra
from headstart.files import is_remote
from headstart.images.file import MAX_FILE_BYTES
from headstart.images.remote_store import STORE

TRIES: Final = 5
"""Number of requests for one photo, if they fail for reasons that may pass."""

FIRST_PAUSE_SECONDS: Final = 0.5
"""Pause after the first failure; it doubles after each further one."""

TOTAL_SECONDS: Final = 120.0
"""Time for one photo, with all tries and pauses."""

SILENCE_SECONDS: Final = 20.0
"""Time without an answer, or without further bytes, after which a request has failed."""

MOST_FAILED: Final = 5
"""After so many photos in succession that a server did not send, it is asked once for each further one, until
it sends one: else ten thousand photos of a server that is down would take a day.
"""

_FAILED: Final = Counter[str]()
_PART_BYTES: Final = 2**16
_MAY_PASS: Final = frozenset({408, 425, 429, *range(500, 600)} - {501, 505})
_LOCKS: Final = [threading.Lock() for _ in range(256)]  # a photo is requested by one thread at a time


class _MayPassError(Exception):
    """A request failed in a way that another one may not; ``after`` is a pause that the server asks for."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


class _Arrived:
    """The bytes of a photo that have arrived; if the connection breaks off, only the others are requested."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0
        self.total: int | None = None
        self._version = ""  # of the photo, by which the server knows that it has not changed

    def add(self, part: bytes) -> None:
        self.parts.append(part)
        self.size += len(part)

    def clear(self) -> None:
        self.parts.clear()
        self.size = 0

    def conditions(self) -> dict[str, str]:
        """Return the headers of a request for the other bytes; none if all are requested."""
        if not (self.parts and self._version):
            self.clear()
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": self._version}

    def begin(self, response: Any) -> None:
        """Read the headers of an answer, which may contain all bytes although fewer were requested."""
        headers = response.headers
        is_rest = headers.get("Content-Range", "").startswith(f"bytes {self.size}-")
        if response.status != 206 or not is_rest:
            self.clear()
        tag, length = headers.get("ETag", ""), headers.get("Content-Length", "")
        self._version = headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag
        self.total = self.size + int(length) if length.isdigit() else None


def read_remote(address: str) -> bytes:
    """Return the bytes at a remote address, from the store if they have been read before.

    Raises:
        ImageError: There is nothing at the address, or it cannot be read after several tries.
        MissingPackageError: The address needs fsspec, or a package of its protocol.
    """
    with _LOCKS[hash(address) % len(_LOCKS)]:
        content = STORE.get(address)
        if content is None:
            content = _requested(address)
            STORE.put(address, content)
    return content


def list_remote(folder: str) -> list[str]:
    """Return the addresses of all objects below a remote folder, which fsspec lists; sorted.

    Raises:
        DataError: The folder cannot be listed, or is empty.
        MissingPackageError: It needs fsspec, or a package of its protocol.
    """
    protocol = folder.partition("://")[0]
    with _package_named(protocol):
        import fsspec.core

        try:
            system, path = fsspec.core.url_to_fs(folder)
            found = sorted(system.find(path))
        except ImportError:
            raise
        except Exception as error:  # each protocol has exceptions of its own
            raise DataError(f"{folder!r} cannot be listed: {type(error).__name__}: {error}.") from error
    if not found:
        raise DataError(f"There is nothing at {folder!r}. Name a folder of class folders.")
    return [each if is_remote(each) else f"{protocol}://{each.lstrip('/')}" for each in found]


def _requested(address: str) -> bytes:
    """Return the bytes at an address; repeat the request with growing pauses if it fails.

    Raises:
        ImageError: The last reason.
    """
    until, arrived = time.monotonic() + TOTAL_SECONDS, _Arrived()
    request = _by_http if address.lower().startswith(("http://", "https://")) else _by_fsspec
    server = "/".join(address.split("/", 3)[:3])
    tries = TRIES if _FAILED[server] < MOST_FAILED else 1
    for number in range(1, tries + 1):
        try:
            content = request(address, until, arrived)
        except _MayPassError as error:
            pause = max(error.after, FIRST_PAUSE_SECONDS * 2 ** (number - 1))
            if number < tries and time.monotonic() + pause <= until:
                time.sleep(pause)
                continue
            _FAILED[server] += 1
            after = counted(number, "try", "tries")
            raise ImageError(address, f"cannot be read: {error}, after {after}") from error
        _FAILED[server] = 0
        return content
    raise AssertionError("the last try returns or raises")


def _by_http(address: str, until: float, arrived: _Arrived) -> bytes:
    import http.client  # these take a tenth of a second, and most photos are files
    import ssl
    import urllib.error
    import urllib.request

    try:
        headers = {"User-Agent": "headstart", **arrived.conditions()}
        request = urllib.request.Request(address, headers=headers)
        with urllib.request.urlopen(request, timeout=SILENCE_SECONDS) as response:
            arrived.begin(response)
            _read_into(arrived, response, address, until)
    except urllib.error.HTTPError as error:
        with error:
            reason = f"the server answers {error.code} {error.reason}".rstrip()
            if error.code == 416 and arrived.parts:  # the rest is not what it was
                arrived.clear()
                raise _MayPassError(reason) from error
            if error.code in _MAY_PASS:
                raise _MayPassError(reason, _seconds(error.headers.get("Retry-After", ""))) from error
            raise ImageError(address, f"cannot be read: {reason}") from error
    except http.client.InvalidURL as error:
        raise ImageError(address, f"not an address: {error}") from error
    except (OSError, http.client.HTTPException) as error:  # refused, reset, silent, broken off
        why = getattr(error, "reason", None) or error
        if isinstance(why, (str, ssl.SSLCertVerificationError)):  # such as "no host given"
            raise ImageError(address, f"cannot be read: {why}") from error
        words = getattr(why, "strerror", None) or str(why) or type(why).__name__
        raise _MayPassError(words) from error
    except ValueError as error:  # not an address, such as http://[
        raise ImageError(address, f"not an address: {error}") from error
    if arrived.total not in (None, arrived.size):
        raise _MayPassError(f"the connection broke off after {arrived.size:,} of {arrived.total:,} bytes")
    return b"".join(arrived.parts)


def _by_fsspec(address: str, until: float, arrived: _Arrived) -> bytes:
    protocol = address.partition("://")[0]
    with _package_named(protocol):
        import fsspec

        try:
            arrived.clear()
            with fsspec.open(address, "rb") as file:
                _read_into(arrived, file, address, until)
            return b"".join(arrived.parts)
        except FileNotFoundError as error:
            raise ImageError(address, "no such photo") from error
        except PermissionError as error:
            raise ImageError(address, f"no permission to read it: {error}") from error
        except (ImportError, HeadstartError, _MayPassError):
            raise
        except ValueError as error:
            raise ImageError(address, f"cannot be read: {error}") from error
        except Exception as error:  # each protocol has exceptions of its own
            raise _MayPassError(f"{type(error).__name__}: {error}") from error


@contextmanager
def _package_named(protocol: str) -> Iterator[None]:
    """Convert a missing package to an error with the command that installs it."""
    with requires_extra("remote", f"An address that begins with {protocol}://"):
        try:
            yield
        except ModuleNotFoundError:
            raise
        except ImportError as error:  # fsspec's own, which names the package of a protocol
            raise MissingPackageError(
                f"An address that begins with {protocol}:// cannot be read: {error}"
            ) from error


def _read_into(arrived: _Arrived, file: Any, address: str, until: float) -> None:
    """Read a file part by part, within the limits of time and size."""
    read = getattr(file, "read1", file.read)  # as much as there is: a slow server sends few bytes at a time
    while part := read(_PART_BYTES):
        arrived.add(part)
        if arrived.size > MAX_FILE_BYTES:
            raise ImageError(address, f"more than {MAX_FILE_BYTES / 2**30:.0f} GiB, which are not read")
        if time.monotonic() > until:
            raise ImageError(
                address, f"cannot be read: {arrived.size:,} bytes arrived within {TOTAL_SECONDS:.0f} seconds"
            )


def _seconds(text: str) -> float:
    """Return the pause of ``Retry-After``: seconds, or a date; 0 if it is neither."""
    try:
        return float(text)
    except ValueError:
        pass
    import email.utils

    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0
