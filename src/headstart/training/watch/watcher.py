"""The protocol of watchers, which see everything in a run and can change nothing."""

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
    """Information about a run that begins or is resumed.

    Attributes:
        path: Path of the run folder.
        config: All settings, with the phases filled in.
        is_resumed: Whether an interrupted run continues.
        history: Finished epochs of a resumed run. Later epochs are repeated, even if a watcher has seen them
            before.
        best: The epoch with the best weights so far; None if there is none yet. For a mixture of weights,
            with its validation scores.
        share: Fraction of that epoch's weights in the best weights; the rest are weights from before its
            phase.
    """

    path: Path
    config: TrainConfig
    is_resumed: bool = False
    history: tuple[EpochRecord, ...] = ()
    best: EpochRecord | None = None
    share: float = 1.0


@dataclass(frozen=True)
class PhotoCount:
    """The progress of a pass over photos.

    Attributes:
        description: Name of the pass: "Photos" reads photos, "Features" computes the frozen part, and the
            name of a phase trains it.
        done: Number of finished photos.
        total: Total number of photos.
        seconds: Seconds since the pass began.
        is_over: Whether the pass has ended, complete or not.
        read_scores: Returns the value of ``scores``.
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
        """Estimated seconds until the end of the pass."""
        return (self.total - self.done) / self.rate if self.rate else 0.0

    @property
    def scores(self) -> str:
        """The loss and the main score so far as text; empty if nothing is scored."""
        return self.read_scores()


@runtime_checkable
class Watcher(Protocol):
    """Base class of watchers. Derive from it and override the methods that you need; the others do nothing.

    All methods are called only in the main process, one after the other, between steps. Arguments are copies:
    changing them, or the state of random generators, does not affect the run. If a method raises an
    ``Exception``, it is reported once, and the watcher is not called again in this run.
    """

    def progressed(self, count: PhotoCount) -> None:
        """A pass over photos has begun, is running (called at most ten times a second), or has ended."""
        return

    def run_begun(self, start: RunStart) -> None:
        """The photos have been read and the run folder exists. Also called when a run is resumed."""
        return

    def photos_read(self, listing: Listing, dataset: Dataset, splits: Splits) -> None:
        """The usable photos and their splits are known."""
        return

    def phase_begun(self, phase: PhaseConfig, frozen_stages: tuple[str, ...], num_trainable: int) -> None:
        """A phase begins, or continues in a resumed run; ``num_trainable`` parameters are trained."""
        return

    def head_solved(self, summary: Mapping[str, Any]) -> None:
        """A head has been solved; ``summary`` is the entry ``head`` of ``metrics.json``."""
        return

    def epoch_done(self, record: EpochRecord, is_best: bool) -> None:
        """An epoch has been trained and scored; ``record`` is its row of ``history.csv``."""
        return

    def mixture_found(self, record: EpochRecord, share: float) -> None:
        """A mixture of weights from before and after a phase is the best so far.

        Args:
            record: Scores of the epoch, with the validation scores of the mixture.
            share: Fraction of the epoch's weights in the mixture, in 0..1.
        """
        return

    def run_finished(self, metrics: Mapping[str, Any]) -> None:
        """The model has been written and scored; ``metrics`` is the content of ``metrics.json``."""
        return

    def run_stopped(self, error: BaseException) -> None:
        """The run has ended unfinished, by an ``Exception`` or by a signal (another ``BaseException``)."""
        return


METHODS = tuple(name for name, value in vars(Watcher).items() if callable(value) and not name.startswith("_"))
"""Names of the methods of a watcher."""
