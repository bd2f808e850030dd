"""The progress of training as plain numbers, so that a checkpoint can hold it."""

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
        record: The epoch's numbers; of a mixture, with the mixture's validation scores.
        file: The weights' file, in the run's ``checkpoints``.
        share: Of the epoch's weights, if they are mixed with those from before the phase; 1 if not.
    """

    record: EpochRecord
    file: str
    share: float = 1.0


@dataclass
class Progress:
    """How far training is.

    Attributes:
        phase: Index of the current phase; the number of phases when all are done.
        epoch: Finished epochs of that phase.
        batch: Finished batches of the epoch after that.
        totals: (3,) sums of losses, of the headline and of photos of those batches, as this process
            has counted.
        seconds: Spent by earlier processes.
        history: One record per finished epoch, over all phases.
        best: The best weights so far.
        is_over: Whether the time budget is spent, in any process: see ``has_run_long``.
        start: File of the weights that the phase began with; None for those of the pretrained network.
        head: How the head was solved, as ``SolvedHead.summary`` returns it; empty if it was not.
        scale: Of predicted numbers; None before it is known.
        micro_batches: By phase, photos in one pass of a process in ``training`` and in ``scoring``, where
            memory has run out.
    """

    phase: int = 0
    epoch: int = 0
    batch: int = 0
    totals: Tensor | None = None
    seconds: float = 0.0
    history: list[EpochRecord] = field(default_factory=list)
    best: Best | None = None
    is_over: bool = False
    start: str | None = None
    micro_batches: dict[str, dict[str, int]] = field(default_factory=dict)
    head: dict[str, Any] = field(default_factory=dict)
    scale: Scale | None = None

    def keep_scale(self, scale: Scale) -> Scale:
        """Return the scale of predicted numbers that the run began with; at its beginning, the one given.

        It differs only where a run is resumed by force with other photos: the weights have learned to answer
        in the first one.
        """
        if self.scale is None:
            self.scale = scale
        return self.scale

    def steps_done(self, batches: int, totals: Tensor) -> None:
        """Note how many batches of the epoch are done, and what they came to."""
        self.batch, self.totals = batches, totals

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
        """Yield the phases that are not done, as long as there is time."""
        while self.phase < len(config.phases) and not self.out_of_time:
            yield config.phases[self.phase]

    def remaining_epochs(self, config: TrainConfig) -> Iterator[int]:
        """Yield the numbers, from 1, of the phase's epochs until it is done, out of patience or of time."""
        phase = config.phases[self.phase]
        while (
            self.epoch < phase.epochs
            and not self._out_of_patience(phase, config.select)
            and not self.out_of_time
        ):
            yield self.epoch + 1

    @property
    def out_of_time(self) -> bool:
        """Whether the time budget is spent and there are weights to keep."""
        return self.best is not None and self.is_over

    def has_run_long(self, config: TrainConfig) -> bool:
        """Tell whether this process has spent the time budget; the others may see another time."""
        return config.max_minutes is not None and self.elapsed() > 60 * config.max_minutes

    def elapsed(self) -> float:
        """Return the seconds that all processes of this run have taken until now."""
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
        totals = None if self.totals is None else self.totals.tolist()
        return {**asdict(dataclasses.replace(self, totals=None)), "totals": totals, "seconds": self.elapsed()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Progress:
        """Build from what ``to_dict`` returned."""
        best, scale = values["best"], values.get("scale")
        return cls(
            **{
                **values,
                "totals": values["totals"] and torch.tensor(values["totals"]),
                "history": [EpochRecord(**row) for row in values["history"]],
                "scale": scale and Scale(tuple(scale["mean"]), tuple(scale["std"])),
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
