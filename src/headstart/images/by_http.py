"""Requests a photo at an address of HTTP, with the standard library."""

from __future__ import annotations

import functools
import gzip
import io
import os
import re
import string
import time
import zlib
from typing import TYPE_CHECKING, Final

from headstart.errors import ImageError
from headstart.images.arrived import Arrived, MayPassError
from headstart.images.file import MAX_FILE_BYTES
from headstart.messages import without_secrets

if TYPE_CHECKING:
    from urllib.error import HTTPError

SILENCE_SECONDS: Final = 20.0
"""Time without an answer, or without further bytes, after which a request has failed."""

_MAY_PASS: Final = frozenset({408, 425, 429, *range(500, 600)} - {501, 505})
_SECONDS: Final = re.compile(r"\d{1,9}(\.\d*)?")
_PARTS: Final = re.compile(r"(https?://)([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_UNQUOTED: Final = "".join(sorted(set(string.punctuation) - set('"<>\\^`{|}')))


def by_http(address: str, until: float, arrived: Arrived) -> bytes:
    """Return the bytes at an address, with one request for those that have not arrived.

    Args:
        address: Begins with ``http://`` or ``https://``. Spaces and letters beyond ASCII are encoded as a
            browser does.
        until: The time, by ``time.monotonic``, at which reading ends.
        arrived: What earlier requests have received.

    Raises:
        ImageError: There is no photo, and there will be none.
        MayPassError: Another request may succeed.
    """
    import http.client  # these take a tenth of a second, and most photos are files
    import ssl
    import urllib.error
    import urllib.request

    try:
        headers = {"User-Agent": "headstart", **arrived.conditions()}
        request = urllib.request.Request(quoted(address), headers=headers)
        if authorization := _authorization(request.host):
            request.add_unredirected_header("Authorization", authorization)  # no other server gets it
        with urllib.request.urlopen(request, timeout=SILENCE_SECONDS) as response:
            arrived.begin(response)
            arrived.read(response, address, until)
            encoding = response.headers.get("Content-Encoding", "")
    except urllib.error.HTTPError as error:
        with error:
            raise _error_of_status(address, error, arrived) from error
    except http.client.InvalidURL as error:
        raise ImageError(address, f"not an address: {error}") from error
    except (OSError, http.client.HTTPException) as error:  # refused, reset, silent, broken off
        why = getattr(error, "reason", None) or error
        if isinstance(why, (str, ssl.SSLCertVerificationError)):  # such as "no host given"
            raise ImageError(address, f"cannot be read: {why}") from error
        words = getattr(why, "strerror", None) or str(why) or type(why).__name__
        raise MayPassError(words) from error
    except ValueError as error:  # not an address, such as http://[
        raise ImageError(address, f"not an address: {error}") from error
    return _decoded(address, arrived.content(), encoding.strip().lower())


def quoted(address: str) -> str:
    """Return an address with what HTTP cannot send encoded; what is encoded already is not changed."""
    import urllib.parse

    match = _PARTS.fullmatch(address)
    if match is None:
        return address
    host = match[2] if match[2].isascii() else match[2].encode("idna").decode("ascii")
    rest = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", match[3])
    return match[1] + host + urllib.parse.quote(rest, _UNQUOTED, errors="surrogateescape")


def _error_of_status(address: str, error: HTTPError, arrived: Arrived) -> Exception:
    reason = without_secrets(" ".join(f"the server answers {error.code} {error.reason}".split()))
    if error.code == 416 and arrived.size:  # the rest is not what it was
        arrived.clear()
        return MayPassError(reason)
    if error.code in _MAY_PASS:
        return MayPassError(reason, _seconds(error.headers.get("Retry-After", "")))
    return ImageError(address, f"cannot be read: {reason}")


def _decoded(address: str, content: bytes, encoding: str) -> bytes:
    """Return the bytes of a photo that a server sends compressed, although nobody has asked for that."""
    if encoding in ("", "identity"):
        return content
    if encoding not in ("gzip", "x-gzip"):
        raise ImageError(address, f"sent in the encoding {encoding!r}, which was not requested")
    try:
        decoded = gzip.GzipFile(fileobj=io.BytesIO(content)).read(MAX_FILE_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ImageError(address, f"sent in the encoding gzip, but damaged: {error}") from error
    if len(decoded) > MAX_FILE_BYTES:
        raise ImageError(address, f"more than {MAX_FILE_BYTES / 2**30:.0f} GiB, which are not read")
    return decoded


@functools.lru_cache(maxsize=256)
def _authorization(host: str) -> str:
    """Return the header for a server whose user and password are in ~/.netrc; empty for others."""
    import base64
    import netrc

    try:
        found = netrc.netrc(os.environ.get("NETRC")).hosts.get(host.partition(":")[0])  # not its default
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return ""
    if found is None:
        return ""
    user, _, password = found
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def _seconds(text: str) -> float:
    """Return the pause of ``Retry-After``: seconds, or a date; 0 if it is neither."""
    if _SECONDS.fullmatch(text.strip()):
        return float(text)
    import email.utils

    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0
