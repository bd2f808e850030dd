"""HTTP over one connection, with limits on time that uvicorn does not have, and errors in our form."""

from __future__ import annotations

import asyncio
import http
from typing import Any, ClassVar, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from headstart.serving.problems import Problem
from headstart.serving.strict_http import StrictConnection

_SECONDS_TO_READ_ANSWER: Final = 60
_MOST_HEADER_BYTES: Final = 65_536


class TimedProtocol(H11Protocol):
    """One connection. Each server has a subclass with its own limits: see ``timed``.

    Headers must arrive within ``header_seconds``. A body must arrive within ``body_seconds``, and, after its
    first ``header_seconds``, with ``least_rate`` bytes per second on average. An answer that nobody reads for
    a minute ends the connection.

    Attributes:
        header_seconds: Most seconds from the connection, or from the first byte of a further request, to the
            end of the headers.
        body_seconds: Most seconds that a body may take.
        least_rate: Least bytes per second.
        most_connections: Further ones are answered with 503.
    """

    header_seconds: ClassVar[float] = 10
    body_seconds: ClassVar[float] = 60
    least_rate: ClassVar[float] = 10_000
    most_connections: ClassVar[int] = 900

    _timer: asyncio.TimerHandle | None = None
    _reading_timer: asyncio.TimerHandle | None = None
    _body_of: Any = None  # the request whose body is being received
    _body_since = 0.0
    _body_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock of the headers."""
        super().connection_made(transport)
        self.conn = StrictConnection(h11.SERVER, _MOST_HEADER_BYTES)
        if len(self.connections) > self.most_connections:
            self._refuse(
                Problem(
                    "too_many_connections",
                    "Too many connections are open. Try again in 1 s.",
                    {"Retry-After": "1"},
                )
            )
            return
        self._start(self.header_seconds, self._headers_are_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all clocks."""
        self._stop()
        if self._reading_timer is not None:
            self._reading_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Receive bytes, and start the clock of what they begin."""
        if self.transport.is_closing():
            return
        if self._body_of is not None:
            self._body_bytes += len(data)
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Start the clock of a request that has arrived in the meantime."""
        super().on_response_complete()
        self._watch()

    def pause_writing(self) -> None:
        """Start the clock of a client that does not read its answer."""
        super().pause_writing()
        self._reading_timer = self.loop.call_later(_SECONDS_TO_READ_ANSWER, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop that clock."""
        super().resume_writing()
        if self._reading_timer is not None:
            self._reading_timer.cancel()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that is not HTTP, in the form of all errors."""
        is_large = self.conn.trailing_data[0] and len(self.conn.trailing_data[0]) >= _MOST_HEADER_BYTES
        if is_large:
            self._refuse(Problem("headers_too_large", "The headers are larger than 64 kB."))
        else:
            self._refuse(Problem("invalid_request", "The request is not valid HTTP."))

    def _watch(self) -> None:
        state = self.conn.their_state
        if self.transport.is_closing() or state not in (h11.IDLE, h11.SEND_BODY):
            self._stop()
        elif state is h11.SEND_BODY:
            if self._body_of is not self.cycle:
                self._stop()
                self._body_of, self._body_since, self._body_bytes = self.cycle, self.loop.time(), 0
                self._start(min(self.header_seconds, self.body_seconds), self._check_body)
        elif self._body_of is not None:
            self._stop()
        if state is h11.IDLE and self._timer is None and self.conn.trailing_data[0]:
            self._start(self.header_seconds, self._headers_are_late)  # of a further request

    def _check_body(self) -> None:
        """Close the connection if a body is late; look again in a second otherwise."""
        self._timer = None
        passed = self.loop.time() - self._body_since
        if passed >= self.body_seconds:
            self._refuse(Problem("too_slow", f"The body took more than {self.body_seconds:g} s to arrive."))
        elif not self.flow.read_paused and self._body_bytes < self.least_rate * passed:
            least = f"{self.least_rate / 1000:g} kB/s"
            self._refuse(Problem("too_slow", f"The body arrives more slowly than {least}."))
        else:
            self._start(min(1, self.body_seconds - passed), self._check_body)

    def _headers_are_late(self) -> None:
        self._timer = None
        if not self.conn.trailing_data[0]:  # nothing was asked
            self.transport.close()
            return
        seconds = f"{self.header_seconds:g} s"
        self._refuse(Problem("too_slow", f"The headers did not arrive within {seconds}."))

    def _refuse(self, problem: Problem) -> None:
        """Answer with an error, unless an answer has begun, and close the connection."""
        self._stop()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = problem.body(None)
            head = [
                f"HTTP/1.1 {problem.status} {http.HTTPStatus(problem.status).phrase}",
                "content-type: application/json",
                f"content-length: {len(body)}",
                "connection: close",
                *(f"{name.lower()}: {value}" for name, value in problem.headers.items()),
            ]
            self.transport.write("\r\n".join([*head, "", ""]).encode("latin-1") + body)
        self.transport.close()

    def _start(self, seconds: float, function: Any) -> None:
        self._timer = self.loop.call_later(seconds, function)

    def _stop(self) -> None:
        self._body_of = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def timed(**limits: float) -> type[TimedProtocol]:
    """Return a protocol with other limits.

    Args:
        limits: Attributes of ``TimedProtocol``.
    """
    return type("TimedProtocol", (TimedProtocol,), limits)
