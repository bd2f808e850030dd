"""Serves trained models over HTTP: ``headstart.serve``. The server itself needs the extra ``serve``."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import sys
from collections.abc import Iterable
from typing import Any

from headstart.errors import UsageError, requires_extra
from headstart.files import given_path
from headstart.serving.models import named_paths
from headstart.serving.settings import ServeSettings, is_loopback, token_of


def serve(
    models: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token_file: str | os.PathLike[str] | None = None,
    no_token: bool = False,
    **settings: Any,
) -> None:
    """Serve trained models over HTTP until the process gets SIGINT or SIGTERM; see docs/reference/serving.md.

    Args:
        models: Run folders or model files, each as ``PATH`` or ``NAME=PATH``; one or several.
        host: Address to listen on. Addresses that other machines reach need a token.
        port: Port to listen on; 0 takes a free one.
        token_file: File with the token that clients must send; by default, the environment variable
            ``HEADSTART_TOKEN`` contains it.
        no_token: Whether other machines may use the service without a token.
        settings: ``queue``, ``max_photos``, ``max_mb``, ``max_megapixels``, ``max_seconds``, ``allow_hosts``,
            ``allow_origins``, ``root_path`` and ``similar``; see ``ServeSettings``.

    Raises:
        MissingPackageError: ``headstart[serve]`` is not installed.
        UsageError: A setting or a model is wrong, or the address cannot be used.
        HeadstartError: A model is damaged or fails its self-test.
    """
    with requires_extra("serve", "The command serve"):
        from headstart.serving.server import serve_at
    if _is_in_event_loop():
        raise UsageError(
            "serve cannot run in a program that has an event loop already, such as a notebook. Start it in a "
            "shell: headstart serve MODEL"
        )
    given = [models] if isinstance(models, (str, os.PathLike)) else models
    arguments = [os.fspath(given_path(each, "models", "run folders, or model files")) for each in given]
    token = token_of(host, token_file, no_token=no_token)
    try:
        checked = ServeSettings(host=host, port=port, token=token, **settings)
    except TypeError as error:
        raise UsageError(f"serve: {error}. The settings are those of headstart serve --help.") from error
    paths = named_paths(arguments)
    if no_token and not is_loopback(host):
        print(
            f"headstart: Warning: anybody who reaches {host} can use the models, because --no-token is set.",
            file=sys.stderr,
        )
    with contextlib.closing(listen(host, port)) as listener:
        serve_at(listener, paths, checked)


def _is_in_event_loop() -> bool:
    """Return whether the caller runs in an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address.

    Raises:
        UsageError: The address cannot be used.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise UsageError(_why_not(host, port, error)) from error


def _why_not(host: str, port: int, error: OSError) -> str:
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return (
            f"host is {host!r}, which is not an address of this machine. Use 127.0.0.1, or 0.0.0.0 for all."
        )
    if error.errno == errno.EADDRINUSE:
        return f"port is {port}, which another program uses. Choose another one with --port; 0 is a free one."
    if error.errno == errno.EACCES:
        return f"port is {port}, which this user may not use. Choose one above 1023 with --port."
    return f"Cannot listen at {host}, port {port}: {error.strerror or error}."
