"""``headstart train --dry-run`` of a run in steps: what it would do, and about how long it takes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final, cast

import numpy as np
import torch
from accelerate import Accelerator

from headstart.columns import align, counted, width_of
from headstart.config import PhaseConfig, TrainConfig
from headstart.config.operations import operations_of
from headstart.cores import num_cores
from headstart.features.activations import Activations
from headstart.inference.runtime import map_images
from headstart.model.freeze import freeze, make_trainable
from headstart.model.prefix import NetworkPrefix
from headstart.model.stages import cut
from headstart.records import Record
from headstart.training.run.checkpoint import KEPT
from headstart.training.run.run_dir import RunDir
from headstart.training.run.run_folder import likely_folder
from headstart.training.run.stopwatch import Stopwatch
from headstart.training.setup import Setup, prepare
from headstart.training.steps.batches import Batches
from headstart.training.steps.device import create_accelerator, memory_format, reproducible
from headstart.training.steps.epoch import evaluate
from headstart.training.steps.features import Storage
from headstart.training.steps.optim import parameter_groups
from headstart.training.steps.schedule import lr_factor
from headstart.training.steps.trainer import Trainer
from headstart.training.watch.terminal import flips_in_words, in_words
from headstart.training.watch.watchers import Watchers

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_WIDTH: Final = 60  # of a drawing, in characters
_MARGIN: Final = 13  # of what stands right of a name such as "optimiser"

# Settings of a phase that are named if they are not the defaults; the others have a line of their own.
_ALSO: Final = (
    *("norm", "clip_norm", "label_smoothing", "class_weights", "sampling", "mixup", "cutmix"),
    *("ema", "patience", "wise_ft"),
)


def plan_in_steps(config: TrainConfig, out: str | os.PathLike[str] | None = None) -> str:
    """Say what ``finetune.train_in_steps`` would do: see ``train.plan``.

    Photos are listed, not read, so that what only reading shows is not known: damaged photos, copies, and how
    long reading takes. Weights are loaded, and downloaded if they are not here.

    Args:
        config: With its recipe decided.
        out: As for ``train``.

    Returns:
        Lines for people. Empty in all processes but the main one.

    Raises:
        HeadstartError: Whatever ``train`` would raise before it reads the first photo.
    """
    with ExitStack() as cleanup:
        accelerator = cleanup.enter_context(create_accelerator(config, Watchers.of_screen().say))
        cleanup.enter_context(reproducible(config.seed, accelerator.device))
        is_main = accelerator.is_main_process
        watchers = Watchers.of_screen(quiet=not is_main)
        if is_main:
            RunDir.refuse(out, config.data)
        setup = prepare(config, accelerator, watchers, Stopwatch())
        for text in flips_in_words(setup.listing.class_names, setup.config.phases):
            watchers.say(text)
        phases = []
        for phase in setup.config.phases:
            phases.append(_look_into(setup, phase, accelerator, watchers))
            accelerator.free_memory()
        lines = [*_heading(setup, accelerator, out)]
    for number, phase_plan in enumerate(phases, 1):
        lines += ["", f"Phase {number} of {len(phases)}: {phase_plan.phase.name}", *phase_plan.lines()]
    return "\n".join([*lines, "", *_together(setup, phases)]) if is_main else ""


@dataclass(frozen=True)
class _PhasePlan:
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
        yield _line("trained", f"{', '.join(self.trained)}: {num_trained:,} parameters")
        yield _line("frozen", ", ".join(self.frozen) or "nothing")
        if phase.optimizer == "exact":
            yield _line("optimiser", "none: the head is solved exactly")
        else:
            momentum = f", momentum {phase.momentum:g}" if phase.optimizer == "sgd" else ""
            batches = f", {phase.accumulate} batches per step" if phase.accumulate > 1 else ""
            yield _line("optimiser", f"{phase.optimizer}{momentum}{batches}")
            yield from (_line("", row) for row in _table(self.groups))
            yield from self._schedule_lines()
        yield _line("photos", _photos(phase))
        if self.frozen:
            how = "stored" if storage.keep else "computed in every epoch"
            yield _line("features", f"{how}: {storage.why}")
        defaults = PhaseConfig()
        also = [
            f"{name} = {getattr(phase, name)!r}"
            for name in _ALSO
            if getattr(phase, name) != getattr(defaults, name)
        ]
        if also:
            yield _line("also", ", ".join(also))
        yield _line("time", f"about {_duration(self.seconds)}: {self._time()}")

    def _schedule_lines(self) -> Iterator[str]:
        phase, steps = self.phase, self.steps_per_epoch
        largest = max(group["lr"] for group in self.groups)
        rates = [largest * lr_factor(phase, step, steps) for step in range(phase.epochs * steps)]
        yield _line("schedule", _schedule(phase))
        yield _line("", sparkline(rates))
        yield _line("", epoch_axis(phase.epochs))
        yield _line("", f"{min(rates):.3g} to {max(rates):.3g}, the largest of the groups")

    def _time(self) -> str:
        parts = []
        if self.frozen and self.storage.num_photos:  # else an earlier phase's pass has served this one
            rate = f"{self.prefix_rate:,.0f}" if self.prefix_rate < 1e5 else "many"
            parts.append(f"{self.storage.num_photos:,} photos through the frozen part at {rate} a second")
        if self.phase.optimizer == "exact":
            parts.append("a head that is solved in seconds")
        else:
            each = f"{_duration(self.epoch_seconds)} each, scores included"
            parts.append(
                f"{counted(self.phase.epochs, 'epoch')} of {counted(self.steps_per_epoch, 'step')}, {each}"
            )
        return ", then ".join(parts)


def _look_into(setup: Setup, phase: PhaseConfig, accelerator: Accelerator, watchers: Watchers) -> _PhasePlan:
    """Freeze, group and time as training would, with zeros for photos; the weights stay as they are."""
    config, network, source = setup.config, setup.network, setup.source
    watchers.say(f"Timing phase {phase.name} on black photos")
    prefix, suffix = source.cut(phase)
    freeze(prefix.stages)
    make_trainable(suffix, phase.norm, setup.new_norms)
    labels = {name: label for label, name in enumerate(setup.listing.class_names)}
    records = [
        Record(
            each.path,
            labels[each.class_name] if each.class_name else 0,
            each.split,
            sha256="",  # nothing here is read
            labels=tuple(labels[name] for name in each.labels),
            numbers=each.numbers,
            box=(0, 0, 1, 1),
            size=(1, 1),
        )
        for each in setup.listing.candidates
        if each.split in (None, "train")
    ]
    layout = memory_format(config.memory_format, suffix)
    suffix.to(memory_format=layout)
    zeros = cast(Activations, _Zeros(prefix.row(setup.preprocessing.size_px)))

    def batches(photos: Sequence[Record]) -> Batches:
        return Batches(
            zeros,
            photos,
            setup.targets,
            config.batch_size,
            accelerator,
            accumulate=phase.accumulate,
            memory_format=layout,
        )

    one_step = records[: config.batch_size * phase.accumulate]
    steps_per_epoch = batches(records[: source.num_train]).steps_per_epoch
    groups = parameter_groups(network, suffix, phase)
    state = network.state_dict()
    first_phases = config.phases[: config.phases.index(phase) + 1]
    trained_so_far = {name for each in first_phases for name in setup.trained_names(each)}
    best_bytes = sum(state[name].nbytes for name in trained_so_far)
    epoch_seconds, state_bytes = 0.0, 0
    if phase.optimizer != "exact":
        counts = torch.bincount(torch.tensor([record.label for record in records]), minlength=len(labels))
        trainer = Trainer(
            phase,
            network,
            suffix,
            setup.criterion,
            counts,
            steps_per_epoch,
            accelerator,
            config.seed,
            schedule=lambda phase, step, steps_per_epoch: 0.0,  # steps that lead nowhere
        )

        def step() -> None:
            totals = torch.zeros(3, device=accelerator.device)
            for _ in trainer.steps(batches(one_step).epoch(), 1, totals):
                pass

        def score() -> None:
            evaluate(trainer.suffix, batches(one_step).epoch(), setup.criterion, accelerator)

        epoch_seconds = _seconds(step) * source.num_train / len(one_step)
        epoch_seconds += _seconds(score) * source.num_val / len(one_step)
        state_bytes = sum(tensor.nbytes for tensor in trainer.tensors().values())
    suffix.to(memory_format=torch.contiguous_format)
    return _PhasePlan(
        phase=phase,
        frozen=prefix.stages.names,
        trained=[
            str(stage.name)
            for stage in cut(network, phase.unfreeze)[1]
            if next(stage.parameters(), None) is not None
        ],
        groups=groups,
        storage=source.storage(phase, prefix),
        steps_per_epoch=steps_per_epoch,
        prefix_rate=_rate(prefix, setup.preprocessing.size_px, config.workers),
        epoch_seconds=epoch_seconds,
        checkpoint_bytes=best_bytes + state_bytes,
        best_bytes=best_bytes,
    )


@dataclass(frozen=True)
class _Zeros:
    """Activations without photos: one row of black, as often as it is asked for."""

    row: np.ndarray

    def rows(self, photos: Any) -> Iterator[np.ndarray]:
        return (np.zeros_like(self.row) for _ in photos)


def _rate(prefix: NetworkPrefix, size_px: int, workers: int | None) -> float:
    """Photos a second through the frozen part, with as many threads as training has."""
    if not prefix.stages:
        return float("inf")
    num_photos = prefix.batch_size * (1 if workers == 0 else num_cores())

    def one_round() -> None:
        black = np.zeros((size_px, size_px, 3), np.uint8)
        for _ in map_images(
            range(num_photos), lambda _: black, prefix, batch_size=prefix.batch_size, workers=workers
        ):
            pass

    return num_photos / _seconds(one_round)


def _seconds(work: Callable[[], object]) -> float:
    """Time what is done for the second time: the first time exports, allocates and warms up."""
    work()
    begun = time.perf_counter()
    work()
    return max(time.perf_counter() - begun, 1e-9)


# The text.


def _heading(setup: Setup, accelerator: Accelerator, out: str | os.PathLike[str] | None) -> Iterator[str]:
    config, source, listing = setup.config, setup.source, setup.listing
    num_test = sum(candidate.split == "test" for candidate in listing.candidates)
    yield "A plan: nothing has been trained, and nothing written."
    yield ""
    yield _line(
        "photos",
        f"{len(listing.candidates):,} listed, not read: about {source.num_train:,} to train, "
        f"{source.num_val:,} to validate, {num_test:,} to test; {in_words(listing)}",
    )
    for note in listing.notes:
        yield _line("", note)
    for photo in listing.quarantined:
        yield _line("", f"quarantined: {photo.path!r}: {photo.reason}")
    num_params = sum(parameter.numel() for parameter in setup.network.parameters())
    size = f"{setup.preprocessing.size_px} px, {setup.preprocessing.resize}"
    yield _line("backbone", f"{setup.backbone.full_name} ({num_params:,} parameters, {size})")
    yield _line("weights", str(setup.weights))
    precision = accelerator.mixed_precision.replace("no", "fp32")
    several = f", {accelerator.num_processes} processes" if accelerator.num_processes > 1 else ""
    yield _line("device", f"{accelerator.device.type}, {precision}, batches of {config.batch_size}{several}")
    yield _line("run folder", os.fspath(likely_folder(config.data) if out is None else out))


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


def _together(setup: Setup, phases: Sequence[_PhasePlan]) -> Iterator[str]:
    seconds = sum(each.seconds for each in phases)
    num_reads = sum(each.storage.num_photos for each in phases)
    yield (
        f"Together about {_duration(seconds)}, and what reading photos takes: {num_reads:,} readings at "
        f"most, views and repetitions counted."
    )
    if setup.config.max_minutes is not None:
        yield (
            f"Training ends after {setup.config.max_minutes:g} minutes (max_minutes), at the end of the step "
            f"or of the pass through a frozen part that is under way then."
        )
    features = sum(each.storage.num_bytes for each in phases)
    checkpoints = max((KEPT + 1) * (each.checkpoint_bytes + each.best_bytes) for each in phases)
    models = 2 * sum(tensor.nbytes for tensor in setup.network.state_dict().values())
    yield (
        f"Disk: at most about {_size(features + checkpoints + models)}: {_size(features)} of features, which "
        f"stay for the next run, {_size(checkpoints)} of checkpoints and best weights, deleted at the end, "
        f"{_size(models)} of model files."
    )


def _table(groups: Sequence[dict[str, Any]]) -> Iterator[str]:
    rows = [["group", "parameters", "largest lr", "weight decay"]]
    rows += [
        [
            group["name"],
            f"{sum(parameter.numel() for parameter in group['params']):,}",
            f"{group['lr']:.3g}",
            f"{group['weight_decay']:g}",
        ]
        for group in groups
    ]
    widths = [max(map(width_of, column)) for column in zip(*rows, strict=True)]
    widths[0] = -widths[0]
    return (align(row, widths) for row in rows)


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
    round_numbers = (digit * 10**power for power in range(20) for digit in (1, 2, 5))
    every = next(number for number in round_numbers if number * width >= 5 * epochs)
    text = ""
    for epoch in range(1, epochs + 1):
        place = (epoch - 1) * width // epochs
        if (epoch == 1 or epoch % every == 0) and (not text or place > len(text)):
            text = text.ljust(place) + str(epoch)
    return f"{text.ljust(width)}  epoch"


def _line(name: str, text: str) -> str:
    return f"  {name:{_MARGIN - 2}}{text}".rstrip()


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds:.1g} s" if seconds >= 0.001 else "no time"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:,.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:,.1f} MB"
