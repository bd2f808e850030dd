"""The progress of training as plain numbers, for checkpoints."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from headstart.columns import counted
from headstart.config import PhaseConfig, TrainConfig
from headstart.data.targets import Scale
from headstart.training.run.history import EpochRecord


@dataclass(frozen=True)
class Best:
    """The best weights so far.

    Attributes:
        record: Scores of the epoch; for a mixture of weights, with its validation scores.
        file: Name of the file of weights in the run's ``checkpoints``.
        share: Fraction of the epoch's weights in a mixture with the weights before the phase; 1 without
            mixing.
    """

    record: EpochRecord
    file: str
    share: float = 1.0


@dataclass
class Progress:
    """The progress of training.

    Attributes:
        phase: Index of the current phase; the number of phases if all are done.
        epoch: Number of finished epochs of that phase.
        batch: Number of finished batches of the current epoch.
        totals: (3,): sums over these batches, in this process, of losses, of the main score, and of photos.
        gathered: The same of all processes in their order, since the last batch; None if they have not been
            exchanged since.
        seconds: Seconds spent by earlier processes.
        history: One record per finished epoch, over all phases.
        best: The best weights so far.
        is_over: Whether the time limit has been reached, in any process: see ``has_run_long``.
        floor: Scores of the weights at the beginning of the phase; None in the first phase.
        start: File of the weights at the beginning of the phase; None for those of the pretrained network.
        head: Results of solving the head, from ``SolvedHead.summary``; empty if it was not solved.
        scale: Standardisation of predicted numbers; None before it is known.
        near: SHA-256 of the photos of each pair of near-duplicates, which the splits depend on; None if they
            are not known.
        micro_batches: For each phase in which memory has run out, the number of photos per pass in
            ``training`` and in ``scoring``.
    """

    phase: int = 0
    epoch: int = 0
    batch: int = 0
    totals: Tensor | None = None
    gathered: list[list[float]] | None = None
    seconds: float = 0.0
    history: list[EpochRecord] = field(default_factory=list)
    best: Best | None = None
    is_over: bool = False
    floor: EpochRecord | None = None
    start: str | None = None
    micro_batches: dict[str, dict[str, int]] = field(default_factory=dict)
    head: dict[str, Any] = field(default_factory=dict)
    scale: Scale | None = None
    near: list[tuple[str, str]] | None = None

    def keep_scale(self, scale: Scale) -> Scale:
        """Return the standardisation with which the run began; at its beginning, the one given.

        They differ only if a run is resumed by force with other photos. The weights have been trained with
        the first one.
        """
        if self.scale is None:
            self.scale = scale
        return self.scale

    def steps_done(self, batches: int, totals: Tensor) -> None:
        """Note how many batches of the epoch are done, and what they came to."""
        self.batch, self.totals, self.gathered = batches, totals, None

    def take_totals(self, process: int, num_processes: int) -> None:
        """Take this process's part of the totals in a checkpoint; the sum is that of the checkpoint."""
        found, self.gathered = self.gathered, None
        if found is None:
            return
        if len(found) != num_processes:  # an older checkpoint, or one that an error has left
            found = [torch.tensor(found).sum(0).tolist(), *[[0.0] * 3] * (num_processes - 1)]
        self.totals = torch.tensor(found[process])

    def note_micro_batches(self, phase: PhaseConfig, sizes: Mapping[str, int]) -> bool:
        """Note how many photos a process takes in one pass, where memory has run out.

        Returns:
            Whether that has changed.
        """
        if self.micro_batches.get(phase.name, {}) == dict(sizes):
            return False
        self.micro_batches[phase.name] = dict(sizes)
        return True

    def by_phase(self, phases: Sequence[PhaseConfig]) -> list[dict[str, Any]]:
        """Return the history phase by phase, as ``metrics.json`` has it."""
        found = []
        for phase in phases:
            of_phase: dict[str, Any] = {"name": phase.name, "unfrozen": phase.unfreeze}
            if phase.name in self.micro_batches:
                of_phase["micro_batch"] = self.micro_batches[phase.name]
            epochs = [record.of_phase() for record in self.history if record.phase == phase.name]
            found.append({**of_phase, "epochs": epochs})
        return found

    def __post_init__(self) -> None:
        self._begun = time.monotonic() - self.seconds

    def remaining(self, config: TrainConfig) -> Iterator[PhaseConfig]:
        """Yield the phases that are not done, until the time limit is reached."""
        while self.phase < len(config.phases) and not self.out_of_time:
            yield config.phases[self.phase]

    def remaining_epochs(self, config: TrainConfig) -> Iterator[int]:
        """Yield the remaining epochs of the phase, from 1, until early stopping or the time limit."""
        phase = config.phases[self.phase]
        while (
            self.epoch < phase.epochs
            and not self._out_of_patience(phase, config.select)
            and not self.out_of_time
        ):
            yield self.epoch + 1

    @property
    def out_of_time(self) -> bool:
        """Whether the time limit has been reached and there are weights to keep."""
        return self.best is not None and self.is_over

    def has_run_long(self, config: TrainConfig) -> bool:
        """Return whether this process has reached the time limit; other processes may differ."""
        return config.max_minutes is not None and self.elapsed() > 60 * config.max_minutes

    def elapsed(self) -> float:
        """Return the seconds that all processes of this run have taken so far."""
        return time.monotonic() - self._begun

    def place(self, config: TrainConfig) -> str:
        """Return the phase, epoch and batch in words."""
        if self.phase >= len(config.phases):
            return "after the last phase"
        name = config.phases[self.phase].name
        batches = counted(self.batch, "batch", "batches")
        return f"in phase {name}, after {counted(self.epoch, 'epoch')} and {batches}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        gathered = None if self.totals is None else self.gathered or [self.totals.tolist()]
        state = asdict(dataclasses.replace(self, totals=None, gathered=gathered))
        return {**state, "seconds": self.elapsed()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Progress:
        """Create from the result of ``to_dict``; ``take_totals`` completes it."""
        best, floor, scale = values["best"], values.get("floor"), values.get("scale")
        own = values["totals"]  # in an older checkpoint, those of the main process
        return cls(
            **{
                **values,
                "totals": None,
                "gathered": values.get("gathered") or (own and [own]),
                "history": [EpochRecord(**row) for row in values["history"]],
                "scale": scale and Scale(tuple(scale["mean"]), tuple(scale["std"])),
                "near": None if (near := values.get("near")) is None else [(a, b) for a, b in near],
                "floor": floor and EpochRecord(**floor),
                "best": best and Best(**{**best, "record": EpochRecord(**best["record"])}),
            }
        )

    def _out_of_patience(self, phase: PhaseConfig, select: str) -> bool:
        if phase.patience is None:
            return False
        rows = [row for row in self.history if row.phase == phase.name]
        best: EpochRecord | None = None
        for row in rows:
            if row.is_better_than(best, select):
                best = row
        return best is not None and len(rows) - best.epoch >= phase.patience
