"""Whether the work of a thread is still wanted: what waits for a server asks, so that nobody waits for it."""

from __future__ import annotations

import threading
import time
from typing import Final

_THREAD: Final = threading.local()


def end_with(stopped: threading.Event) -> None:
    """Let the work of this thread end once an event is set; called at the thread's beginning."""
    _THREAD.stopped = stopped


def is_wanted() -> bool:
    """Return whether somebody still waits for the result of this thread; always True for other threads."""
    stopped: threading.Event | None = getattr(_THREAD, "stopped", None)
    return stopped is None or not stopped.is_set()


def pause(seconds: float) -> None:
    """Wait, but not beyond the time when the result of this thread is no longer wanted."""
    stopped: threading.Event | None = getattr(_THREAD, "stopped", None)
    if stopped is None:
        time.sleep(seconds)
    else:
        stopped.wait(seconds)
