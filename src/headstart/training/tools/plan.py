"""``headstart train --dry-run``: what a run would do, and about how long it takes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final, Unpack

from headstart import tasks
from headstart.columns import counted
from headstart.config import TrainConfig, TrainSettings
from headstart.data.split import likely_counts
from headstart.data.understood import understood
from headstart.environment import is_secondary
from headstart.errors import requires_extra
from headstart.frozen.prefix import OnnxPrefix
from headstart.inference.runtime import photos_per_second
from headstart.messages import fitted
from headstart.probe.blocks import Block
from headstart.probe.outer_folds import likely_val
from headstart.records import Listing
from headstart.training.choose import choose
from headstart.training.probe_setup import ProbeSetup
from headstart.training.run.run_folder import RunFolder, likely_folder
from headstart.training.run.stopwatch import Stopwatch
from headstart.training.tools.cluster_plan import plan_on_cluster
from headstart.training.tools.on_ray import Workers
from headstart.training.tools.phase_plan import PhasePlan, duration, line, size
from headstart.training.watch.named import settings_and_watchers, watchers_of
from headstart.training.watch.terminal import flips_in_words
from headstart.training.watch.watcher import Watcher
from headstart.training.watch.watchers import Watchers

if TYPE_CHECKING:
    from accelerate import Accelerator

    from headstart.training.setup import Setup

_NOTHING_DONE: Final = "This is a plan: nothing has been trained or written."


class Plan(str):
    """What a run would do, as text. It is shown as it is, in a notebook too."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def plan(
    data: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    config: TrainConfig | None = None,
    watch: str | Iterable[str | Watcher] | None = None,
    num_workers: int | None = None,
    gpus_per_worker: int | None = None,
    verbose: bool = True,
    **settings: Unpack[TrainSettings],
) -> Plan:
    """Say what ``train`` with the same arguments would do; nothing is trained, and nothing is written.

    Photos are listed, not read, so damaged photos, copies, and the time for reading are not known. For a run
    in steps, weights are loaded, and downloaded if they are not here.

    Args:
        data: As for ``train``.
        out: As for ``train``.
        config: As for ``train``.
        watch: As for ``train``; watchers are not called.
        num_workers: As for ``train``; the times are those of one process on this machine.
        gpus_per_worker: As for ``train``.
        verbose: As for ``train``.
        settings: As for ``train``.

    Returns:
        Lines for people. Empty in all processes but the main one.

    Raises:
        HeadstartError: Whatever ``train`` would raise before it reads the first photo; with ``ray``, what it
            would raise about some of the photos, which the nodes of the cluster read to be timed.
    """
    config, _ = settings_and_watchers(data, config, watch, settings)
    watchers_of(config.watch)  # which may not be installed
    task_is_given = config.task in tasks.TASKS
    workers = Workers.of(config.ray, num_workers, gpus_per_worker)
    end = []
    if workers is not None:
        config = dataclasses.replace(config, ray=None)
        end = [
            f"The run is made by {counted(workers.num, 'process', 'processes')} of the Ray cluster "
            f"{workers.address!r}; the times above are those of one process on this machine."
        ]
    watchers = Watchers.of_screen(quiet=is_secondary(), verbose=verbose)
    with ExitStack() as cleanup:
        with watchers.held():
            config, probe = choose(config, watchers.say)
            if not is_secondary():
                RunFolder.refuse(out, config.data)
            opened = _prepared(config, watchers, cleanup) if probe is None else None
        if probe is not None:
            lines = list(_of_probe(probe, out, verbose, task_is_given=task_is_given))
        else:
            assert opened is not None
            lines = _in_steps(*opened, watchers, out, task_is_given=task_is_given)
    return Plan("\n".join([*lines, *end]))


def _of_data(
    listing: Listing, config: TrainConfig, *, is_solved: bool = False, task_is_given: bool
) -> Iterator[str]:
    """Describe how the data were understood."""
    yield "Data, as understood; no photo has been read:"
    val = config.val if isinstance(config.val, str) else likely_val(config, is_solved=is_solved)
    for name, text in understood(listing, val, config.test, task_is_given=task_is_given):
        yield line(name, fitted(text))
    yield ""


def _of_probe(
    setup: ProbeSetup, out: str | os.PathLike[str] | None, verbose: bool, *, task_is_given: bool
) -> Iterator[str]:
    """Describe a run without steps."""
    config, listing, backbone, phase = setup.config, setup.listing, setup.backbone, setup.phase
    val_fraction = likely_val(config, is_solved=True)
    num_train, num_val, num_test = likely_counts(listing.candidates, val_fraction, config.test)
    num_views = 1 if phase.augment == "none" else phase.views
    on_cluster = plan_on_cluster(setup, Watchers.of_screen(verbose=verbose).say) if config.ray else None
    num_read = num_views * num_train + num_val + num_test
    if on_cluster is not None:  # views are computed here
        num_read = 0 if phase.augment == "none" else num_views * num_train
    size_px = backbone.preprocessing.size_px
    prefix = OnnxPrefix(backbone.graph)
    seconds = num_read / photos_per_second(prefix, size_px, prefix.batch_size, config.workers)
    views = "photos as they are"
    if phase.augment != "none":
        views = f"{counted(num_views, 'augmented view')} of each training photo"
    yield _NOTHING_DONE
    yield ""
    yield from _of_data(listing, config, is_solved=True, task_is_given=task_is_given)
    yield "Training:"
    if config.is_by_folds:
        yield line("folds", f"the training photos are also scored in {config.folds} folds")
    yield line("backbone", f"{backbone.name} ({size_px} px, {backbone.preprocessing.resize})")
    yield line("weights", str(backbone.source))
    if len(setup.blocks) > 1:
        yield _of_head(setup.blocks, is_asked=config.head == "stages")
    yield line("run folder", os.fspath(likely_folder(config.data) if out is None else out))
    yield line("phase", f"{phase.name}: the head is solved exactly; everything else is frozen; {views}")
    if on_cluster is not None:
        yield from on_cluster.lines()
    passed = f"{num_read:,} photos through the backbone, less those that are stored"
    if num_read:
        yield line("time", f"about {seconds:.0f} s for {passed}")
        yield line("", "already, and a few seconds for the head")


def _prepared(config: TrainConfig, watchers: Watchers, cleanup: ExitStack) -> tuple[Setup, Accelerator]:
    """Return what a run in steps begins with."""
    with requires_extra("train"):
        from headstart.training.setup import prepare
        from headstart.training.steps.device import create_accelerator, reproducible

    accelerator = cleanup.enter_context(create_accelerator(config, watchers.say))
    cleanup.enter_context(reproducible(config.seed, accelerator.device))
    return prepare(config, accelerator, watchers, Stopwatch()), accelerator


def _in_steps(
    setup: Setup,
    accelerator: Accelerator,
    watchers: Watchers,
    out: str | os.PathLike[str] | None,
    *,
    task_is_given: bool,
) -> list[str]:
    """Describe a run in steps: each of its phases is rehearsed."""
    from headstart.training.tools.rehearsal import rehearse

    for text in flips_in_words(setup.listing.class_names, setup.config.phases):
        watchers.say(text)
    phases = []
    for phase in setup.config.phases:
        watchers.say(f"Timing phase {phase.name} on black photos")
        phases.append(rehearse(setup, phase, accelerator))
        accelerator.free_memory()
    if not accelerator.is_main_process:
        return []
    lines = [*_heading(setup, accelerator, out, task_is_given=task_is_given)]
    for number, phase_plan in enumerate(phases, 1):
        lines += ["", f"Phase {number} of {len(phases)}: {phase_plan.phase.name}", *phase_plan.lines()]
    return [*lines, "", *_together(setup, phases)]


def _of_head(blocks: Sequence[Block], *, is_asked: bool) -> str:
    names = [block.name.removeprefix("stage.") for block in blocks[:-1]]
    if is_asked:
        others = f", and {names[0]} if cross-validation chooses it" if names[1:] else ""
        return line("head", f"reads the last stage and {names[-1]}{others}")
    return line("head", f"reads the last stage, and {' and '.join(names)} if cross-validation chooses them")


def _heading(
    setup: Setup, accelerator: Accelerator, out: str | os.PathLike[str] | None, *, task_is_given: bool
) -> Iterator[str]:
    from headstart.model.stages_head import StagesNetwork

    config, listing = setup.config, setup.listing
    yield _NOTHING_DONE
    yield ""
    yield from _of_data(listing, config, task_is_given=task_is_given)
    yield "Training:"
    if config.is_by_folds:
        yield line("folds", f"{config.folds} runs like this, each without one fold, then this one")
    reading = setup.network if isinstance(setup.network, StagesNetwork) else None
    native = reading.native if reading else setup.network
    num_params = sum(parameter.numel() for parameter in native.parameters())
    pixels = f"{setup.preprocessing.size_px} px, {setup.preprocessing.resize}"
    yield line("backbone", f"{setup.backbone.full_name} ({num_params:,} parameters, {pixels})")
    yield line("weights", str(setup.weights))
    if reading:
        yield _of_head(reading.head.blocks, is_asked=config.head == "stages")
    precision = accelerator.mixed_precision.replace("no", "fp32")
    several = f", {accelerator.num_processes} processes" if accelerator.num_processes > 1 else ""
    yield line("device", f"{accelerator.device.type}, {precision}, batches of {config.batch_size}{several}")
    yield line("run folder", os.fspath(likely_folder(config.data) if out is None else out))


def _together(setup: Setup, phases: Sequence[PhasePlan]) -> Iterator[str]:
    from headstart.model.stages_head import state_to_save
    from headstart.training.run.checkpoint import KEPT

    config = setup.config
    num_runs = 1 + config.folds if config.is_by_folds and config.folds else 1
    seconds = num_runs * sum(each.seconds for each in phases)
    num_reads = num_runs * sum(each.storage.num_photos for each in phases)
    yield (
        f"Together about {duration(seconds)}, plus the time for reading photos: {num_reads:,} readings at "
        f"most, views and repetitions counted."
    )
    if config.max_minutes is not None:
        yield (
            f"Training ends after {config.max_minutes:g} minutes (max_minutes), at the end of the step "
            f"or of the pass through a frozen part that is under way then."
        )
    features = sum(each.storage.num_bytes for each in phases)
    checkpoints = max((KEPT + 1) * (each.checkpoint_bytes + each.best_bytes) for each in phases)
    models = 2 * sum(tensor.nbytes for tensor in state_to_save(setup.network).values())
    yield (
        f"Disk: at most about {size(features + checkpoints + models)}: {size(features)} of features, which "
        f"stay for the next run, {size(checkpoints)} of checkpoints and best weights, deleted at the end, "
        f"{size(models)} of model files."
    )
