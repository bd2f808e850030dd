"""SIGINT and SIGTERM held back until the state is saved.

Two kinds of program train. Under the command line a signal ends the process; it has said so beforehand, with
``end_process_by``. In any other program (a notebook, a server, a test) a stop is an exception in the caller:
``KeyboardInterrupt``, after the program's own handler has been called. Nothing here ends a process by itself.
"""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, TypeVar

SECONDS_PER_STEP: Final = 8.0
"""A step that takes longer than this after a signal is not waited for; the last checkpoint remains."""

_RESUMABLE: Final = "the run can be resumed from its last checkpoint"

Item = TypeVar("Item")


class Stopped(Exception):  # noqa: N818  # not an error
    """A signal has come."""


class _GivenUp(BaseException):
    """What was under way when a signal came is not waited for; the argument says what it was."""


_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

_end_process: Callable[[int, str], object] | None = None


def end_process_by(function: Callable[[int, str], object] | None) -> None:
    """Let a step that takes too long, and a second signal, end the process: for the command line alone.

    Args:
        function: Called with the signal's number and a message, in any thread; it does not return. None, the
            default, for programs whose process must survive.
    """
    global _end_process
    _end_process = function


class Interrupt:
    """A signal that has come and waits.

    Attributes:
        number: Of the signal; None as long as none has come.
    """

    def __init__(self, handlers: Mapping[int, Any] | None = None) -> None:
        """
        Args:
            handlers: The signals that are held back, with the handlers that they had before.
        """
        self.number: int | None = None
        self._handlers = handlers or {}
        self._is_bounded = False
        self._timer: threading.Timer | None = None

    def receive(self, number: int, frame: FrameType | None = None) -> None:
        """Note a signal; the second one does not wait for anything, not even for a save."""
        if self.number is not None:
            self._give_up(number)
        self.number = number
        if self._is_bounded:
            self._start_timer()

    def check(self, anyone: Callable[[bool], bool] = bool) -> None:
        """Raise ``Stopped`` if a signal has come.

        Args:
            anyone: Tells whether something holds in any of several processes: they stop in the same step.
        """
        if anyone(self.number is not None):
            self.number = self.number or signal.SIGTERM
            raise Stopped

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """Bound the time that the block takes after a signal: for steps, never for what saves.

        The block calls ``check`` after each step. A save outside may take as long as the disk needs.
        """
        self._is_bounded = True
        if self.number is not None:
            self._start_timer()
        try:
            yield
        finally:
            self._is_bounded = False
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def bounded_each(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield items; the time that each takes to be made is bounded, not what is done with it."""
        iterator = iter(items)
        while True:
            with self.bounded():
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    @contextmanager
    def released(self) -> Iterator[None]:
        """Let signals go to their old handlers inside the block: for work that nothing needs to save."""
        if self.number is not None:
            raise Stopped
        self.let_go()
        try:
            yield
        finally:
            self.hold()

    def hold(self) -> None:
        """Receive the signals from now on."""
        for number in self._handlers:
            signal.signal(number, self.receive)

    def let_go(self) -> None:
        """Give the signals back to their old handlers."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _start_timer(self) -> None:
        assert self.number is not None
        self._timer = threading.Timer(SECONDS_PER_STEP, self._wake_main_thread, [self.number])
        self._timer.daemon = True
        self._timer.start()

    def _wake_main_thread(self, number: int) -> None:
        """As a second signal, which may come in the middle of anything; called by the timer."""
        if not self._is_bounded:  # the step has ended just now
            return
        if _end_process is not None:
            _end_process(number, f"stopped in the middle of a step; {_RESUMABLE}")
        if hasattr(signal, "pthread_kill"):  # interrupts what waits: a sleep, a lock, a read
            main_thread = threading.main_thread().ident
            assert main_thread is not None
            signal.pthread_kill(main_thread, number)
        else:  # Windows
            _thread.interrupt_main(signal.Signals(number))

    def _give_up(self, number: int) -> None:
        message = f"stopped {'in the middle of a step' if self._is_bounded else 'while saving'}; {_RESUMABLE}"
        if _end_process is not None:
            _end_process(number, message)
        raise _GivenUp(message)


@contextmanager
def held_back(say: Callable[[str], object] = lambda text: None) -> Iterator[Interrupt]:
    """Hold SIGINT and SIGTERM back inside the block; at its end, what has come goes to its old handler.

    The block calls ``check`` now and then, saves when that raises ``Stopped``, and ends, with or without that
    exception. Outside the main thread, where Python allows no handlers, nothing is held back. A signal that
    is ignored, as under nohup, stays ignored; one whose handler was not installed by Python keeps it.

    Args:
        say: Told that a step was not waited for.

    Raises:
        KeyboardInterrupt: A signal has come. Its old handler may raise something else, or end the process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield Interrupt()
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    interrupt = Interrupt({n: each for n, each in before.items() if each not in (signal.SIG_IGN, None)})
    interrupt.hold()
    failed = False
    try:
        yield interrupt
    except Stopped:
        pass
    except _GivenUp as given_up:
        say(f"Warning: {given_up}.")
    except BaseException:  # what went wrong, a full disk while saving, is told instead of the signal
        failed = True
        raise
    finally:
        interrupt.let_go()
        if interrupt.number is not None and not failed:
            signal.raise_signal(interrupt.number)
            raise KeyboardInterrupt  # whatever the handler did: what was under way is not done
