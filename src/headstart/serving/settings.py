"""Settings of the service, and the token that it asks for."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from headstart.errors import ConfigError, UsageError

TOKEN_VARIABLE: Final = "HEADSTART_TOKEN"
"""Environment variable with the token, if there is no file."""

_SHORTEST_TOKEN: Final = 16  # characters
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")  # what fits into a header
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+|\*")
_ORIGIN: Final = re.compile(r"https?://[^/\s]+", re.IGNORECASE)
_ROOT_PATH: Final = re.compile(r"(/[A-Za-z0-9._~-]+)*")

# Lowest and highest value of each number.
_LIMITS: Final = {
    "port": (0, 65535),
    "queue": (1, 10_000),
    "max_photos": (1, 10_000),
    "max_mb": (1, 1024),
    "max_megapixels": (1, 250),
    "max_seconds": (10, 3600),
}


@dataclass(frozen=True)
class ServeSettings:
    """Settings of the service.

    Attributes:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        queue: Most photos that wait for a free thread; further requests are answered with 503.
        max_photos: Most photos of a request.
        max_mb: Largest body of a request, in megabytes (10^6 bytes).
        max_megapixels: Largest JPEG; photos in other formats may have half as many.
        max_seconds: Most seconds that the body of a request may take to arrive.
        token: What clients must send as ``Authorization: Bearer TOKEN``; None if nothing is asked for.
        allow_hosts: Names of this service in the header ``Host``, besides addresses and ``localhost``; ``*``
            allows any.
        allow_origins: Origins of pages on other hosts that may use the service, such as
            ``https://example.com``.
        root_path: Path of the service behind a proxy, such as ``/photos``; empty if it has its own host.
        similar: Whether clients may see the training photos that are most similar to a photo.

    Raises:
        ConfigError: A value is not allowed.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    queue: int = 64
    max_photos: int = 32
    max_mb: int = 64
    max_megapixels: int = 50
    max_seconds: int = 60
    token: str | None = field(default=None, repr=False)
    allow_hosts: tuple[str, ...] = ()
    allow_origins: tuple[str, ...] = ()
    root_path: str = ""
    similar: bool = False

    def __post_init__(self) -> None:
        if problems := list(self._problems()):
            raise ConfigError(problems)

    def _problems(self) -> Iterator[str]:
        for name, (lowest, highest) in _LIMITS.items():
            value = getattr(self, name)
            if type(value) is not int or not lowest <= value <= highest:
                yield f"{name} is {value!r}; it must be a whole number from {lowest} to {highest:,}."
        if isinstance(self.max_photos, int) and isinstance(self.queue, int) and self.max_photos > self.queue:
            yield (
                f"max_photos is {self.max_photos}, but the queue holds {self.queue} photos: a larger request "
                f"could never be answered. Raise queue or lower max_photos."
            )
        for name in self.allow_hosts:
            if not _HOST_NAME.fullmatch(name):
                yield f"allow_host is {name!r}; it must be the name of a host without a port, or *."
        for origin in self.allow_origins:
            if not _ORIGIN.fullmatch(origin):
                yield (
                    f"allow_origin is {origin!r}; it must be a scheme and a host without a path, such as "
                    f"https://example.com or http://localhost:3000."
                )
        if type(getattr(self, "similar")) is not bool:  # noqa: B009  # for type checkers it always is
            yield f"similar is {self.similar!r}; it must be True or False. Clients choose how many photos."
        if not _ROOT_PATH.fullmatch(self.root_path):
            yield f"root_path is {self.root_path!r}; it must be a path without / at its end, such as /photos."

    @property
    def max_bytes(self) -> int:
        """Largest body of a request."""
        return self.max_mb * 1_000_000

    @property
    def max_pixels(self) -> int:
        """Largest JPEG."""
        return self.max_megapixels * 1_000_000


def is_loopback(host: str) -> bool:
    """Return whether only programs on this machine reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def token_of(host: str, token_file: str | os.PathLike[str] | None, *, no_token: bool) -> str | None:
    """Return the token that clients must send.

    Args:
        host: Address to listen on.
        token_file: File with the token; by default, it is read from the environment.
        no_token: Whether other machines may use the service without a token.

    Raises:
        UsageError: There is no token, and other machines reach the address; or the token is not allowed.
    """
    if no_token and token_file is not None:
        raise UsageError("token_file and no_token are both set. Remove one of them.")
    if no_token:
        return None
    if token_file is not None:
        try:
            token = Path(token_file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not a text file"
            raise UsageError(f"The token file {os.fspath(token_file)!r} cannot be read: {reason}.") from error
        where = f"The token in {os.fspath(token_file)!r}"
    else:
        token, where = os.environ.get(TOKEN_VARIABLE, ""), f"The token in {TOKEN_VARIABLE}"
        if not token and is_loopback(host):
            return None
        if not token:
            raise UsageError(
                f"host is {host!r}, which other machines reach, so the service needs a token. Make one with: "
                f"openssl rand -hex 32 > token.txt, and pass it with --token-file token.txt or in the "
                f"variable {TOKEN_VARIABLE}. Without a token (--no-token), anybody who reaches the address "
                f"can use the models."
            )
    if len(token) < _SHORTEST_TOKEN or not _TOKEN.fullmatch(token):
        raise UsageError(
            f"{where} is not allowed: it must be one line of at least {_SHORTEST_TOKEN} letters, digits or "
            f"signs without spaces. Make one with: openssl rand -hex 32"
        )
    return token
