"""What one phase would do, as ``headstart train --dry-run`` describes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from headstart.columns import counted, round_numbers, table
from headstart.config import PhaseConfig
from headstart.config.operations import operations_of
from headstart.training.steps.schedule import lr_factor

if TYPE_CHECKING:
    from headstart.training.steps.features import Storage

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_WIDTH: Final = 60  # of a drawing, in characters
_MARGIN: Final = 13  # of what stands right of a name such as "optimiser"

# Settings of a phase that are named if they are not the defaults; the others have a line of their own.
_ALSO: Final = (
    *("norm", "clip_norm", "label_smoothing", "class_weights", "sampling", "mixup", "cutmix"),
    *("mirror", "ema", "patience", "wise_ft"),
)


@dataclass(frozen=True)
class PhasePlan:
    """What one phase would do.

    Attributes:
        phase: Its settings.
        frozen: Names of the stages that are computed once.
        trained: Names of those that are trained: the others' that have parameters.
        groups: The optimiser's.
        storage: What becomes of the frozen part's output.
        steps_per_epoch: Of the optimiser.
        prefix_rate: Photos a second through the frozen part; infinite if nothing is frozen.
        epoch_seconds: Of an epoch's steps and scores, without the frozen part.
        checkpoint_bytes: Of one checkpoint.
        best_bytes: Of one file of best weights.
    """

    phase: PhaseConfig
    frozen: Sequence[str]
    trained: Sequence[str]
    groups: Sequence[dict[str, Any]]
    storage: Storage
    steps_per_epoch: int
    prefix_rate: float
    epoch_seconds: float
    checkpoint_bytes: int
    best_bytes: int

    @property
    def seconds(self) -> float:
        """Wall time, without reading photos."""
        return self.storage.num_photos / self.prefix_rate + self.phase.epochs * self.epoch_seconds

    def lines(self) -> Iterator[str]:
        """Describe it."""
        phase, storage = self.phase, self.storage
        num_trained = sum(parameter.numel() for group in self.groups for parameter in group["params"])
        yield line("trained", f"{', '.join(self.trained)}: {num_trained:,} parameters")
        yield line("frozen", ", ".join(self.frozen) or "nothing")
        if phase.optimizer == "exact":
            yield line("optimiser", "none: the head is solved exactly")
        else:
            momentum = f", momentum {phase.momentum:g}" if phase.optimizer == "sgd" else ""
            batches = f", {phase.accumulate} batches per step" if phase.accumulate > 1 else ""
            yield line("optimiser", f"{phase.optimizer}{momentum}{batches}")
            yield from (line("", row) for row in _table(self.groups))
            yield from self._schedule_lines()
        yield line("photos", _photos(phase))
        if self.frozen:
            how = "stored" if storage.keep else "computed in every epoch"
            yield line("features", f"{how}: {storage.why}")
        defaults = PhaseConfig()
        also = [
            f"{name} = {getattr(phase, name)!r}"
            for name in _ALSO
            if getattr(phase, name) != getattr(defaults, name)
        ]
        if also:
            yield line("also", ", ".join(also))
        yield line("time", f"about {duration(self.seconds)}: {self._time()}")

    def _schedule_lines(self) -> Iterator[str]:
        phase, steps = self.phase, self.steps_per_epoch
        largest = max(group["lr"] for group in self.groups)
        rates = [largest * lr_factor(phase, step, steps) for step in range(phase.epochs * steps)]
        yield line("schedule", _schedule(phase))
        yield line("", sparkline(rates))
        yield line("", epoch_axis(phase.epochs))
        yield line("", f"{min(rates):.3g} to {max(rates):.3g}, the largest of the groups")

    def _time(self) -> str:
        parts = []
        if self.frozen and self.storage.num_photos:  # else an earlier phase's pass has served this one
            rate = f"{self.prefix_rate:,.0f}" if self.prefix_rate < 1e5 else "many"
            parts.append(f"{self.storage.num_photos:,} photos through the frozen part at {rate} a second")
        if self.phase.optimizer == "exact":
            parts.append("solving the head, which takes seconds")
        else:
            each = f"{duration(self.epoch_seconds)} each, scores included"
            parts.append(
                f"{counted(self.phase.epochs, 'epoch')} of {counted(self.steps_per_epoch, 'step')}, {each}"
            )
        return ", then ".join(parts)


def _schedule(phase: PhaseConfig) -> str:
    match phase.schedule:
        case "step":
            how = f", × {phase.gamma:g} after every {phase.step_epochs} epochs"
        case "multistep":
            how = f", × {phase.gamma:g} after epochs {', '.join(map(str, phase.milestones))}"
        case "exponential":
            how = f", × {phase.gamma:g} after each epoch"
        case _:
            how = ""
    return (
        phase.schedule + how + (f", {phase.warmup_epochs:g} epochs of warm-up" if phase.warmup_epochs else "")
    )


def _photos(phase: PhaseConfig) -> str:
    operations = operations_of(phase.augment)
    if not operations:
        return "as they are"
    name = f"{phase.augment}: " if isinstance(phase.augment, str) else ""
    turns = f"; {phase.views} views of each, epochs take turns"
    if phase.views == 1:
        turns = "; one view of each, the same in all epochs"
    return f"{name}{', '.join(operation.op for operation in operations)}{turns}"


def _table(groups: Sequence[dict[str, Any]]) -> Iterator[str]:
    rows = [
        [
            group["name"],
            f"{sum(parameter.numel() for parameter in group['params']):,}",
            f"{group['lr']:.3g}",
            f"{group['weight_decay']:g}",
        ]
        for group in groups
    ]
    return table(["group", "parameters", "largest lr", "weight decay"], rows)


def line(name: str, text: str) -> str:
    """Return a line of a plan: a name, or none where the line continues, and what is said of it."""
    return f"  {name:{_MARGIN - 2}}{text}".rstrip()


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    if seconds < 1:
        return f"{seconds:.1g} s" if seconds >= 0.001 else "no time"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def size(num_bytes: int) -> str:
    """Return a size in MB or GB."""
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.1f} MB"


def sparkline(values: Sequence[float], width: int = _WIDTH) -> str:
    """Draw values as blocks, from 0 to the largest of them.

    Args:
        values: At least one, none below 0, one above.
        width: In characters. Of several values in one place, the mean is drawn; of fewer, each takes several.
    """
    largest, drawn = max(values), []
    for place in range(width):
        start, stop = place * len(values) // width, (place + 1) * len(values) // width
        mean = float(np.mean(values[start : max(stop, start + 1)]))
        drawn.append(_BLOCKS[max(0, round(mean / largest * len(_BLOCKS)) - 1)])
    return "".join(drawn)


def epoch_axis(epochs: int, width: int = _WIDTH) -> str:
    """Name epochs where they begin, under a sparkline: as many as there is room for."""
    every = next(number for number in round_numbers() if number * width >= 5 * epochs)
    text = ""
    for epoch in range(1, epochs + 1):
        place = (epoch - 1) * width // epochs
        if (epoch == 1 or epoch % every == 0) and (not text or place > len(text)):
            text = text.ljust(place) + str(epoch)
    return f"{text.ljust(width)}  epoch"
