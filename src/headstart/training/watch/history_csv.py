"""Writes ``history.csv``, with a row for each epoch of a run."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headstart.files import FilesToLookAt
from headstart.training.run.history import EpochRecord
from headstart.training.watch.watcher import RunStart, Watcher


class HistoryCsv(Watcher):
    """Keeps ``history.csv`` in the run folder up to date."""

    def __init__(self, say: Callable[[str], object]) -> None:
        """
        Args:
            say: Called with a warning where the file cannot be written.
        """
        self._files = FilesToLookAt(say)
        self._history: list[EpochRecord] = []

    def run_begun(self, start: RunStart) -> None:
        """Start with the history of a resumed run."""
        self._files.folder = start.path
        self._history = list(start.history)

    def epoch_done(self, record: EpochRecord, is_best: bool) -> None:
        """Add a row."""
        self._history.append(record)
        self._files.show("history.csv", history_csv(self._history))

    def run_finished(self, metrics: Mapping[str, Any]) -> None:
        """Write the file again if it could not be written."""
        if self._history:
            self._files.show("history.csv", history_csv(self._history))
        self._files.show_again()


def history_csv(history: Sequence[EpochRecord]) -> str:
    """Return the content of ``history.csv``.

    Args:
        history: At least one epoch.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, list(history[0].flat()), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.flat() for row in history)
    return text.getvalue()
