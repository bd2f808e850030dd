"""Delays SIGINT and SIGTERM until the state of training is saved.

Two kinds of programs train. On the command line, a signal ends the process, as registered with
``end_process_by``. In any other program (a notebook, a server, a test), an interruption raises
``KeyboardInterrupt`` in the caller, after the program's own handler has been called. This module never ends a
process itself.
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
"""Seconds after a signal for which a step may run; then it is abandoned and the last checkpoint remains."""

_RESUMABLE: Final = "the run can be resumed from its last checkpoint"

Item = TypeVar("Item")


class Stopped(Exception):  # noqa: N818  # not an error
    """A signal has been received."""


class _GivenUp(BaseException):
    """Work in progress is abandoned because of a signal; the argument describes the work."""


_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

_end_process: Callable[[int, str], object] | None = None


def end_process_by(function: Callable[[int, str], object] | None) -> None:
    """Set the function that ends the process after a second signal or a slow step; for the command line.

    Args:
        function: Called with the number of the signal and a message, in any thread; it does not return. None,
            the default, for programs that must not be ended.
    """
    global _end_process
    _end_process = function


class Interrupt:
    """Receives signals and stores them until they are checked.

    Attributes:
        number: Number of the signal; None before any signal.
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
        """Store a signal; a second one interrupts any work, including saving."""
        if self.number is not None:
            self._give_up(number)
        self.number = number
        if self._is_bounded:
            self._start_timer()

    def check(self, anyone: Callable[[bool], bool] = bool) -> None:
        """Raise ``Stopped`` if a signal has been received.

        Args:
            anyone: Returns whether a condition holds in any of several processes, so that all stop in the
                same step.
        """
        if anyone(self.number is not None):
            self.number = self.number or signal.SIGTERM
            raise Stopped

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """Limit the time that the block may take after a signal: for training steps, never for saving.

        The block calls ``check`` after each step. Saving outside the block has no time limit.
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
        """Yield items, limiting the time for producing each of them, but not the time for using it."""
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
        """Restore the old handlers inside the block, for work that need not be saved."""
        if self.number is not None:
            raise Stopped
        self.let_go()
        try:
            yield
        finally:
            self.hold()

    def hold(self) -> None:
        """Start to receive the signals."""
        for number in self._handlers:
            signal.signal(number, self.receive)

    def let_go(self) -> None:
        """Restore the old handlers of the signals."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _start_timer(self) -> None:
        assert self.number is not None
        self._timer = threading.Timer(SECONDS_PER_STEP, self._wake_main_thread, [self.number])
        self._timer.daemon = True
        self._timer.start()

    def _wake_main_thread(self, number: int) -> None:
        """Interrupt the main thread like a second signal; called by the timer."""
        if not self._is_bounded:  # the step has ended just now
            return
        if _end_process is not None:
            _end_process(number, f"stopped during a step; {_RESUMABLE}")
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
    """Delay SIGINT and SIGTERM inside the block; at its end, call the old handler of a received signal.

    The block calls ``check`` regularly, saves if that raises ``Stopped``, and ends, with or without that
    exception. Outside the main thread, where Python does not allow handlers, signals are not delayed. A
    signal that is ignored, for example under nohup, stays ignored; a handler that was not installed by Python
    is kept.

    Args:
        say: Called with a sentence if a step was abandoned.

    Raises:
        KeyboardInterrupt: A signal has been received. Its old handler may raise another exception, or end the
            process.
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
