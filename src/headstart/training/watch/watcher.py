"""What a watcher is told of a run. It sees everything and can change nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from headstart.config import PhaseConfig, TrainConfig
from headstart.data.split import Splits
from headstart.records import Dataset, Listing
from headstart.training.run.history import EpochRecord


@dataclass(frozen=True)
class RunStart:
    """What is known when a run begins or is resumed.

    Attributes:
        path: The run folder.
        config: All settings, with the phases that the recipe has filled in.
        is_resumed: Whether this is an interrupted run that continues.
        history: The epochs that a resumed run has behind it; those after them are repeated, even if a
            watcher has seen them.
        best: The epoch whose weights are the best so far; None if there is none yet. Of a mixture, with the
            mixture's validation scores.
        share: Of that epoch's weights in the best ones; the rest is from before its phase.
    """

    path: Path
    config: TrainConfig
    is_resumed: bool = False
    history: tuple[EpochRecord, ...] = ()
    best: EpochRecord | None = None
    share: float = 1.0


@dataclass(frozen=True)
class PhotoCount:
    """How far a pass over photos is.

    Attributes:
        description: What the pass does: "Photos" reads them, "Features" computes the frozen part, and a
            phase's name trains it.
        done: How many photos are done.
        total: Of how many.
        seconds: Since the pass began.
        is_over: Whether the pass has ended, as planned or not.
        read_scores: Returns what ``scores`` says.
    """

    description: str
    done: int
    total: int
    seconds: float
    is_over: bool = False
    read_scores: Callable[[], str] = str

    @property
    def rate(self) -> float:
        """Photos per second."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float:
        """About how long the rest takes."""
        return (self.total - self.done) / self.rate if self.rate else 0.0

    @property
    def scores(self) -> str:
        """The loss and the headline so far, in words; empty where nothing is scored."""
        return self.read_scores()


@runtime_checkable
class Watcher(Protocol):
    """Sees what happens in a run. Derive from it and write the methods that you need; the others do nothing.

    All methods are called in the main process only, one after the other, between steps. What they are given
    is theirs: changing it, or the state of random generators, changes nothing in the run. A method that
    raises an ``Exception`` is reported once, and its watcher is not called again in this run.
    """

    def progressed(self, count: PhotoCount) -> None:
        """A pass over photos has begun, is under way (at most ten times a second), or is over."""
        return

    def run_begun(self, start: RunStart) -> None:
        """The photos have been read and the run folder exists; also when a run is resumed."""
        return

    def photos_read(self, listing: Listing, dataset: Dataset, splits: Splits) -> None:
        """It is known which photos can be used, and for what."""
        return

    def phase_begun(self, phase: PhaseConfig, frozen_stages: tuple[str, ...], num_trainable: int) -> None:
        """A phase begins, or continues in a resumed run; it trains ``num_trainable`` parameters."""
        return

    def head_solved(self, summary: Mapping[str, Any]) -> None:
        """A head has been solved exactly; ``summary`` is what ``metrics.json`` says under ``head``."""
        return

    def epoch_done(self, record: EpochRecord, is_best: bool) -> None:
        """An epoch has been trained and scored; ``record`` is its row of ``history.csv``."""
        return

    def mixture_found(self, record: EpochRecord, share: float) -> None:
        """A mixture of weights from before and after a phase is the best so far.

        Args:
            record: The epoch's numbers, with the mixture's validation scores.
            share: Of the epoch's weights, in 0..1.
        """
        return

    def run_finished(self, metrics: Mapping[str, Any]) -> None:
        """The model is written and scored; ``metrics`` is the content of ``metrics.json``."""
        return

    def run_stopped(self, error: BaseException) -> None:
        """The run ends unfinished: by an ``Exception``, or by a signal (another ``BaseException``)."""
        return


METHODS = tuple(name for name, value in vars(Watcher).items() if callable(value) and not name.startswith("_"))
"""The names of a watcher's methods."""
