"""Progress for people: a live bar in a terminal, plain lines everywhere else."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headstart import tasks
from headstart.columns import counted
from headstart.config import PhaseConfig
from headstart.data.split import Splits
from headstart.environment import has_pytorch
from headstart.messages import fitted
from headstart.reasons import by_reason
from headstart.records import Dataset, Listing
from headstart.training.run.history import EpochRecord, shown, shown_val
from headstart.training.watch.watcher import PhotoCount, RunStart, Watcher
from headstart.views.flips import flip_warnings

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

SECONDS_BETWEEN_LINES = 10.0
_MOST_NAMED = 5


class Terminal(Watcher):
    """Writes to standard error.

    Args:
        quiet: Show nothing, for all processes except the main one.
        in_notebook: Write to standard output, because notebooks display standard error as errors, and leave
            the progress to ``NotebookBar``.
    """

    def __init__(self, *, quiet: bool = False, in_notebook: bool = False) -> None:
        self._quiet = quiet
        self._in_notebook = in_notebook
        self._console: Console | None = None
        self._bar: tuple[Progress, TaskID] | None = None
        self._last_line = 0.0
        self._phases: tuple[PhaseConfig, ...] = ()
        self._select = ""
        self._has_export = False
        self._epochs = 1
        is_live = sys.stderr.isatty() or "FORCE_COLOR" in os.environ
        if is_live and not in_notebook:  # elsewhere importing rich would only take time
            from rich.console import Console

            self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        if self._quiet:
            return
        text = fitted(text)
        if self._console is None:
            print(text, file=sys.stdout if self._in_notebook else sys.stderr, flush=True)
        else:
            self._console.print(text, markup=False)

    def run_begun(self, start: RunStart) -> None:
        """Store the phases with flips, and whether the model can be exported to PyTorch."""
        self._phases, self._select = start.config.phases, start.config.select
        self._has_export = has_pytorch() and not start.config.backbone_is_file

    def photos_read(self, listing: Listing, dataset: Dataset, splits: Splits) -> None:
        """Print what happened to every file, and warnings about the photos."""
        if listing.form:
            self.say(f"Read: {listing.form}; task {listing.task}")
        used, quarantined, ignored = len(dataset.records), len(dataset.quarantined), len(dataset.ignored)
        validating = f"{len(splits.val)} to validate"
        if splits.fold:
            validating = f"which are also scored in {max(splits.fold) + 1} folds"
        self.say(
            f"{dataset.found} files found = {used} used + {quarantined} quarantined + {ignored} ignored; "
            f"{len(splits.train)} to train, {validating}, {len(splits.test)} to test, "
            f"{in_words(dataset)}"
        )
        for note in dataset.notes:
            self.say(f"  {note}")
        reasons = ((repr(photo.path), photo.reason) for photo in dataset.quarantined)
        lines = by_reason(reasons, _MOST_NAMED, "see quarantine.csv")
        for line in lines:
            self.say(f"  quarantined: {line}")
        if quarantined > len(lines):
            self.say("  all of them are in quarantine.csv")
        if listing.without_class:
            self.say(
                f"Warning: {counted(len(listing.without_class), 'image')} in no class folder, ignored: "
                f"{listing.without_class[0]!r}"
            )
        several = tasks.of(dataset.task).has_labels
        scored = splits.train if splits.fold else splits.val
        validated = {label for photo in scored for label in (photo.labels if several else (photo.label,))}
        if unseen := [n for i, n in enumerate(dataset.class_names) if i not in validated]:
            self.say(
                f"Warning: no validation photos of {', '.join(map(repr, unseen[:_MOST_NAMED]))}; the scores "
                f"do not include {'it' if len(unseen) == 1 else 'them'}. Add photos."
            )
        if splits.shared:
            which = ", ".join(repr(photo.path) for photo in splits.shared[:_MOST_NAMED])
            more = ", ..." if len(splits.shared) > _MOST_NAMED else ""
            are, them = "are exact copies of training photos", "them"
            if len(splits.shared) == 1:
                are, them = "is an exact copy of a training photo", "it"
            self.say(
                f"Warning: {counted(len(splits.shared), 'validation or test photo')} {are}, so those scores "
                f"are too optimistic: {which}{more}. Remove {them}, or let Headstart split the photos."
            )
        if splits.straddling:
            self.say(
                f"Warning: groups with photos in more than one of the given splits: {splits.straddling}, so "
                f"scores may be too optimistic. Headstart keeps groups together if it makes the splits."
            )
        for text in flips_in_words(dataset.class_names, self._phases):
            self.say(text)

    def phase_begun(self, phase: PhaseConfig, frozen_stages: tuple[str, ...], num_trainable: int) -> None:
        """Print which stages a phase trains, and how."""
        self._epochs = phase.epochs
        frozen = f"frozen: {', '.join(frozen_stages)}" if frozen_stages else "nothing frozen"
        if not frozen_stages and isinstance(phase.unfreeze, int):
            frozen += (
                " (the stages inside this network are not known, so its last stage is its whole backbone)"
            )
        how = f"{phase.optimizer} at {phase.head_lr:g}, {counted(phase.epochs, 'epoch')}"
        if phase.optimizer == "exact":
            how = "solved exactly"
        self.say(f"Phase {phase.name}: {num_trainable:,} parameters, {how}; {frozen}")

    def head_solved(self, summary: Mapping[str, Any]) -> None:
        """Print the penalties chosen by cross-validation, and the out-of-fold scores of the head."""
        penalty, penalties = summary.get("penalty"), summary.get("penalties", ())
        cv_loss: float | None = summary["cv_loss"]
        if "stages" in summary:
            has_advice = self._has_export and summary["stages"]
            advice = ". To export to PyTorch, train with --head linear" if has_advice else ""
            self.say(_stages_in_words(summary["stages"], summary["stage_errors"]) + advice)
        others = ("penalty", "penalties", "cv_loss", "stages", "stage_errors", "tau", "tau_scores")
        cv_headline = {name: value for name, value in summary.items() if name not in others}
        chosen = [penalty] if penalty is not None else sorted(penalties)
        penalty_text = f"penalty {chosen[0]:.2g}" + (
            f" to {chosen[-1]:.2g}" if chosen[-1] > chosen[0] else ""
        )
        if cv_loss is None:
            of_class = "of each class " if penalty is not None else ""
            self.say(
                f"Head: {penalty_text}. Cross-validation is not possible, because the training "
                f"photos {of_class}are one photo, identical photos, or one group."
            )
            return
        headline = shown({name.removeprefix("cv_"): value for name, value in cv_headline.items()})
        self.say(
            f"Head: {penalty_text}, chosen by cross-validation on the training photos: loss {cv_loss:.3f} "
            f"{headline}"
        )

    def epoch_done(self, record: EpochRecord, is_best: bool) -> None:
        """Print the scores of an epoch."""
        text = record.text(self._select)
        self.say(f"{record.phase} {record.epoch}/{self._epochs}   {text}{'   best' if is_best else ''}")

    def mixture_found(self, record: EpochRecord, share: float) -> None:
        """Print the scores of a better mixture of weights."""
        self.say(
            f"{record.phase}: {share:.0%} of epoch {record.epoch}'s weights, {1 - share:.0%} of those before "
            f"the phase: val {shown_val(record.val, self._select)}   best"
        )

    def progressed(self, count: PhotoCount) -> None:
        """Update the bar; without a bar, print a line every ten seconds."""
        if self._in_notebook:
            return
        if self._console is None or not self._console.is_terminal:
            self._print_count(count)
            return
        if count.done == 0 and self._bar is None:
            self._bar = _new_bar(self._console, count)
        if self._bar is None:
            return
        bar, task = self._bar
        if count.is_over:
            bar.stop()
            self._bar = None
            return
        scores = f", {count.scores}" if count.scores else ""
        bar.update(task, completed=count.done, rate=f"{count.rate:.0f} images/s", scores=scores)

    def _print_count(self, count: PhotoCount) -> None:
        now = time.monotonic()
        if count.done == 0:
            self._last_line = now
        elif not count.is_over and now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            self.say(
                f"{count.description}: {count.done}/{count.total}, {count.rate:.0f} images/s, "
                f"{count.seconds_left:.0f} s left{f', {count.scores}' if count.scores else ''}"
            )


def _new_bar(console: Console, count: PhotoCount) -> tuple[Progress, TaskID]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[rate]}{task.fields[scores]}"),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
    )
    task = bar.add_task(count.description, total=count.total, rate="", scores="")
    bar.start()
    return bar, task


def flips_in_words(class_names: tuple[str, ...], phases: Sequence[PhaseConfig]) -> list[str]:
    """Return a warning for each flip of a phase that may change labels."""
    warnings = [
        text for phase in phases for text in flip_warnings(class_names, phase.augment, mirror=phase.mirror)
    ]
    return [f"Warning: {text}" for text in dict.fromkeys(warnings)]


def out_of_patience(phase: PhaseConfig) -> str:
    """Return a sentence about why a phase ends before its last epoch."""
    assert phase.patience is not None
    return (
        f"{phase.name} ends early: no improvement for {counted(phase.patience, 'epoch')} "
        f"(patience = {phase.patience})"
    )


def in_words(dataset: Dataset | Listing) -> str:
    """Return a description of the labels."""
    return tasks.of(dataset.task).labelled(dataset.class_names, dataset.targets)


def _stages_in_words(stages: Sequence[str], errors: Mapping[str, float]) -> str:
    """Return which stages a head reads, and why; the last stage alone may not have been a choice."""
    last = errors.get("last")
    if not stages:
        with_others = min(error for name, error in errors.items() if name != "last")
        return (
            f"The head reads the last stage alone: in cross-validation, earlier stages do not clearly help "
            f"(squared error {last:.3f}, with them {with_others:.3f})"
        )
    if not errors:
        return f"The head reads {', '.join(stages)} and the last stage"
    alone = "" if last is None else f", {last:.3f} with the last stage alone"
    chosen = errors["+".join([*stages, "last"])]
    return (
        f"The head reads {', '.join(stages)} and the last stage: squared error {chosen:.3f} in "
        f"cross-validation{alone}"
    )
