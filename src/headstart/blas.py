"""NumPy's linear algebra (BLAS) in one thread, so that its bits do not depend on the number of cores."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Limit BLAS to one thread, in the whole process, while any thread is inside.

    If each thread stored and restored the number of threads by itself, one that entered during the limit of
    another would restore that limit, which would then remain; or the other would end its limit too early.
    """
    _shared.enter()
    try:
        with threadpool_limits(1, "blas"):  # where the limit is one of the thread: OpenBLAS with OpenMP
            yield
    finally:
        _shared.leave()


class _SharedLimit:
    """The limit of all threads that are inside.

    A thread of its own sets and ends it, because threadpoolctl ignores what other threads than the first set.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_inside = 0
        self._is_set = self._is_over = threading.Event()
        self._keeper = threading.Thread()

    def enter(self) -> None:
        with self._lock:
            if self._num_inside == 0:
                self._is_set, self._is_over = threading.Event(), threading.Event()
                self._keeper = threading.Thread(target=self._keep, daemon=True)
                try:
                    self._keeper.start()
                    self._is_set.wait()
                except BaseException:  # interrupted
                    self._is_over.set()
                    raise
            self._num_inside += 1

    def leave(self) -> None:
        with self._lock:
            self._num_inside -= 1
            if self._num_inside == 0:
                self._is_over.set()
                self._keeper.join()

    def _keep(self) -> None:
        try:
            with threadpool_limits(1, "blas"):
                self._is_set.set()
                self._is_over.wait()
        finally:
            self._is_set.set()


_shared = _SharedLimit()
