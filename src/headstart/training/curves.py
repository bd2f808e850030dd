"""``curves.png``: loss, accuracy and learning rate over the epochs of all phases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headstart.files import write_whole
from headstart.training.history import EpochRecord


def draw_curves(path: Path, history: Sequence[EpochRecord], best: EpochRecord) -> None:
    """Draw the history so far, with a line between phases and a ring around the best epoch."""
    # The object interface: pyplot keeps global state and may want a screen.
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    x = list(range(1, len(history) + 1))
    # A mixture of weights belongs to its epoch, but is better than that.
    best_x = [(row.phase, row.epoch) for row in history].index((best.phase, best.epoch)) + 1
    figure = Figure(figsize=(11, 3.6), dpi=110, layout="constrained")
    loss, accuracy, lr = figure.subplots(1, 3)
    for axes, name, title in ((loss, "loss", "Loss"), (accuracy, "accuracy", "Accuracy")):
        train = [getattr(row, f"train_{name}") for row in history]
        val = [getattr(row, f"val_{name}") for row in history]
        axes.plot(x, train, color="#9aa5b1", marker="o", markersize=3, label="training")
        axes.plot(x, val, color="#1f6feb", marker="o", markersize=3, label="validation")
        axes.plot(
            [best_x],
            [getattr(best, f"val_{name}")],
            "o",
            ms=11,
            mfc="none",
            mec="#d4380d",
            mew=1.6,
            label="best",
        )
        axes.set_title(title)
    loss.set_ylim(0, 1.15 * max(max(row.train_loss, row.val_loss) for row in history))  # room for names
    accuracy.set_ylim(top=1.005)
    lr.step(x, [row.lr for row in history], where="mid", color="#2da44e")
    lr.set_title("Learning rate")
    if any(row.lr > 0 for row in history):  # a solved head has none
        lr.set_yscale("log", nonpositive="mask")
    starts = [i for i in range(1, len(history)) if history[i].phase != history[i - 1].phase]
    for axes in (loss, accuracy, lr):
        axes.set_xlabel("epoch")
        axes.set_xlim(0.5, len(history) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        for start in starts:
            axes.axvline(start + 0.5, color="#6e7781", linewidth=1, linestyle=":")
    for first in [0, *starts]:
        transform = loss.get_xaxis_transform()
        loss.text(first + 0.6, 0.98, history[first].phase, transform=transform, va="top", size=8)
    accuracy.legend(frameon=False, loc="lower right")
    write_whole(path, lambda file: figure.savefig(file, format="png"))
