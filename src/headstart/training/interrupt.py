"""SIGINT and SIGTERM held back until the state can be saved."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

SECONDS_TO_SAVE: Final = 8.0
"""A step that takes longer than this after a signal is not waited for: the last checkpoint stands."""


class Stopped(Exception):  # noqa: N818  # not an error
    """A signal has come."""


_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """A signal that has come and waits.

    Attributes:
        number: Of the signal; None as long as none has come.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._timer: threading.Timer | None = None

    def receive(self, number: int, frame: FrameType | None = None) -> None:
        """Note a signal; the second one ends the process at once."""
        if self.number is not None:
            _leave(number)
        self.number = number
        self._timer = threading.Timer(SECONDS_TO_SAVE, _leave, [number])
        self._timer.daemon = True
        self._timer.start()

    def check(self, anyone: Callable[[bool], bool] = bool) -> None:
        """Raise ``Stopped`` if a signal has come.

        Args:
            anyone: Tells whether something holds in any of several processes: they stop in the same step.
        """
        if anyone(self.number is not None):
            self.number = self.number or signal.SIGTERM
            raise Stopped

    def settle(self) -> None:
        """Stop waiting."""
        if self._timer is not None:
            self._timer.cancel()


@contextmanager
def held_back() -> Iterator[Interrupt]:
    """Hold SIGINT and SIGTERM back inside the block; at its end, what has come goes to its old handler.

    The block calls ``check`` now and then, saves when that raises, and ends. Outside the main thread, where
    Python allows no handlers, nothing is held back. A signal that is ignored, as under nohup, stays ignored.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, interrupt.receive)
    failed = False
    try:
        yield interrupt
    except BaseException:  # what went wrong, a full disk while saving, is told instead of the signal
        failed = True
        raise
    finally:
        interrupt.settle()
        for number, handler in before.items():
            signal.signal(number, handler)
        if interrupt.number is not None and not failed:
            signal.raise_signal(interrupt.number)
            sys.exit(128 + interrupt.number)  # whatever the handler did


def _leave(number: int) -> None:
    """End the process without waiting; every file of a run is whole at any time."""
    # Not print, which a signal may have interrupted.
    os.write(2, b"headstart: stopped in the middle of a step; the last checkpoint stands\n")
    os._exit(128 + number)
