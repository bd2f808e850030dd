"""What a person sees while they wait: live on a terminal, plain lines everywhere else."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from headstart.columns import counted
from headstart.config import PhaseConfig
from headstart.data.flips import flip_warnings
from headstart.data.records import Dataset, Listing
from headstart.data.split import Splits
from headstart.training.history import EpochRecord, shown
from headstart.weight_files import WeightsSource

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from torch import Tensor

Item = TypeVar("Item")

_SECONDS_BETWEEN_LINES = 10.0
_MOST_NAMED = 5
_STEPS_BETWEEN_SCORES = 8  # on a GPU, which has to be waited for


class Counter:
    """Counts photos and shows how far they are: as a bar, or, without one, as a line every ten seconds."""

    def __init__(
        self, description: str, total: int, headline: str, bar: Progress | None, *, quiet: bool
    ) -> None:
        self._description, self._total, self._headline, self._quiet = description, total, headline, quiet
        self._bar = bar
        self._task = bar.add_task(description, total=total, rate="", scores="") if bar else None
        self._done = 0
        self._begun = self._shown = time.monotonic()
        self._calls, self._read_at, self._scores = 0, -_STEPS_BETWEEN_SCORES, ""

    def advance(self, photos: int = 1, totals: Tensor | None = None) -> None:
        """Count photos.

        Args:
            photos: How many more are done.
            totals: Sum of losses, right answers and photos of the epoch so far; read only when it is shown,
                as reading it waits for the device.
        """
        self._done += photos
        self._calls += 1
        now = time.monotonic()
        if self._quiet or now - self._shown < (_SECONDS_BETWEEN_LINES if self._bar is None else 0.1):
            return
        self._shown = now
        rate = self._done / (now - self._begun)
        if self._bar is not None and self._task is not None:
            scores = self._running_scores(totals)
            self._bar.update(self._task, completed=self._done, rate=f"{rate:.0f} images/s", scores=scores)
        else:
            left = (self._total - self._done) / rate
            print(
                f"{self._description}: {self._done}/{self._total}, {rate:.0f} images/s, {left:.0f} s left"
                f"{self._running_scores(totals)}",
                file=sys.stderr,
                flush=True,
            )

    def each(self, photos: Iterable[Item]) -> Iterator[Item]:
        """Yield what a pass over photos yields, and count it."""
        for photo in photos:
            yield photo
            self.advance()

    def _running_scores(self, totals: Tensor | None) -> str:
        if totals is None:
            return ""
        if totals.device.type == "cpu" or self._calls - self._read_at >= _STEPS_BETWEEN_SCORES:
            self._read_at = self._calls
            loss, score, count = totals.tolist()
            self._scores = f", loss {loss / count:.3f}, {self._headline} {score / count:.3f}" if count else ""
        return self._scores


class Display:
    """Writes to standard error.

    Args:
        quiet: Show nothing: every process but the main one.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._console: Console | None = None
        if (
            sys.stderr.isatty() or "FORCE_COLOR" in os.environ
        ):  # elsewhere importing rich would only take time
            from rich.console import Console

            self._console = Console(stderr=True, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print one line, above the bar if there is one."""
        if self._quiet:
            return
        if self._console is None:
            print(text, file=sys.stderr, flush=True)
        else:
            self._console.print(text, markup=False)

    def backbone(self, name: str, weights: WeightsSource) -> None:
        """Say which pretrained network is used, and where its weights come from."""
        self.say(f"Backbone {name}, weights: {weights}")

    def found(self, listing: Listing, dataset: Dataset, splits: Splits) -> None:
        """Account for every file, and warn of what looks wrong with the photos."""
        used, quarantined, ignored = len(dataset.records), len(dataset.quarantined), len(dataset.ignored)
        self.say(
            f"{dataset.found} files found = {used} used + {quarantined} quarantined + {ignored} ignored; "
            f"{len(splits.train)} to train, {len(splits.val)} to validate, {len(splits.test)} to test, "
            f"{in_words(dataset)}"
        )
        for note in dataset.notes:
            self.say(f"  {note}")
        for photo in dataset.quarantined[:_MOST_NAMED]:
            self.say(f"  quarantined: {photo.path!r}: {photo.reason}")
        if quarantined > _MOST_NAMED:
            self.say(f"  ... and {quarantined - _MOST_NAMED} more: see quarantine.csv")
        if listing.without_class:
            self.say(
                f"Warning: {counted(len(listing.without_class), 'image')} in no class folder, ignored: "
                f"{listing.without_class[0]!r}"
            )
        several = dataset.task == "multilabel"
        validated = {label for photo in splits.val for label in (photo.labels if several else (photo.label,))}
        if unseen := [n for i, n in enumerate(dataset.class_names) if i not in validated]:
            self.say(
                f"Warning: no validation photos of {', '.join(map(repr, unseen[:_MOST_NAMED]))}; the scores "
                f"say nothing of {'it' if len(unseen) == 1 else 'them'}. Add photos."
            )
        if splits.shared:
            self.say(
                f"Warning: exact copies of training photos in validation or test: {splits.shared}, so those "
                f"scores are too optimistic. Remove them, or let Headstart split the photos."
            )
        if splits.contradictory:
            self.say(f"Warning: identical photos with different labels: {splits.contradictory}.")
        if splits.straddling:
            self.say(
                f"Warning: groups with photos in more than one of the given splits: {splits.straddling}, so "
                f"scores may be too optimistic. Headstart keeps groups together if it makes the splits."
            )

    def flips(self, class_names: tuple[str, ...], phases: tuple[PhaseConfig, ...]) -> None:
        """Warn where flips may change labels."""
        warnings = [text for phase in phases for text in flip_warnings(class_names, phase.augment)]
        for text in dict.fromkeys(warnings):
            self.say(f"Warning: {text}")

    def phase(self, phase: PhaseConfig, frozen_stages: Sequence[str], num_trainable: int) -> None:
        """Say what a phase trains, and how.

        Args:
            phase: Its settings.
            frozen_stages: Names of the stages that it freezes.
            num_trainable: Parameters that it trains.
        """
        frozen = f"frozen: {', '.join(frozen_stages)}" if frozen_stages else "nothing frozen"
        if not frozen_stages and isinstance(phase.unfreeze, int):
            frozen += " (the inside of this network is not staged, so its last stage is all of its backbone)"
        how = f"{phase.optimizer} at {phase.head_lr:g}, {counted(phase.epochs, 'epoch')}"
        if phase.optimizer == "exact":
            how = "solved exactly"
        self.say(f"Phase {phase.name}: {num_trainable:,} parameters, {how}; {frozen}")

    def solved(
        self,
        *,
        cv_loss: float | None,
        penalty: float | None = None,
        penalties: Sequence[float] = (),
        **cv_headline: float | None,
    ) -> None:
        """Print the penalties that cross-validation chose, and how well the head did on what was left out.

        All arguments are what ``SolvedHead.summary`` returns.
        """
        chosen = [penalty] if penalty is not None else sorted(penalties)
        shown = f"penalty {chosen[0]:.2g}" + (f" to {chosen[-1]:.2g}" if chosen[-1] > chosen[0] else "")
        if cv_loss is None:
            of_class = "of each class " if penalty is not None else ""
            self.say(
                f"Head: {shown}. Cross-validation is not possible, because the training "
                f"photos {of_class}are one photo, identical photos, or one group."
            )
            return
        headline = " ".join(f"{name.removeprefix('cv_')} {value:.3f}" for name, value in cv_headline.items())
        self.say(
            f"Head: {shown}, chosen by cross-validation on the training photos: loss {cv_loss:.3f} {headline}"
        )

    def epoch(self, record: EpochRecord, epochs: int, *, is_best: bool) -> None:
        """Print one epoch's numbers."""
        self.say(f"{record.phase} {record.epoch}/{epochs}   {record}{'   best' if is_best else ''}")

    def out_of_patience(self, phase: PhaseConfig) -> None:
        """Say why a phase ends before its last epoch."""
        assert phase.patience is not None
        self.say(
            f"{phase.name} ends early: no improvement for {counted(phase.patience, 'epoch')} "
            f"(patience = {phase.patience})"
        )

    def no_mixture(self, phase: PhaseConfig) -> None:
        """Say that no mixture of weights was better."""
        self.say(f"{phase.name}: no mixture with the weights before the phase is better (wise_ft)")

    def mixture(self, record: EpochRecord, share: float) -> None:
        """Print a better mixture of weights."""
        self.say(
            f"{record.phase}: {share:.0%} of epoch {record.epoch}'s weights, {1 - share:.0%} of those before "
            f"the phase: val {shown(record.val)}   best"
        )

    @contextmanager
    def counting(self, description: str, total: int, headline: str = "") -> Iterator[Counter]:
        """Show progress over ``total`` photos, and the task's headline where there are totals."""
        if self._quiet or self._console is None or not self._console.is_terminal:
            yield Counter(description, total, headline, None, quiet=self._quiet)
            return
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[rate]}{task.fields[scores]}"),
            TimeRemainingColumn(compact=True),
        )
        with Progress(*columns, console=self._console, transient=True) as bar:
            yield Counter(description, total, headline, bar, quiet=False)


def in_words(dataset: Dataset | Listing) -> str:
    """Say what photos are labelled with."""
    classes = counted(len(dataset.class_names), "class", "classes")
    return {
        "classification": classes,
        "multilabel": f"any of {classes}",
        "regression": f"numbers: {', '.join(dataset.targets)}",
        "box": "one box each" + (f" of {classes}" if len(dataset.class_names) > 1 else ""),
    }[dataset.task]
