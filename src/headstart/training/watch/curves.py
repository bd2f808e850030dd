"""Draws ``curves.png``: loss, main score and learning rate over the epochs of all phases."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from headstart.columns import round_numbers
from headstart.files import FilesToLookAt
from headstart.tasks.task import LOWER_IS_BETTER
from headstart.training.run.history import EpochRecord
from headstart.training.tools.figure import new_figure
from headstart.training.watch.watcher import RunStart, Watcher

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_NUMBERS: Final = 10  # along an axis
SECONDS_BETWEEN_CURVES: Final = 10.0
SECONDS_TO_DRAW_FIRST: Final = 1.0  # as matplotlib is imported then
SHARE_FOR_CURVES: Final = 0.02  # of the time, as the device waits while they are drawn


class Curves(Watcher):
    """Draws ``curves.png`` of a run that trains in steps, at its end and sometimes before."""

    def __init__(self, say: Callable[[str], object]) -> None:
        """
        Args:
            say: Called with a warning where the file cannot be written.
        """
        self._files = FilesToLookAt(say)
        self._history: list[EpochRecord] = []
        self._best: EpochRecord | None = None
        self._share = 1.0
        self._mixing: list[str] = []
        self._drawn, self._seconds_to_draw = time.monotonic(), SECONDS_TO_DRAW_FIRST

    def run_begun(self, start: RunStart) -> None:
        """Start with the history of a resumed run."""
        self._files.folder = start.path
        self._history, self._best, self._share = list(start.history), start.best, start.share
        self._mixing = [phase.name for phase in start.config.phases if phase.mixup or phase.cutmix]
        self._drawn = time.monotonic()

    def epoch_done(self, record: EpochRecord, is_best: bool) -> None:
        """Add an epoch, and draw the curves if that takes only a small part of the time."""
        self._history.append(record)
        if is_best:
            self._best, self._share = record, 1.0
        pause = max(SECONDS_BETWEEN_CURVES, self._seconds_to_draw / SHARE_FOR_CURVES)
        if time.monotonic() - self._drawn > pause:
            self._draw()

    def mixture_found(self, record: EpochRecord, share: float) -> None:
        """Move the mark to the scores of the mixture."""
        self._best, self._share = record, share

    def run_finished(self, metrics: Mapping[str, Any]) -> None:
        """Draw the whole run, and write files again that could not be written."""
        self._draw()
        self._files.show_again()

    def _draw(self) -> None:
        if self._best is None:
            return
        begun = time.monotonic()
        picture = curves_png(self._history, self._best, share=self._share, mixing=self._mixing)
        self._files.show("curves.png", picture)
        self._drawn = time.monotonic()
        self._seconds_to_draw = self._drawn - begun


def curves_png(
    history: Sequence[EpochRecord], best: EpochRecord, *, share: float = 1.0, mixing: Collection[str] = ()
) -> bytes:
    """Draw the history, with a line between phases and a mark at the best epoch.

    Args:
        history: At least one epoch.
        best: Scores of the best weights; for a mixture, with its validation scores.
        share: Fraction of the epoch's weights in the best weights.
        mixing: Names of phases with mixup or CutMix.

    Returns:
        The content of a PNG file.
    """
    file = io.BytesIO()
    curves(history, best, share=share, mixing=mixing).savefig(file, format="png")
    return file.getvalue()


def curves(
    history: Sequence[EpochRecord], best: EpochRecord, *, share: float = 1.0, mixing: Collection[str] = ()
) -> Figure:
    """Return the figure: see ``curves_png``."""
    x = list(range(1, len(history) + 1))
    # A mixture of weights belongs to its epoch, but is better than that.
    best_x = [(row.phase, row.epoch) for row in history].index((best.phase, best.epoch)) + 1
    ring = (
        "best" if share == 1 else f"best: {share:.0%} of this epoch's weights, the rest from before the phase"
    )
    figure = new_figure(figsize=(11, 4.0), dpi=110, layout="constrained")
    loss, score, lr = figure.subplots(1, 3)
    headline = best.headline
    title_of = {"accuracy": "Accuracy", "iou": "IoU", "mae": "Mean absolute error"}
    for axes, name, title in ((loss, "loss", "Loss"), (score, headline, title_of.get(headline, headline))):
        train = [row.train[name] for row in history]
        val = [row.val[name] for row in history]
        axes.plot(x, train, color="#9aa5b1", marker="o", markersize=3, label="training")
        axes.plot(x, val, color="#1f6feb", marker="o", markersize=3, label="validation")
        (mark,) = axes.plot([best_x], [best.val[name]], "o", ms=11, mfc="none", mew=1.6)
        mark.set(markeredgecolor="#d4380d", label=ring, clip_on=False)  # whole at the edge of the axes too
        axes.set_title(title)
    loss.set_ylim(0, 1.25 * max(max(row.train["loss"], row.val["loss"]) for row in history))  # room for names
    if headline in LOWER_IS_BETTER:
        score.set_ylim(bottom=0)
    else:
        score.set_ylim(top=1.005)
    lr.step(x, [row.lr for row in history], where="mid", color="#2da44e")
    lr.set_title("Learning rate")
    if any(row.lr > 0 for row in history):  # a solved head has none
        lr.set_yscale("log", nonpositive="mask")
    starts = [i for i in range(1, len(history)) if history[i].phase != history[i - 1].phase]
    numbered = _numbered(history)
    for axes in (loss, score, lr):
        axes.set_xlabel("epoch within its phase" if starts else "epoch")
        axes.set_xlim(0.5, len(history) + 0.5)
        axes.set_xticks([i + 1 for i in numbered], [str(history[i].epoch) for i in numbered])
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        for start in starts:
            axes.axvline(start + 0.5, color="#6e7781", linewidth=1, linestyle=":")
    for number, first in enumerate([0, *starts]):  # in two rows, for a phase may be an epoch short
        transform, y = loss.get_xaxis_transform(), 0.98 - 0.07 * (number % 2)
        loss.text(first + 0.6, y, history[first].phase, transform=transform, va="top", size=8)
    if mixed := sorted({row.phase for row in history} & set(mixing)):
        figure.suptitle(
            f"Training scores of {', '.join(mixed)} are of mixed photos, counted by one of their two labels",
            size=9,
        )
    figure.legend(*loss.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=3)
    return figure


def _numbered(history: Sequence[EpochRecord]) -> list[int]:
    """Return the epochs with numbers on the axis; these are numbers within phases, as in history.csv."""
    every = next(number for number in round_numbers() if number * _MOST_NUMBERS >= len(history))
    chosen: list[int] = []
    for i, row in enumerate(history):
        is_due = row.epoch == 1 or row.epoch % every == 0
        if is_due and (not chosen or i - chosen[-1] >= 0.6 * every):
            chosen.append(i)
    return chosen
