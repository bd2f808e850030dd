"""What every request passes first: request ids, hosts, origins, tokens, logging, counting, and errors."""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
import time
import traceback
from collections.abc import MutableMapping
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headstart.serving.log import Log
from headstart.serving.metrics import Metrics
from headstart.serving.problems import Problem
from headstart.serving.settings import ServeSettings
from headstart.serving.work import ClientGone

PUBLIC: Final = ("/healthz", "/readyz")
"""Paths that need no token and may be requested under any name of the host."""

GONE: Final = 499
"""Status of requests whose client has gone; it is only logged and counted."""

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LONGEST_LOGGED: Final = 200


class Guard:
    """The outermost application.

    Args:
        app: The application behind it.
        settings: Hosts, origins, token.
        paths: Paths of the application, by which requests are counted.
        page: Paths of the page's files. They need no token, because a browser loads the page before anybody
            can type one, and must not contain anything private.
        metrics: Counts requests and errors.
        log: Gets a line for each request.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: ServeSettings,
        paths: frozenset[str],
        page: frozenset[str],
        metrics: Metrics,
        log: Log,
    ) -> None:
        self._app, self._settings, self._paths, self._page = app, settings, paths, page
        self._metrics, self._log = metrics, log
        self._token = settings.token.encode() if settings.token is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        exchange = _Exchange(scope, receive, send, self._settings.max_bytes)
        scope = (
            {**scope, "method": "GET"} if exchange.method == "HEAD" else scope
        )  # the body is left out later
        path = scope["path"] = self._path(scope["path"])
        try:
            self._admit(exchange, path)
            if path == "" and self._settings.root_path:  # addresses in the page are relative to the folder
                await exchange.answer(308, b"", {"Location": f"{self._settings.root_path}/"})
            elif exchange.is_preflight:
                await exchange.answer(204, b"", {"Access-Control-Max-Age": "600"})
            else:
                await self._app(scope, exchange.receive, exchange.send)
        except ClientGone:
            exchange.status = GONE
        except Problem as problem:
            await self.refuse(exchange, problem)
            problem.__traceback__ = (
                None  # its frames hold the photos, and themselves until garbage is collected
            )
        except Exception:
            self._log.write("fault", request_id=exchange.request_id, traceback=traceback.format_exc())
            await self.refuse(exchange, Problem("internal_error", "The service failed; its log says why."))
        self._tell(exchange, path)

    async def refuse(self, exchange: _Exchange, problem: Problem) -> None:
        """Answer with an error, unless an answer has begun."""
        exchange.code = problem.code
        if exchange.status is None:
            body = problem.body(exchange.request_id)
            await exchange.answer(problem.status, body, problem.headers)

    def _path(self, path: str) -> str:
        """Return a path without the prefix of a proxy, whether the proxy has removed it or not."""
        root = self._settings.root_path
        if root and (path == root or path.startswith(f"{root}/")):
            return path[len(root) :]
        return path

    def _admit(self, exchange: _Exchange, path: str) -> None:
        """Raise ``Problem`` if the host, the origin or the token is not allowed."""
        if path in PUBLIC:
            return
        if not self._is_allowed_host(exchange.header(b"host")):
            raise Problem(
                "forbidden_host",
                "The request names a host that is not allowed. Use the address of the service, or start it "
                "with --allow-host NAME.",
            )
        origin = exchange.header(b"origin")
        if origin and not self._is_own(origin, exchange.header(b"host")):
            if origin.lower() not in (each.lower() for each in self._settings.allow_origins):
                raise Problem(
                    "forbidden_origin",
                    "The request comes from a page of another origin. Start the service with --allow-origin "
                    "ORIGIN to allow it.",
                )
            exchange.allow_origin(origin)
            if exchange.is_preflight:  # browsers send it without the token
                return
        exchange.is_preflight = False
        if self._token is not None and path not in self._page:
            scheme, _, given = exchange.header(b"authorization").partition(" ")
            is_right = hmac.compare_digest(given.strip().encode("latin-1"), self._token)
            is_bearer = scheme.lower() == "bearer"
            if not is_bearer or not is_right:
                what = "The token is wrong" if is_bearer and given.strip() else "The service needs its token"
                raise Problem(
                    "token_required",
                    f"{what}: send the header Authorization: Bearer TOKEN.",
                    {"WWW-Authenticate": "Bearer"},
                )

    def _is_allowed_host(self, value: str) -> bool:
        """Return whether a name cannot have been rebound by DNS: an address, or a known name."""
        host = _host_name(value)
        known = ("localhost", self._settings.host.lower(), *map(str.lower, self._settings.allow_hosts))
        return "*" in known or host in known or _is_address(host)

    @staticmethod
    def _is_own(origin: str, host: str) -> bool:
        try:
            return urlsplit(origin).netloc.lower() == host.lower() != ""
        except ValueError:
            return False

    def _tell(self, exchange: _Exchange, path: str) -> None:
        seconds = time.perf_counter() - exchange.begun
        shown = path if path in self._paths else "page" if path in self._page else "other"
        status = exchange.status or GONE
        self._metrics.request(shown, exchange.method, status, seconds)
        if exchange.code is not None:
            self._metrics.error(exchange.code)
        if path in PUBLIC and status < 400:  # every few seconds, by what watches the service
            return
        self._log.write(
            "request",
            request_id=exchange.request_id,
            client=exchange.client,
            method=exchange.method[:_LONGEST_LOGGED],
            path=path[:_LONGEST_LOGGED],
            status=status,
            milliseconds=round(seconds * 1000, 1),
            **({"code": exchange.code} if exchange.code else {}),
            **exchange.notes,
        )


class _Exchange:
    """One request and its answer.

    Args:
        scope: The request.
        receive: Receives its body.
        send: Sends the answer.
        most_drained: Largest body that is read to its end before an error is answered.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, most_drained: int) -> None:
        self.begun = time.perf_counter()
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        given = self.header(b"x-request-id")
        self.request_id = given if _REQUEST_ID.fullmatch(given) else os.urandom(8).hex()
        self.method: str = scope["method"]
        self.client = scope["client"][0] if scope.get("client") else None
        self.is_preflight = self.method == "OPTIONS" and b"access-control-request-method" in self._headers
        self.status: int | None = None
        self.code: str | None = None
        self.notes: dict[str, Any] = {}
        self._receive, self._send = receive, send
        self._has_more = True
        self._most_drained = most_drained
        self._added = [(b"x-request-id", self.request_id.encode()), (b"x-content-type-options", b"nosniff")]
        scope.setdefault("state", {})["exchange"] = self

    def header(self, name: bytes) -> str:
        """Return the value of a header; empty without one."""
        return self._headers.get(name, b"").decode("latin-1")

    def allow_origin(self, origin: str) -> None:
        """Let a page of another origin read the answer."""
        self._added += [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-methods", b"GET, POST"),
            (b"access-control-allow-headers", b"authorization, content-type, x-request-id"),
            (b"access-control-expose-headers", b"x-request-id, retry-after"),
            (b"vary", b"origin"),
        ]

    async def receive(self) -> Message:
        """Receive the next part of the request."""
        message = await self._receive()
        self._has_more = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.status >= 400:
                await self._drain()
            message["headers"] = [*message.get("headers", ()), *self._added]
        await self._send(message)

    async def answer(self, status: int, body: bytes, headers: MutableMapping[str, str]) -> None:
        """Send an answer."""
        size = [] if status == 204 else [(b"content-length", str(len(body)).encode())]
        kind = [(b"content-type", b"application/json")] if body else []
        more = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": [*size, *kind, *more]})
        await self.send({"type": "http.response.body", "body": body if self.method != "HEAD" else b""})

    async def _drain(self) -> None:
        """Read the rest of a body: a client that is still sending would not see the answer."""
        length = self.header(b"content-length")
        if b"expect" in self._headers or not length.isdecimal() or int(length) > self._most_drained:
            return
        while self._has_more:
            await self.receive()


def _host_name(value: str) -> str:
    """Return the name in a header ``Host``, without its port and in lower case."""
    host, _, port = value.rpartition(":")
    if not host or not port.isdecimal():
        host = value
    return host.lower()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
