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
from typing import Final

from headstart.columns import counted
from headstart.errors import DataError, HeadstartError, ImageError, MissingPackageError, requires_extra
from headstart.images.arrived import Arrived, MayPassError
from headstart.images.by_http import by_http
from headstart.images.formats import HEAD_BYTES, looks_like_image
from headstart.images.remote_store import STORE
from headstart.images.wanted import is_wanted, pause
from headstart.messages import without_password, without_secrets

TRIES: Final = 5
"""Number of requests for one photo, if they fail for reasons that may pass."""

FIRST_PAUSE_SECONDS: Final = 0.5
"""Pause after the first failure; it doubles after each further one."""

TOTAL_SECONDS: Final = 120.0
"""Time for one photo, with all tries and pauses."""

MOST_FAILED: Final = 5
"""After so many photos in succession that a server did not send, it is asked once for each further one, until
it answers: else ten thousand photos of a server that is down would take a day.
"""

SLOW_SECONDS: Final = 1.0
"""A server that fails as slowly as that, after ``MOST_FAILED`` photos, is left alone for as long as it took:
photos are not requested meanwhile. One that is silent would take half a minute for each of them.
"""

_FAILED: Final = Counter[str]()  # photos in succession, by server
_LEFT_ALONE: Final[dict[str, tuple[float, str]]] = {}  # until when, and why, by server
_LOCKS: Final = [threading.Lock() for _ in range(256)]  # a photo is requested by one thread at a time


def read_remote(address: str) -> bytes:
    """Return the bytes at a remote address, from the store if they have been read before.

    Raises:
        ImageError: There is nothing at the address, or it cannot be read after several tries.
        MissingPackageError: The address needs fsspec, or a package of its protocol.
    """
    refuse_password(address)
    with _LOCKS[hash(address) % len(_LOCKS)]:
        content = STORE.get(address)
        if content is None:
            content = _requested(address)
            if looks_like_image(content[:HEAD_BYTES]):  # and not a page about an error
                STORE.put(address, content)
    return content


def refuse_password(address: str) -> None:
    """Check that an address contains no password: addresses are written into the files of a run.

    Raises:
        ImageError: It contains one, which the error does not show.
    """
    if (hidden := without_password(address)) != address:
        raise ImageError(
            without_secrets(hidden),
            "the address contains a password, which would be written into the files of the run. Write the "
            "password into ~/.netrc, or for protocols of fsspec into its configuration, and remove it here",
        )


def list_remote(folder: str) -> list[tuple[str, str]]:
    """Return all objects below a remote folder, which fsspec lists, as (address, path below the folder).

    Raises:
        DataError: The folder cannot be listed, or is empty.
        MissingPackageError: It needs fsspec, or a package of its protocol.
    """
    with _package_named(folder.partition("://")[0]):
        import fsspec.core

        try:
            system, path = fsspec.core.url_to_fs(folder)
            found = sorted(system.find(path))
        except ImportError:
            raise
        except Exception as error:  # each protocol has exceptions of its own
            raise DataError(f"{folder!r} cannot be listed: {type(error).__name__}: {error}.") from error
    # An address may have parts that a path of fsspec does not have: host, user, account, and what follows ::.
    start, (above, chain, others) = f"{path.rstrip('/')}/", folder.partition("::")
    above = above if above.endswith("://") else f"{above.rstrip('/')}/"
    below = [each.removeprefix(start) for each in found if each.startswith(start) and each != start]
    if not below:
        raise DataError(f"There is nothing at {folder!r}. Name a folder of class folders.")
    return [(f"{above}{each}{chain}{others}", each) for each in below]


def _requested(address: str) -> bytes:
    """Return the bytes at an address; repeat the request with growing pauses if it fails.

    Raises:
        ImageError: The last reason.
    """
    began, arrived = time.monotonic(), Arrived()
    until = began + TOTAL_SECONDS
    request = by_http if address.lower().startswith(("http://", "https://")) else _by_fsspec
    server = "/".join(address.split("/", 3)[:3])
    tries = TRIES if _FAILED[server] < MOST_FAILED else 1
    left_alone_until, why = _LEFT_ALONE.get(server, (0.0, ""))
    if tries == 1 and began < left_alone_until:
        raise ImageError(address, f"not requested, because the server did not send other photos: {why}")
    for number in range(1, tries + 1):
        try:
            content = request(address, until, arrived)
        except MayPassError as error:
            seconds = max(error.after, FIRST_PAUSE_SECONDS * 2 ** (number - 1))
            if number < tries and time.monotonic() + seconds <= until:
                pause(seconds)
                if is_wanted():
                    continue
            _FAILED[server] += 1
            took = time.monotonic() - began
            _LEFT_ALONE[server] = (began + 2 * took if took >= SLOW_SECONDS else 0.0, str(error))
            after = counted(number, "try", "tries")
            raise ImageError(address, f"cannot be read: {error}, after {after}") from error
        except ImageError:  # such as 404, which is an answer
            _FAILED[server] = 0
            raise
        _FAILED[server] = 0
        return content
    raise AssertionError("the last try returns or raises")


def _by_fsspec(address: str, until: float, arrived: Arrived) -> bytes:
    protocol = address.partition("://")[0]
    with _package_named(protocol):
        import fsspec

        try:
            arrived.clear()
            with fsspec.open(address, "rb") as file:
                arrived.read(file, address, until)
            return arrived.content()
        except FileNotFoundError as error:
            raise ImageError(address, "no such photo") from error
        except PermissionError as error:
            raise ImageError(address, f"no permission to read it: {without_secrets(str(error))}") from error
        except (ImportError, HeadstartError, MayPassError):
            raise
        except ValueError as error:
            raise ImageError(address, f"cannot be read: {without_secrets(str(error))}") from error
        except Exception as error:  # each protocol has exceptions of its own
            raise MayPassError(without_secrets(f"{type(error).__name__}: {error}")) from error


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
