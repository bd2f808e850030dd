"""The picture of a learning rate range test."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from headstart.training.tools.figure import new_figure
from headstart.training.tools.lr_range import END_LR, START_LR, STILL, LrRange
from headstart.training.tools.picture import write_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMMAND: Final = "headstart lr-find"


def draw(path: Path, found: LrRange) -> None:
    """Write the curve to a file, which is replaced if ``lr_find`` has drawn it."""
    write_picture(path, _curve(found), COMMAND)


def to_png(found: LrRange) -> bytes:
    """Return the curve as the content of a PNG file."""
    file = io.BytesIO()
    _curve(found).savefig(file, format="png")
    return file.getvalue()


def _curve(found: LrRange) -> Figure:
    """Draw the loss over the learning rate, with the suggestions."""
    figure = new_figure(figsize=(8, 4.6), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.plot(found.lrs, found.losses, ".", color="#9aa5b1", markersize=5, label="loss of each step")
    axes.plot(
        found.lrs, found.smoothed, color="#1f6feb", linewidth=2, label="mean of the steps before (lags)"
    )
    marks = (("steepest fall", found.steepest, "#6e7781", 8), ("suggestion", found.valley, "#d4380d", 11))
    for label, lr, color, size in () if found.hardly_fell else marks:
        if lr is not None:
            loss = found.smoothed[found.lrs.index(lr)]
            text = f"{label}: {lr:.1e}"
            axes.plot([lr], [loss], "o", ms=size, mfc="none", mec=color, mew=1.8, ls="none", label=text)
    if found.valley is not None and not found.hardly_fell:
        axes.axvline(found.valley, color="#d4380d", linewidth=1, linestyle=":")
    axes.set_xscale("log")
    axes.set_xlim(START_LR, min(END_LR, 10 * found.lrs[-1]))
    # An explosion at the end would press everything else to the floor. The first averages are of few steps,
    # and one of them may be the smallest by chance: the axis would then show none of the others.
    still = min(STILL, len(found.smoothed) - 1)
    best = still + int(np.argmin(found.smoothed[still:]))
    low, high = min(found.losses), max(found.losses[: best + 1])
    margin = max(high - low, 0.05 * abs(high), 1e-6)
    axes.set_ylim(low - 0.08 * margin, high + 0.25 * margin)
    axes.set_xlabel("learning rate of the head")
    axes.set_ylabel("training loss")
    doubt = "\nThe loss hardly fell, so the curve suggests nothing" if found.hardly_fell else ""
    axes.set_title(f"Phase {found.phase}: {found.ended}{doubt}", size=11)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(frameon=False, loc="outside lower center", ncols=2)
    return figure
