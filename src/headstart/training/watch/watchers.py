"""Calls all watchers of a run. If one fails, it is not called again, and the run continues."""

from __future__ import annotations

import contextlib
import copy
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import numpy as np

from headstart.config import PhaseConfig
from headstart.data.split import Splits
from headstart.records import Dataset, Listing
from headstart.training.run.history import EpochRecord
from headstart.training.watch.counting import Counter
from headstart.training.watch.history_csv import HistoryCsv
from headstart.training.watch.named import watchers_of
from headstart.training.watch.notebook import NotebookBar, in_notebook
from headstart.training.watch.terminal import Terminal
from headstart.training.watch.watcher import PhotoCount, RunStart, Watcher


class Watchers:
    """Calls all watchers; the methods are those of ``Watcher``.

    As a context manager, it calls ``run_stopped`` if the block raises after the run has begun.
    """

    def __init__(
        self, watchers: Iterable[Watcher], say: Callable[[str], object], *, quiet: bool = False
    ) -> None:
        """
        Args:
            watchers: In the order in which they are told.
            say: Shows a person a sentence.
            quiet: Tell none of them: for every process but the main one.
        """
        self._show = say
        self._held: list[str] | None = None
        self._quiet = quiet
        self._watchers: list[Watcher] = []
        self.add(*watchers)
        self._has_begun = self._is_running = False

    @classmethod
    def of_screen(cls, *, quiet: bool = False, verbose: bool = True) -> Self:
        """Return the watchers of a command that does not train a model: only the terminal or notebook.

        Args:
            quiet: Show nothing, for all processes except the main one.
            verbose: False shows nothing either, but other watchers, which may be added, are called.
        """
        bars: list[Watcher] = [NotebookBar()] if verbose and in_notebook() else []
        terminal = Terminal(quiet=quiet or not verbose, in_notebook=bool(bars))
        return cls([terminal, *bars], terminal.say, quiet=quiet)

    @classmethod
    def of_run(
        cls,
        names: Sequence[str] = (),
        others: Sequence[Watcher] = (),
        *,
        quiet: bool = False,
        verbose: bool = True,
    ) -> Self:
        """Return the watchers of a run.

        Args:
            names: Names of watchers from the settings.
            others: Watchers of the user.
            quiet: Show and write nothing, for all processes except the main one.
            verbose: As for ``of_screen``.

        Raises:
            MissingPackageError: A package that a named watcher needs is not installed.
        """
        watchers = cls.of_screen(quiet=quiet, verbose=verbose)
        watchers.add(HistoryCsv(watchers.say), *watchers_of(names), *others)
        return watchers

    def add(self, *watchers: Watcher) -> None:
        """Add watchers for all later events."""
        if not self._quiet:
            self._watchers += watchers

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        has_failed = isinstance(error, Exception)  # also after run_finished, while metrics.json was written
        if (has_failed and self._has_begun) or (error is not None and self._is_running):
            self._tell("run_stopped", error)

    def say(self, text: str) -> None:
        """Show a person a sentence."""
        if self._held is None:
            self._show(text)
        else:
            self._held.append(text)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Show what the block says at its end, and nothing if it fails: then the error stands alone."""
        self._held = []
        try:
            yield
            said = self._held
        finally:
            self._held = None
        for text in said:
            self.say(text)

    @contextmanager
    def counting(self, description: str, total: int, headline: str = "") -> Iterator[Counter]:
        """Report progress over ``total`` photos, and the task's main score if it is given."""
        counter = Counter(description, total, headline, self.progressed)
        try:
            yield counter
        finally:
            counter.end()

    def progressed(self, count: PhotoCount) -> None:
        """See ``Watcher``, also for the following methods."""
        self._tell("progressed", count)

    def run_begun(self, start: RunStart) -> None:
        """See ``Watcher``."""
        self._has_begun = self._is_running = True
        self._tell("run_begun", start)

    def photos_read(self, listing: Listing, dataset: Dataset, splits: Splits) -> None:
        """See ``Watcher``."""
        self._tell("photos_read", listing, dataset, splits)

    def phase_begun(self, phase: PhaseConfig, frozen_stages: Sequence[str], num_trainable: int) -> None:
        """See ``Watcher``."""
        self._tell("phase_begun", phase, tuple(frozen_stages), num_trainable)

    def head_solved(self, summary: Mapping[str, Any]) -> None:
        """See ``Watcher``."""
        self._tell("head_solved", dict(summary))

    def epoch_done(self, record: EpochRecord, is_best: bool) -> None:
        """See ``Watcher``."""
        self._tell("epoch_done", record, is_best)

    def mixture_found(self, record: EpochRecord, share: float) -> None:
        """See ``Watcher``."""
        self._tell("mixture_found", record, share)

    def run_finished(self, metrics: Mapping[str, Any]) -> None:
        """See ``Watcher``."""
        self._tell("run_finished", dict(metrics))
        self._is_running = False

    def _tell(self, method: str, *facts: object) -> None:
        if not self._watchers:
            return
        with _same_random_numbers():
            for watcher in list(self._watchers):
                try:
                    getattr(watcher, method)(*map(_own, facts))
                except Exception as error:  # whatever a watcher's library raises: it is not worth the run
                    self._watchers.remove(watcher)
                    with contextlib.suppress(Exception):  # it may be the screen that has failed
                        self.say(
                            f"Warning: the watcher {type(watcher).__name__} failed and is not called again "
                            f"in this run, which continues: {type(error).__name__}: {error}"
                        )


def _own(fact: object) -> object:
    """Return a copy of a mutable argument; other arguments are frozen at every level."""
    return copy.deepcopy(fact) if isinstance(fact, (dict, EpochRecord, RunStart)) else fact


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Restore the global random generators after the block."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    torch = sys.modules.get("torch")
    own = torch.get_rng_state() if torch else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        if torch:
            torch.set_rng_state(own)
