"""Counts the photos of a pass and reports its progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final, TypeVar

from headstart.training.watch.watcher import PhotoCount

if TYPE_CHECKING:
    from torch import Tensor

Item = TypeVar("Item")

SECONDS_BETWEEN_REPORTS: Final = 0.1
_STEPS_BETWEEN_SCORES: Final = 8  # on a GPU, which has to be waited for


class Counter:
    """Counts photos.

    Args:
        description: Name of the pass.
        total: Number of photos.
        headline: Name of the task's main score; empty if nothing is scored.
        report: Called with a ``PhotoCount`` at the beginning and at most ten times a second.
    """

    def __init__(
        self, description: str, total: int, headline: str, report: Callable[[PhotoCount], object]
    ) -> None:
        self._description, self._total, self._headline, self._report = description, total, headline, report
        self._done, self._calls, self._read_at, self._scores = 0, 0, -_STEPS_BETWEEN_SCORES, ""
        self._totals: Tensor | None = None
        self._begun = self._reported = time.monotonic()
        report(self._count())

    def advance(self, photos: int = 1, totals: Tensor | None = None) -> None:
        """Add finished photos.

        Args:
            photos: Number of photos that have been finished.
            totals: Sums over the epoch so far: losses, main score, photos. Read only when it is displayed,
                because reading waits for the device.
        """
        self._done += photos
        self._calls += 1
        self._totals = totals
        if time.monotonic() - self._reported >= SECONDS_BETWEEN_REPORTS:
            self._reported = time.monotonic()
            self._report(self._count())

    def each(self, photos: Iterable[Item]) -> Iterator[Item]:
        """Yield the items of a pass over photos, and count them."""
        for photo in photos:
            yield photo
            self.advance()

    def end(self) -> None:
        """Report that the pass has ended."""
        self._totals = None
        self._report(self._count(is_over=True))

    def _count(self, *, is_over: bool = False) -> PhotoCount:
        seconds = time.monotonic() - self._begun
        return PhotoCount(self._description, self._done, self._total, seconds, is_over, self._running_scores)

    def _running_scores(self) -> str:
        totals = self._totals
        if totals is None:
            return ""
        if totals.device.type == "cpu" or self._calls - self._read_at >= _STEPS_BETWEEN_SCORES:
            self._read_at = self._calls
            loss, score, count = totals.tolist()
            self._scores = f"loss {loss / count:.3f}, {self._headline} {score / count:.3f}" if count else ""
        return self._scores
