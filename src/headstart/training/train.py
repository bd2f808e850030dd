"""The training story, from a folder of photos to a model file. Read it from top to bottom."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from headstart.config import TrainConfig
from headstart.data.check import check_images
from headstart.data.split import Splits, split_dataset
from headstart.data.targets import Scale
from headstart.errors import FileWriteError, TrainingError, shell_command
from headstart.model.freeze import digest, make_trainable
from headstart.model.memory import memory_explained
from headstart.training.batches import Batches
from headstart.training.device import anyone, create_accelerator, from_main, reproducible
from headstart.training.display import Display
from headstart.training.epoch import Scores, evaluate, scores_of
from headstart.training.features import PhaseFeatures
from headstart.training.finish import finish
from headstart.training.history import EpochRecord
from headstart.training.interrupt import Interrupt, Stopped, held_back
from headstart.training.moved import moved, refuse_missing_photos
from headstart.training.phase import make_ready
from headstart.training.provenance import provenance
from headstart.training.run_dir import RunDir
from headstart.training.setup import Setup, prepare
from headstart.training.solve_head import fit_head
from headstart.training.stopwatch import Stopwatch
from headstart.training.wise_ft import best_mixture


@dataclass(frozen=True)
class TrainResult:
    """What a training run leaves behind.

    Attributes:
        path: The run folder.
        metrics: The content of its ``metrics.json``.
    """

    path: Path
    metrics: dict[str, Any]


def train(
    data: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    *,
    config: TrainConfig | None = None,
    network: nn.Module | None = None,
    **settings: Any,
) -> TrainResult:
    """Train a network on labelled photos.

    Args:
        data: A folder of class folders, or of train/val/test folders above them; or a table, Pascal VOC or
            COCO annotations. May be left out where ``config`` names it.
        out: The run folder; by default ``runs/NAME-OF-DATA``, with a number if that exists.
        config: All settings together, instead of ``settings``.
        network: A network of your own instead of a backbone with a new head, on the device or not: it takes
            normalised (B, 3, H, W) float32 and gives what the task needs: a logit per class, standardised
            numbers, or xmin, ymin, xmax, ymax in shares of the input's sides. ``backbone`` is then the one
            whose base it is built on, which says how photos are prepared. It is trained in place.
        settings: Any field of ``TrainConfig``: ``backbone``, ``recipe``, ``seed``, ...

    Returns:
        The run folder, with ``model.onnx`` and ``model.safetensors`` in it, and its metrics.

    Raises:
        UsageError: The settings or the photos cannot be used; nothing has been trained.
        HeadstartError: The work failed, for a reason that the message names.
    """
    return _run(TrainConfig.from_settings(data, config, **settings), out=out, network=network)


def resume(
    path: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    val: str | os.PathLike[str] | None = None,
    network: nn.Module | None = None,
    force: bool = False,
) -> TrainResult:
    """Resume a run, whatever stopped it; the result has the same bits as without the interruption.

    Args:
        path: The run folder. Of a finished run the result is returned; without a checkpoint the run begins
            again.
        data: Where the photos are now, if they have been moved: a folder, table or file of annotations as
            for ``train``. Their paths below it and their hashes are compared with the run's.
        val: Likewise for a folder or file of validation photos. One inside the data moves with it.
        network: As it was given to ``train``, with the weights that it had then.
        force: Resume although code, packages, machine, settings or photos have changed.

    Raises:
        RunFolderError: The folder is not a run, or something has changed: all differences are named.
        HeadstartError: As in ``train``.
    """
    config = moved(RunDir.read_config(path), path, data, val)
    if metrics := RunDir.read_metrics(path):
        Display().say(
            f"{os.fspath(path)} is finished. To use other settings, start a new run: headstart train"
        )
        return TrainResult(Path(path), metrics)
    return _run(config, stopped=Path(path), force=force, network=network)


def _run(
    config: TrainConfig,
    *,
    out: str | os.PathLike[str] | None = None,
    stopped: Path | None = None,
    force: bool = False,
    network: nn.Module | None = None,
) -> TrainResult:
    with ExitStack() as cleanup:
        cleanup.enter_context(memory_explained())
        accelerator = cleanup.enter_context(create_accelerator(config, Display().say))
        cleanup.enter_context(reproducible(config.seed, accelerator.device))
        is_main = accelerator.is_main_process
        display, stopwatch = Display(quiet=not is_main), Stopwatch()
        # What can be wrong with the command is found before any photo is read.
        if is_main and stopped is None:
            RunDir.refuse(out)
        if stopped is not None:
            refuse_missing_photos(config, stopped)
        setup = prepare(config, accelerator, display, stopwatch, network)
        config, network = setup.config, setup.network
        origin = provenance(config, accelerator, setup.weights.sha256 or setup.weights.kind)
        run = RunDir(config, origin, writes=is_main, say=display.say)
        cleanup.callback(run.close)
        if stopped is not None:
            run.resume(stopped, network, setup.trained_names, force=force, say=display.say)

        # One pass reads, hashes and checks the photos and runs the next phase's frozen part on them.
        features = setup.source.open(config.phases[min(run.progress.phase, len(config.phases) - 1)])
        cleanup.callback(lambda: features.close())
        with stopwatch("features"), display.counting("Photos", len(setup.listing.candidates)) as counter:
            checks = features.check(setup.listing.candidates, counter.advance)
            dataset = check_images(setup.listing, config.allow_quarantined, checks=checks)
        splits = split_dataset(dataset, val_fraction=config.val_fraction, seed=config.seed)
        setup.targets.refuse_hidden(dataset.records)
        setup = setup.scaled(run.progress.keep_scale(Scale.of(splits.train, dataset.targets)))
        run.begin(out, dataset, splits, force=force, say=display.say)
        path = from_main(str(run.path), accelerator)
        if not is_main:
            run.open(Path(path))
        display.found(setup.listing, dataset, splits)
        display.flips(dataset.class_names, config.phases)

        run.progress.is_over = anyone(run.progress.has_run_long(config), accelerator)
        for phase in run.progress.remaining(config):
            if features.phase is not phase:
                features.close()
                features = setup.source.open(phase)
            make_trainable(features.suffix, phase.norm, setup.new_norms)
            run.begin_phase(network, setup.trained_names(phase))
            display.phase(phase, features.prefix.stages, features.suffix)
            num_rows = len(features.views) * len(splits.train) + len(splits.val)
            with stopwatch("features"), display.counting("Features", num_rows) as counter:
                features.fill(splits.train, splits.val, counter.advance)
            run.progress.is_over = anyone(run.progress.has_run_long(config), accelerator)
            with held_back(display.say) as interrupt:  # until what the phase has trained is saved
                with stopwatch("train"):
                    if phase.optimizer == "exact":
                        _solve(setup, features, splits, run, accelerator, display, interrupt)
                    else:
                        _take_steps(setup, features, splits, run, accelerator, display, interrupt)
                if digest(features.prefix.stages) != features.frozen_digest:
                    raise TrainingError(
                        f"Phase {phase.name} changed frozen parameters or buffers. This is a bug of "
                        f"Headstart's; please report it with the backbone's name "
                        f"({setup.backbone.full_name})."
                    )
                accelerator.free_memory()
                accelerator.wait_for_everyone()  # for the main process has written the best weights
                run.end_phase(network)

        if run.progress.out_of_time:
            display.say(
                f"The time limit, {config.max_minutes:g} minutes, is reached; the best weights so far stay."
            )
        accelerator.wait_for_everyone()  # for the others still read the best weights, which finish deletes
        metrics: dict[str, Any] = {}
        if is_main:
            display.say("Exporting the best weights and checking the exported model")
            run.load_best(network)
            try:
                metrics = finish(run, setup, features, dataset, splits, accelerator, stopwatch)
            except FileWriteError:
                resume_again = shell_command("resume", run.path)
                display.say(f"Nothing that was trained is lost. Once files can be written: {resume_again}")
                raise
    return TrainResult(run.path, metrics)


def _solve(
    setup: Setup,
    features: PhaseFeatures,
    splits: Splits,
    run: RunDir,
    accelerator: Accelerator,
    display: Display,
    interrupt: Interrupt,
) -> None:
    """Solve a phase's head exactly, in place of epochs."""
    config, phase, suffix = setup.config, features.phase, features.suffix
    targets, task = setup.targets, setup.task
    batches = Batches(features.training, splits.train, targets, config.batch_size, accelerator)
    val_batches = Batches(features.plain, splits.val, targets, config.batch_size, accelerator)
    for epoch in run.progress.remaining_epochs(config):
        begun = time.monotonic()
        with interrupt.released():  # it is done again in seconds, so there is nothing to save
            solved = fit_head(suffix, features, splits.train)
            train_scores = evaluate(suffix, batches.epoch(view=features.view(epoch)), task, accelerator)
            val_scores = evaluate(suffix, val_batches.epoch(), task, accelerator)
        run.progress.head = dict(solved.summary())
        display.solved(**solved.summary())
        seconds = round(time.monotonic() - begun, 3)
        record = EpochRecord(phase.name, epoch, train_scores, val_scores, 0.0, seconds)
        display.epoch(record, phase.epochs, is_best=run.record(record, setup.network))


def _take_steps(
    setup: Setup,
    features: PhaseFeatures,
    splits: Splits,
    run: RunDir,
    accelerator: Accelerator,
    display: Display,
    interrupt: Interrupt,
) -> None:
    """Train what a phase unfreezes, epoch by epoch, from the last checkpoint if the run is resumed."""
    config, phase, network, progress = setup.config, features.phase, setup.network, run.progress
    ready = make_ready(setup, features, splits.train, accelerator)
    trainer = ready.trainer
    val_batches = Batches(
        features.plain,
        splits.val,
        setup.targets,
        config.batch_size,
        accelerator,
        memory_format=ready.layout,
    )
    if state := run.take_resumed():
        trainer.load(state)
    ready.resume(run.progress.micro_batches.get(phase.name, {}))

    def check() -> None:
        interrupt.check(lambda flag: anyone(flag, accelerator))

    def score() -> Scores:
        with interrupt.bounded():
            return evaluate(
                trainer.suffix, val_batches.epoch(), setup.task, accelerator, check, ready.scoring
            )

    try:
        num_photos = (phase.epochs - progress.epoch) * len(splits.train)
        with display.counting(phase.name, num_photos, setup.task.headline) as counter:
            for epoch in progress.remaining_epochs(config):
                begun = time.monotonic()
                totals = torch.zeros(3) if progress.totals is None else progress.totals
                totals = totals.to(accelerator.device)
                for batch in interrupt.bounded_each(ready.steps(epoch, totals, first=progress.batch)):
                    run.steps_done(batch.number + 1, totals)
                    counter.advance(batch.step_size, totals)
                    check()
                    # A change of the passes' size decides later bits, so that resuming has to know it.
                    if run.note_micro_batches(phase, ready.micro_batches()) or run.is_checkpoint_due():
                        run.checkpoint(network, trainer.tensors())
                    if config.max_minutes is not None:
                        progress.is_over = anyone(progress.has_run_long(config), accelerator)
                        if progress.is_over:
                            break
                trainer.verify()
                train_scores = scores_of(totals, setup.task, accelerator)
                with trainer.averaged():
                    val_scores, lr = score(), trainer.largest_lr(epoch)
                    seconds = round(time.monotonic() - begun, 3)
                    completed = round(progress.batch / ready.batches.batches_per_epoch, 4)
                    record = EpochRecord(phase.name, epoch, train_scores, val_scores, lr, seconds, completed)
                    display.epoch(record, phase.epochs, is_best=run.record(record, network))
                if run.note_micro_batches(phase, ready.micro_batches()):
                    run.checkpoint(network, trainer.tensors())
                check()
        if progress.epoch < phase.epochs and not progress.out_of_time:
            display.out_of_patience(phase)

        if phase.wise_ft and progress.epoch > 0 and not progress.is_over:
            assert progress.best is not None
            is_best = progress.best.record.phase == phase.name
            accelerator.wait_for_everyone()  # for the main process has written the best weights
            if is_best:
                run.load_best(network)
            record = progress.best.record if is_best else progress.history[-1]
            with nullcontext() if is_best else trainer.averaged():
                found = best_mixture(
                    network,
                    run.weights_before_phase(),
                    record,
                    progress.best.record,
                    config.select,
                    score,
                )
                if found:
                    run.record_mixture(*found, network)
                    display.mixture(*found)
                else:
                    display.no_mixture(phase)
    except Stopped:
        run.checkpoint(network, trainer.tensors())
        display.say(f"Saved. Resume with: {shell_command('resume', run.path)}")
        raise
    except TrainingError:
        if trainer.failed_at is not None:
            progress.batch = trainer.failed_at
        if trainer.is_finite():
            run.checkpoint(network, trainer.tensors())
        raise
    features.suffix.to(memory_format=torch.contiguous_format)
