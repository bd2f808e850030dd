"""The upper floor of training: phases that train in steps, with PyTorch."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from headstart.config import PhaseConfig, TrainConfig
from headstart.data.check import CheckedPhoto
from headstart.data.split import Splits
from headstart.data.targets import Scale
from headstart.errors import TrainingError
from headstart.findings.survey import near_pairs
from headstart.frozen.activations import Activations
from headstart.model.freeze import digest, make_trainable, num_trainable
from headstart.model.memory import memory_explained
from headstart.model.stages import cut
from headstart.model.to_backbone import keep_backbone
from headstart.records import Dataset, Record
from headstart.training.by_folds import read_folds
from headstart.training.finish import finish
from headstart.training.floor import Model
from headstart.training.run.history import EpochRecord, Scores
from headstart.training.run.interrupt import Interrupt, Stopped, held_back
from headstart.training.run.provenance import provenance_in_steps
from headstart.training.run.run_dir import RunDir
from headstart.training.run.stopwatch import Stopwatch
from headstart.training.setup import Setup, prepare
from headstart.training.steps.batches import Batches
from headstart.training.steps.device import anyone, create_accelerator, from_main, gathered, reproducible
from headstart.training.steps.epoch import evaluate, scores_of
from headstart.training.steps.features import PhaseFeatures
from headstart.training.steps.phase import ReadyPhase, make_ready
from headstart.training.steps.solve_head import answers_out_of_fold, fit_head
from headstart.training.steps.wise_ft import best_mixture
from headstart.training.watch.counting import Counter
from headstart.training.watch.curves import Curves
from headstart.training.watch.terminal import out_of_patience
from headstart.training.watch.watchers import Watchers


@contextmanager
def open_upper_floor(
    config: TrainConfig,
    watchers: Watchers,
    stopwatch: Stopwatch,
    network: nn.Module | None = None,
    stopped: Path | None = None,
) -> Iterator[UpperFloor]:
    """Prepare a run that trains in steps until the first photo is to be read: see ``choose.open_floor``."""
    with (
        memory_explained(),
        create_accelerator(config, watchers.say) as accelerator,
        reproducible(config.seed, accelerator.device),
    ):
        watchers.add(Curves(watchers.say))
        setup = prepare(config, accelerator, watchers, stopwatch, network, stopped)
        with UpperFloor(setup, accelerator, watchers, stopwatch) as floor:
            yield floor
        if accelerator.is_main_process and setup.head != "own":
            keep_backbone(setup.config, setup.listing.task, watchers.say)


class UpperFloor:
    """Trains a network phase by phase: see ``Floor``."""

    _run: RunDir  # since open_run
    _features: PhaseFeatures  # of the current phase, since read_photos
    _dataset: Dataset  # since begin, like the next
    _splits: Splits

    def __init__(
        self, setup: Setup, accelerator: Accelerator, watchers: Watchers, stopwatch: Stopwatch
    ) -> None:
        """
        Args:
            setup: What the run begins with.
            accelerator: Device, precision and processes.
            watchers: See what happens.
            stopwatch: For the seconds.
        """
        self.config, self.listing, self.is_solved = setup.config, setup.listing, False
        self._setup, self._accelerator = setup, accelerator
        self._watchers, self._stopwatch = watchers, stopwatch
        self._cleanup = ExitStack()

    def __enter__(self) -> UpperFloor:
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def open_run(self, stopped: Path | None, *, force: bool) -> RunDir:
        """Return the run's folder; the network gets the weights of a stopped run's last checkpoint."""
        config, setup, accelerator = self.config, self._setup, self._accelerator
        origin = provenance_in_steps(config, accelerator, setup.weights.identity)
        frozen = digest(cut(setup.network, config.phases[0].unfreeze)[0])
        is_main, say = accelerator.is_main_process, self._watchers.say
        self._run = RunDir(config, origin, setup.network, frozen=frozen, writes=is_main, say=say)
        self._cleanup.callback(self._run.close)
        if stopped is not None:
            self._run.resume(stopped, setup.trained_names, force=force)
            self._run.progress.take_totals(accelerator.process_index, accelerator.num_processes)
        return self._run

    def read_photos(self, advance: Callable[[int], object]) -> Iterator[CheckedPhoto]:
        """Read and check every photo, and run the frozen part of the next phase on it in the same pass."""
        phases = self.config.phases
        self._features = self._setup.source.open(phases[min(self._run.progress.phase, len(phases) - 1)])
        self._cleanup.callback(lambda: self._features.close())
        return self._features.check(self.listing.candidates, advance)

    def near_duplicates(self, records: Sequence[Record]) -> Sequence[tuple[int, int]] | None:
        """Compare the photos by their frozen features; a resumed run has the pairs that it began with."""
        progress, features = self._run.progress, self._features
        if progress.phase == progress.epoch == progress.batch == 0:
            room = self._setup.source.room if features.plain.is_kept else None
            near = near_pairs(records, lambda: features.vectors(records), room, self._watchers.counting)
            progress.near = None
            if near is not None:
                progress.near = [(records[one].sha256, records[other].sha256) for one, other in near]
        if progress.near is None:
            return None
        row_of = {record.sha256: row for row, record in reversed([*enumerate(records)])}
        return [(row_of[one], row_of[other]) for one, other in progress.near if {one, other} <= row_of.keys()]

    def begin(
        self, out: str | os.PathLike[str] | None, dataset: Dataset, splits: Splits, *, force: bool
    ) -> None:
        """Make the run folder, which all processes then know."""
        run, accelerator = self._run, self._accelerator
        self._dataset, self._splits = dataset, splits
        self._setup.targets.refuse_hidden(dataset.records)
        scale = run.progress.keep_scale(Scale.of(splits.train, dataset.targets))
        self._setup = self._setup.scaled(scale)
        run.begin(out, dataset, splits, force=force)
        path = from_main(str(run.path), accelerator)
        if not accelerator.is_main_process:
            run.open(Path(path))
        self._look_at_the_time()

    def train_phase(self, phase: PhaseConfig) -> None:
        """Freeze what comes before the cut, compute it once, and train the rest."""
        setup, run, splits, watchers = self._setup, self._run, self._splits, self._watchers
        if self._features.phase is not phase:
            self._features.close()
            self._features = setup.source.open(phase)
        features = self._features
        make_trainable(features.suffix, phase.norm, setup.new_norms)
        run.begin_phase(setup.trained_names(phase))
        watchers.phase_begun(phase, features.prefix.stages.names, num_trainable(features.suffix))
        num_rows = len(features.views) * len(splits.train) + len(splits.val)
        with self._stopwatch("features"), watchers.counting("Features", num_rows) as counter:
            features.fill(splits.train, splits.val, counter.advance)
        self._look_at_the_time()
        with held_back(watchers.say) as interrupt:  # until what the phase has trained is saved
            with self._stopwatch("train"):
                if phase.optimizer == "exact":
                    self._solve(interrupt)
                else:
                    self._take_steps(interrupt)
            if digest(features.prefix.stages) != features.frozen_digest:
                raise TrainingError(
                    f"Phase {phase.name} changed frozen parameters or buffers. This is a bug of "
                    f"Headstart's; please report it with the backbone's name ({setup.backbone.full_name})."
                )
            self._accelerator.free_memory()
            self._accelerator.wait_for_everyone()  # for the main process has written the best weights
            run.end_phase()
        if run.progress.out_of_time:
            minutes = self.config.max_minutes
            watchers.say(
                f"The time limit, {minutes:g} minutes, has been reached; the best weights so far are kept."
            )

    def make_model(self) -> Model | None:
        """Export the best weights and compare the file with training."""
        self._accelerator.wait_for_everyone()  # for the others still read the best weights
        if not self._accelerator.is_main_process:
            return None
        self._watchers.say("Exporting the best weights and checking the exported model")
        self._run.load_best()
        run, config, dataset, splits = self._run, self.config, self._dataset, self._splits
        with self._stopwatch("export"):
            model = finish(run, self._setup, self._features, dataset, splits, self._accelerator)
        if config.folds is None or config.fold is not None:
            return model
        # The runs beside this one have each held out one fold: see ``tools/folds.py``.
        info = model.predictor.info
        by_folds = read_folds(run.path.parent, config.folds, info, splits, dataset.root)
        return dataclasses.replace(model, by_folds=by_folds)

    def _solve(self, interrupt: Interrupt) -> None:
        """Solve the phase's head exactly, in place of epochs."""
        setup, features, splits, run = self._setup, self._features, self._splits, self._run
        batches = self._batches(features.training, splits.train)
        val_batches = self._batches(features.plain, splits.val)
        suffix, criterion, accelerator = features.suffix, setup.criterion, self._accelerator
        for epoch in run.progress.remaining_epochs(self.config):
            begun = time.monotonic()
            with interrupt.released():  # it is done again in seconds, so there is nothing to save
                solved = fit_head(
                    suffix, features, splits.train, setup.targets, self.config, self._watchers.say
                )
                of_epoch = batches.epoch(view=features.view(epoch))
                scores = evaluate(suffix, of_epoch, criterion, accelerator)
                train_scores = {name: scores[name] for name in ("loss", criterion.headline)}
                val_scores = evaluate(suffix, val_batches.epoch(), criterion, accelerator)
            run.progress.head = dict(solved.summary())
            run.checkpoints.save_out_of_fold(solved.out_of_fold, splits.train)
            self._watchers.head_solved(solved.summary())
            if solved.adjustment:
                self._watchers.say(solved.adjustment.sentence)
            seconds = round(time.monotonic() - begun, 3)
            record = EpochRecord(features.phase.name, epoch, train_scores, val_scores, 0.0, seconds)
            self._watchers.epoch_done(record, is_best=run.record(record))

    def _take_steps(self, interrupt: Interrupt) -> None:
        """Train what the phase unfreezes, epoch by epoch, from the last checkpoint if the run is resumed."""
        phase, run, progress = self._features.phase, self._run, self._run.progress
        ready = self._make_ready(interrupt)
        try:
            num_photos = (phase.epochs - progress.epoch) * len(self._splits.train)
            with self._watchers.counting(phase.name, num_photos, self._setup.criterion.headline) as counter:
                for epoch in progress.remaining_epochs(self.config):
                    begun = time.monotonic()
                    totals = self._train_epoch(epoch, ready, interrupt, counter)
                    self._score_epoch(epoch, ready, interrupt, totals, begun)
            if progress.epoch < phase.epochs and not progress.out_of_time:
                self._watchers.say(out_of_patience(phase))
            if phase.wise_ft and progress.epoch > 0 and not progress.is_over:
                self._mix_weights(ready, interrupt)
        except Stopped:
            self._save(ready)
            self._watchers.say("Saved.")
            raise
        except TrainingError:
            if ready.trainer.failed_at is not None:
                progress.batch = ready.trainer.failed_at
            if ready.trainer.is_finite():
                run.checkpoint(ready.trainer.tensors())
            raise
        self._features.suffix.to(memory_format=torch.contiguous_format)

    def _make_ready(self, interrupt: Interrupt) -> ReadyPhase:
        """Build what takes the phase's steps, and continue where a checkpoint stands."""
        setup, features, run, photos = self._setup, self._features, self._run, self._splits.train
        progress = run.progress
        ready = make_ready(setup, features, photos, self._accelerator)
        if state := run.take_resumed():
            ready.trainer.load(state)
        ready.resume(progress.micro_batches.get(features.phase.name, {}))
        if progress.epoch == progress.batch == 0:  # else they are there already, or there are none
            answers = None
            try:
                with interrupt.released():
                    answers = answers_out_of_fold(
                        features.suffix, features, photos, setup.targets, self.config
                    )
            except TrainingError as error:  # which the steps may not meet
                self._watchers.say(f"answers.csv gets no rows for the training photos: {error}")
            run.checkpoints.save_out_of_fold(answers, photos)
        return ready

    def _train_epoch(self, epoch: int, ready: ReadyPhase, interrupt: Interrupt, counter: Counter) -> Tensor:
        """Take the steps of an epoch that are not done yet; return its totals."""
        run, progress = self._run, self._run.progress
        totals = torch.zeros(3) if progress.totals is None else progress.totals
        totals = totals.to(self._accelerator.device)
        steps = ready.batches_of_steps(epoch, first=progress.batch)
        for batches in interrupt.bounded_each(steps):
            with interrupt.bounded():
                batch = ready.step(batches, epoch, totals)
            progress.steps_done(batch.number + 1, totals)
            counter.advance(batch.step_size, totals)
            self._check(interrupt)
            # A change of the passes' size decides later bits, so that resuming has to know it.
            has_shrunk = progress.note_micro_batches(ready.features.phase, ready.micro_batches())
            if anyone(has_shrunk or run.is_checkpoint_due(), self._accelerator):
                self._save(ready)
            self._look_at_the_time()
            if progress.is_over:
                break
        ready.trainer.verify()
        return totals

    def _save(self, ready: ReadyPhase) -> None:
        """Write a checkpoint of the phase; all processes call this after the same step."""
        progress = self._run.progress
        if progress.totals is not None:
            progress.gathered = gathered(progress.totals.tolist(), self._accelerator)
        self._run.checkpoint(ready.trainer.tensors())

    def _score_epoch(
        self, epoch: int, ready: ReadyPhase, interrupt: Interrupt, totals: Tensor, begun: float
    ) -> None:
        """Score the weights on the validation photos, and keep them if they are the best so far."""
        run, progress, trainer = self._run, self._run.progress, ready.trainer
        name = ready.features.phase.name
        train_scores = scores_of(totals, self._setup.criterion, self._accelerator)
        with trainer.averaged():
            val_scores, lr = self._score(ready, interrupt), trainer.largest_lr(epoch)
            seconds = round(time.monotonic() - begun, 3)
            completed = round(progress.batch / ready.batches.batches_per_epoch, 4)
            record = EpochRecord(name, epoch, train_scores, val_scores, lr, seconds, completed)
            self._watchers.epoch_done(record, is_best=run.record(record))
        if progress.note_micro_batches(ready.features.phase, ready.micro_batches()):
            run.checkpoint(trainer.tensors())
        self._check(interrupt)

    def _mix_weights(self, ready: ReadyPhase, interrupt: Interrupt) -> None:
        """Try mixtures of the weights before and after the phase, and keep the best if it is better."""
        run, progress, network = self._run, self._run.progress, self._setup.network
        name = ready.features.phase.name
        assert progress.best is not None
        is_best = progress.best.record.phase == name
        self._accelerator.wait_for_everyone()  # for the main process has written the best weights
        if is_best:
            run.load_best()
        record = progress.best.record if is_best else progress.history[-1]
        with nullcontext() if is_best else ready.trainer.averaged():
            found = best_mixture(
                network,
                run.weights.at(progress.start),
                record,
                progress.best.record,
                self.config.select,
                lambda: self._score(ready, interrupt),
                progress.floor,
            )
            if found:
                run.record_mixture(*found)
                self._watchers.mixture_found(*found)
            else:
                self._watchers.say(
                    f"{name}: no mixture with the weights before the phase is better (wise_ft)"
                )

    def _score(self, ready: ReadyPhase, interrupt: Interrupt) -> Scores:
        """Score the network on the validation photos."""
        batches = self._batches(self._features.plain, self._splits.val, ready.layout).epoch()
        suffix, criterion = ready.trainer.suffix, self._setup.criterion
        with interrupt.bounded():
            return evaluate(
                suffix, batches, criterion, self._accelerator, lambda: self._check(interrupt), ready.scoring
            )

    def _batches(
        self,
        activations: Activations,
        photos: Sequence[Record],
        layout: torch.memory_format = torch.contiguous_format,
    ) -> Batches:
        size, targets = self.config.batch_size, self._setup.targets
        return Batches(activations, photos, targets, size, self._accelerator, memory_format=layout)

    def _check(self, interrupt: Interrupt) -> None:
        interrupt.check(lambda flag: anyone(flag, self._accelerator))

    def _look_at_the_time(self) -> None:
        """Note whether the time budget is spent, in any process."""
        if self.config.max_minutes is not None:
            progress = self._run.progress
            progress.is_over = anyone(progress.has_run_long(self.config), self._accelerator)
