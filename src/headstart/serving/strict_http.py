"""Refuses requests that are valid HTTP for h11, but that proxies read differently or that keep it busy."""

from __future__ import annotations

from typing import Any, Final

import h11

_PIECES: Final = 1000  # of a body, before their size counts
_LEAST_BYTES_PER_PIECE: Final = 256


class StrictConnection(h11.Connection):
    """The state of one connection of a server. Raises ``h11.RemoteProtocolError`` for

    - a request with ``Content-Length`` and ``Transfer-Encoding``: a proxy that follows the former would see
      another request behind it (request smuggling);
    - a body in thousands of tiny chunks, each of which takes as much time as one of many kilobytes.
    """

    _pieces = 0
    _bytes = 0

    def next_event(self) -> Any:
        """Return the next event of the connection."""
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._pieces = self._bytes = 0
            names = {name for name, _ in event.headers}
            if {b"content-length", b"transfer-encoding"} <= names:
                raise h11.RemoteProtocolError("The request has two lengths.")
        elif isinstance(event, h11.Data):
            self._pieces += 1
            self._bytes += len(event.data)
            if self._pieces > _PIECES and self._bytes < self._pieces * _LEAST_BYTES_PER_PIECE:
                raise h11.RemoteProtocolError("The chunks are too small.")
        return event
