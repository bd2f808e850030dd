"""The story of a run that trains in steps, with PyTorch: read it from top to bottom."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, nullcontext
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
from headstart.model.freeze import digest, make_trainable, num_trainable
from headstart.model.memory import memory_explained
from headstart.model.stages import cut
from headstart.model.to_backbone import keep_backbone
from headstart.training.finish import finish
from headstart.training.run.history import EpochRecord, Scores
from headstart.training.run.interrupt import Interrupt, Stopped, held_back
from headstart.training.run.provenance import provenance_in_steps
from headstart.training.run.result import TrainResult
from headstart.training.run.run_dir import RunDir
from headstart.training.run.stopwatch import Stopwatch
from headstart.training.setup import Setup, prepare
from headstart.training.steps.batches import Batches
from headstart.training.steps.device import anyone, create_accelerator, from_main, reproducible
from headstart.training.steps.epoch import evaluate, scores_of
from headstart.training.steps.features import PhaseFeatures
from headstart.training.steps.phase import make_ready
from headstart.training.steps.solve_head import answers_out_of_fold, fit_head
from headstart.training.steps.wise_ft import best_mixture
from headstart.training.watch.curves import Curves
from headstart.training.watch.terminal import out_of_patience
from headstart.training.watch.watchers import Watchers


def train_in_steps(
    config: TrainConfig,
    watchers: Watchers,
    *,
    out: str | os.PathLike[str] | None = None,
    stopped: Path | None = None,
    force: bool = False,
    network: nn.Module | None = None,
) -> TrainResult:
    """Train a network, phase by phase: see ``train.train`` and ``train.resume``.

    Args:
        config: As the user gave it.
        watchers: See what happens.
        out: The run folder; None for the default.
        stopped: The folder of the run that is resumed; None for a new run.
        force: Resume although something has changed.
        network: A network of the user's own, instead of a backbone with a new head.

    Raises:
        UsageError: The settings or the photos cannot be used; nothing has been trained.
        HeadstartError: The work failed, for a reason that the message names.
    """
    with ExitStack() as cleanup:
        cleanup.enter_context(memory_explained())
        accelerator = cleanup.enter_context(create_accelerator(config, watchers.say))
        cleanup.enter_context(reproducible(config.seed, accelerator.device))
        is_main = accelerator.is_main_process
        stopwatch = Stopwatch()
        watchers.add(Curves(watchers.say))
        # What can be wrong with the command is found before any photo is read.
        if is_main and stopped is None:
            RunDir.refuse(out, config.data)
        setup = prepare(config, accelerator, watchers, stopwatch, network, stopped)
        config, network = setup.config, setup.network
        origin = provenance_in_steps(config, accelerator, setup.weights.identity)
        frozen = digest(cut(network, config.phases[0].unfreeze)[0])
        run = RunDir(config, origin, frozen=frozen, writes=is_main, say=watchers.say)
        cleanup.callback(run.close)
        if stopped is not None:
            run.resume(stopped, network, setup.trained_names, force=force, say=watchers.say)

        # One pass reads, hashes and checks the photos and runs the next phase's frozen part on them.
        features = setup.source.open(config.phases[min(run.progress.phase, len(config.phases) - 1)])
        cleanup.callback(lambda: features.close())
        with stopwatch("features"), watchers.counting("Photos", len(setup.listing.candidates)) as counter:
            checks = features.check(setup.listing.candidates, counter.advance)
            dataset = check_images(setup.listing, config.allow_quarantined, checks=checks)
        splits = split_dataset(dataset, val_fraction=config.val_fraction, seed=config.seed)
        setup.targets.refuse_hidden(dataset.records)
        setup = setup.scaled(run.progress.keep_scale(Scale.of(splits.train, dataset.targets)))
        run.begin(out, dataset, splits, force=force, say=watchers.say)
        path = from_main(str(run.path), accelerator)
        if not is_main:
            run.open(Path(path))
        watchers.run_begun(run.start())
        watchers.photos_read(setup.listing, dataset, splits)

        run.progress.is_over = anyone(run.progress.has_run_long(config), accelerator)
        for phase in run.progress.remaining(config):
            if features.phase is not phase:
                features.close()
                features = setup.source.open(phase)
            make_trainable(features.suffix, phase.norm, setup.new_norms)
            run.begin_phase(network, setup.trained_names(phase))
            watchers.phase_begun(phase, features.prefix.stages.names, num_trainable(features.suffix))
            num_rows = len(features.views) * len(splits.train) + len(splits.val)
            with stopwatch("features"), watchers.counting("Features", num_rows) as counter:
                features.fill(splits.train, splits.val, counter.advance)
            run.progress.is_over = anyone(run.progress.has_run_long(config), accelerator)
            with held_back(watchers.say) as interrupt:  # until what the phase has trained is saved
                with stopwatch("train"):
                    if phase.optimizer == "exact":
                        _solve(setup, features, splits, run, accelerator, watchers, interrupt)
                    else:
                        _take_steps(setup, features, splits, run, accelerator, watchers, interrupt)
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
            watchers.say(
                f"The time limit, {config.max_minutes:g} minutes, is reached; the best weights so far stay."
            )
        accelerator.wait_for_everyone()  # for the others still read the best weights, which finish deletes
        metrics: dict[str, Any] = {}
        if is_main:
            watchers.say("Exporting the best weights and checking the exported model")
            run.load_best(network)
            try:
                metrics = finish(run, setup, features, dataset, splits, accelerator, stopwatch)
                watchers.run_finished(metrics)
                run.write_metrics(metrics)  # last, for it says that the run is finished
                if setup.head != "own":
                    keep_backbone(config, dataset.task, watchers.say)
            except FileWriteError:
                resume_again = shell_command("resume", run.path)
                watchers.say(f"Nothing that was trained is lost. Once files can be written: {resume_again}")
                raise
    return TrainResult(run.path, metrics)


def _solve(
    setup: Setup,
    features: PhaseFeatures,
    splits: Splits,
    run: RunDir,
    accelerator: Accelerator,
    watchers: Watchers,
    interrupt: Interrupt,
) -> None:
    """Solve a phase's head exactly, in place of epochs."""
    config, phase, suffix = setup.config, features.phase, features.suffix
    targets, criterion = setup.targets, setup.criterion
    batches = Batches(features.training, splits.train, targets, config.batch_size, accelerator)
    val_batches = Batches(features.plain, splits.val, targets, config.batch_size, accelerator)
    for epoch in run.progress.remaining_epochs(config):
        begun = time.monotonic()
        with interrupt.released():  # it is done again in seconds, so there is nothing to save
            solved, out_of_fold = fit_head(suffix, features, splits.train, targets)
            train_scores = evaluate(suffix, batches.epoch(view=features.view(epoch)), criterion, accelerator)
            val_scores = evaluate(suffix, val_batches.epoch(), criterion, accelerator)
        run.progress.head = dict(solved.summary())
        run.keep_out_of_fold(out_of_fold, splits.train)
        watchers.head_solved(solved.summary())
        seconds = round(time.monotonic() - begun, 3)
        record = EpochRecord(phase.name, epoch, train_scores, val_scores, 0.0, seconds)
        watchers.epoch_done(record, is_best=run.record(record, setup.network))


def _take_steps(
    setup: Setup,
    features: PhaseFeatures,
    splits: Splits,
    run: RunDir,
    accelerator: Accelerator,
    watchers: Watchers,
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
    if progress.epoch == progress.batch == 0:  # else they are there already, or there are none
        answers = None
        try:
            with interrupt.released():
                answers = answers_out_of_fold(features.suffix, features, splits.train, setup.targets)
        except TrainingError as error:  # which the steps may not meet
            watchers.say(f"answers.csv gets no rows for the training photos: {error}")
        run.keep_out_of_fold(answers, splits.train)

    def check() -> None:
        interrupt.check(lambda flag: anyone(flag, accelerator))

    def score() -> Scores:
        with interrupt.bounded():
            return evaluate(
                trainer.suffix, val_batches.epoch(), setup.criterion, accelerator, check, ready.scoring
            )

    try:
        num_photos = (phase.epochs - progress.epoch) * len(splits.train)
        with watchers.counting(phase.name, num_photos, setup.criterion.headline) as counter:
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
                train_scores = scores_of(totals, setup.criterion, accelerator)
                with trainer.averaged():
                    val_scores, lr = score(), trainer.largest_lr(epoch)
                    seconds = round(time.monotonic() - begun, 3)
                    completed = round(progress.batch / ready.batches.batches_per_epoch, 4)
                    record = EpochRecord(phase.name, epoch, train_scores, val_scores, lr, seconds, completed)
                    watchers.epoch_done(record, is_best=run.record(record, network))
                if run.note_micro_batches(phase, ready.micro_batches()):
                    run.checkpoint(network, trainer.tensors())
                check()
        if progress.epoch < phase.epochs and not progress.out_of_time:
            watchers.say(out_of_patience(phase))

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
                    watchers.mixture_found(*found)
                else:
                    watchers.say(
                        f"{phase.name}: no mixture with the weights before the phase is better (wise_ft)"
                    )
    except Stopped:
        run.checkpoint(network, trainer.tensors())
        watchers.say(f"Saved. Resume with: {shell_command('resume', run.path)}")
        raise
    except TrainingError:
        if trainer.failed_at is not None:
            progress.batch = trainer.failed_at
        if trainer.is_finite():
            run.checkpoint(network, trainer.tensors())
        raise
    features.suffix.to(memory_format=torch.contiguous_format)
