"""The threads that answer photos, and the bounded queue in front of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from headstart.cores import num_cores
from headstart.serving.problems import Problem

_LEAST_RETRY_SECONDS: Final = 1
_USUAL_SECONDS: Final = 0.02  # of a photo, before any has been answered
_WEIGHT: Final = 0.05  # of the newest photo in the running mean


class Workers:
    """Threads that each answer one photo after another, in the order of their arrival.

    Args:
        queue: Most photos that wait.
        threads: Number of threads; by default one per core.
    """

    def __init__(self, queue: int, threads: int | None = None) -> None:
        self._threads = threads or num_cores()
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="headstart-serve")
        self._most = queue + self._threads
        self._lock = threading.Lock()
        self._unfinished = 0
        self._seconds = _USUAL_SECONDS

    @property
    def waiting(self) -> int:
        """Number of photos that wait for a thread."""
        return max(0, self._unfinished - self._threads)

    def refuse(self, count: int) -> None:
        """Raise ``Problem`` if ``count`` more photos would not fit into the queue.

        Raises:
            Problem: The queue is full.
        """
        if self._unfinished + count > self._most:
            seconds = max(_LEAST_RETRY_SECONDS, round(self._unfinished * self._seconds / self._threads + 0.5))
            raise Problem(
                "queue_full",
                f"Too many photos are waiting. Try again in {seconds} s.",
                {"Retry-After": str(seconds)},
            )

    def submit(self, tasks: Sequence[Callable[[], bytes]]) -> list[asyncio.Future[bytes]]:
        """Queue tasks, each of which answers a photo. Called in the event loop.

        Args:
            tasks: Called in threads.

        Returns:
            Results. A result that is cancelled before its task begins is never computed.

        Raises:
            Problem: The queue is full.
        """
        self.refuse(len(tasks))
        with self._lock:
            self._unfinished += len(tasks)
        results = []
        for task in tasks:
            future = self._pool.submit(task)
            future.add_done_callback(self._finished)
            results.append(asyncio.wrap_future(future))
        return results

    def took(self, seconds: float) -> None:
        """Record how long a photo took, for the header ``Retry-After``."""
        self._seconds += _WEIGHT * (seconds - self._seconds)

    def close(self) -> None:
        """Finish what is running, and drop what waits."""
        self._pool.shutdown(cancel_futures=True)

    def _finished(self, _: Future[bytes]) -> None:
        with self._lock:
            self._unfinished -= 1


class ClientGone(Exception):  # noqa: N818  # not an error
    """The client has closed its connection before the answer."""


async def unless_gone(results: Sequence[asyncio.Future[bytes]], gone: Awaitable[None]) -> list[bytes]:
    """Wait for results, unless the client goes away first; what has not begun is dropped then.

    Args:
        results: From ``submit``.
        gone: Ends when the client has gone.

    Raises:
        ClientGone: The client has gone.
    """
    watch = asyncio.ensure_future(gone)
    watch.add_done_callback(lambda _: _cancel(results))
    try:
        return [await each for each in results]
    except asyncio.CancelledError:
        if watch.done() and not watch.cancelled():
            raise ClientGone from None
        raise  # the service is being stopped
    finally:
        watch.cancel()
        _cancel(results)


def _cancel(results: Sequence[asyncio.Future[bytes]]) -> None:
    for each in results:
        each.cancel()
