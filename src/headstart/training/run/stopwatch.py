"""Where the time went: ``metrics.json``'s seconds."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Stopwatch:
    """Adds up wall seconds by what they were spent on, and in total."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        """Count the time inside the block."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self._seconds[what] += time.monotonic() - begun

    def seconds(self) -> dict[str, float]:
        """Return what has been counted so far, the total first."""
        total = time.monotonic() - self._begun
        return {what: round(s, 3) for what, s in {"total": total, **self._seconds}.items()}
