"""Measures times for ``metrics.json``."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up wall-clock seconds by activity, and in total."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        """Measure the time inside the block."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self._seconds[what] += time.monotonic() - begun

    def seconds(self) -> dict[str, float]:
        """Return the measured seconds by activity, with the total first."""
        total = time.monotonic() - self._begun
        return {what: round(s, 3) for what, s in {"total": total, **self._seconds}.items()}
