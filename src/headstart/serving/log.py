"""Writes the log: one JSON object per line. Neither a full disk nor a slow reader stops the service."""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
from datetime import UTC, datetime
from typing import Any, Final

_MOST_WAITING: Final = 10_000  # lines
_SECONDS_TO_END: Final = 2.0


class Log:
    """A log that is written by a thread of its own. Lines that cannot be written are dropped and counted.

    Args:
        descriptor: Of the file that is written to.

    Attributes:
        num_dropped: Number of lines that could not be written.
    """

    def __init__(self, descriptor: int) -> None:
        self.num_dropped = 0
        self._descriptor = descriptor
        self._lines: queue.Queue[bytes | None] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._write_all, name="headstart-log", daemon=True)
        self._thread.start()

    def write(self, event: str, **fields: Any) -> None:
        """Append a line.

        Args:
            event: What happened, in one word.
            fields: What else there is to say, without contents of photos and without tokens.
        """
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": time, "event": event, **fields}, default=str) + "\n"
        try:
            self._lines.put_nowait(line.encode())
        except queue.Full:
            self.num_dropped += 1

    def close(self) -> None:
        """Write what waits; a reader that takes nothing is waited for only briefly."""
        try:
            self._lines.put(None, timeout=_SECONDS_TO_END)
        except queue.Full:
            return
        self._thread.join(_SECONDS_TO_END)

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                while line:
                    line = line[os.write(self._descriptor, line) :]
            except OSError:  # no space, no reader
                self.num_dropped += 1


class LogHandler(logging.Handler):
    """Passes warnings and errors of libraries on to a log.

    Args:
        log: The log.
    """

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Append a record as a line."""
        fields = {"level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            fields["traceback"] = logging.Formatter().formatException(record.exc_info)
        self._log.write("server", **fields)
