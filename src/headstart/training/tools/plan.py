"""``headstart train --dry-run`` of a run in steps: what it would do, and about how long it takes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from accelerate import Accelerator

from headstart.config import TrainConfig
from headstart.training.run.checkpoint import KEPT
from headstart.training.run.run_dir import RunDir
from headstart.training.run.run_folder import likely_folder
from headstart.training.run.stopwatch import Stopwatch
from headstart.training.setup import Setup, prepare
from headstart.training.steps.device import create_accelerator, reproducible
from headstart.training.tools.phase_plan import PhasePlan
from headstart.training.tools.plan_text import NOTHING_DONE, duration, line, size
from headstart.training.tools.rehearsal import rehearse
from headstart.training.watch.terminal import flips_in_words, in_words
from headstart.training.watch.watchers import Watchers


def plan_in_steps(config: TrainConfig, out: str | os.PathLike[str] | None = None) -> str:
    """Say what the upper floor would do: see ``train.plan``.

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
            watchers.say(f"Timing phase {phase.name} on black photos")
            phases.append(rehearse(setup, phase, accelerator))
            accelerator.free_memory()
        lines = [*_heading(setup, accelerator, out)]
    for number, phase_plan in enumerate(phases, 1):
        lines += ["", f"Phase {number} of {len(phases)}: {phase_plan.phase.name}", *phase_plan.lines()]
    return "\n".join([*lines, "", *_together(setup, phases)]) if is_main else ""


def _heading(setup: Setup, accelerator: Accelerator, out: str | os.PathLike[str] | None) -> Iterator[str]:
    config, source, listing = setup.config, setup.source, setup.listing
    num_test = sum(candidate.split == "test" for candidate in listing.candidates)
    yield NOTHING_DONE
    yield ""
    yield line(
        "photos",
        f"{len(listing.candidates):,} listed, not read: about {source.num_train:,} to train, "
        f"{source.num_val:,} to validate, {num_test:,} to test; {in_words(listing)}",
    )
    for note in listing.notes:
        yield line("", note)
    for photo in listing.quarantined:
        yield line("", f"quarantined: {photo.path!r}: {photo.reason}")
    num_params = sum(parameter.numel() for parameter in setup.network.parameters())
    pixels = f"{setup.preprocessing.size_px} px, {setup.preprocessing.resize}"
    yield line("backbone", f"{setup.backbone.full_name} ({num_params:,} parameters, {pixels})")
    yield line("weights", str(setup.weights))
    precision = accelerator.mixed_precision.replace("no", "fp32")
    several = f", {accelerator.num_processes} processes" if accelerator.num_processes > 1 else ""
    yield line("device", f"{accelerator.device.type}, {precision}, batches of {config.batch_size}{several}")
    yield line("run folder", os.fspath(likely_folder(config.data) if out is None else out))


def _together(setup: Setup, phases: Sequence[PhasePlan]) -> Iterator[str]:
    seconds = sum(each.seconds for each in phases)
    num_reads = sum(each.storage.num_photos for each in phases)
    yield (
        f"Together about {duration(seconds)}, plus the time for reading photos: {num_reads:,} readings at "
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
        f"Disk: at most about {size(features + checkpoints + models)}: {size(features)} of features, which "
        f"stay for the next run, {size(checkpoints)} of checkpoints and best weights, deleted at the end, "
        f"{size(models)} of model files."
    )
