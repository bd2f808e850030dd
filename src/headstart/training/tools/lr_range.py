"""What a learning rate range test has seen, what follows from it, and its picture."""

from __future__ import annotations

import html
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import tomli_w

from headstart.columns import html_picture
from headstart.config import PhaseConfig
from headstart.training.tools.figure import new_figure
from headstart.training.tools.picture import write_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMMAND: Final = "headstart lr-find"

START_LR: Final = 1e-7
END_LR: Final = 10.0
NUM_STEPS: Final = 100

_SHARE: Final = 0.02  # a fall by less than this share of the loss says little ...
LEAST: Final = 0.005  # ... and so does a smaller one than this: what was trained before has learned it all
_STILL: Final = NUM_STEPS // 4  # steps, up to a rate of 1e-5: what the loss does there is chance


@dataclass(frozen=True, repr=False)
class LrRange:
    """What a range test has seen. It is shown as its suggestion, in a notebook with the picture.

    Attributes:
        phase: Name of the phase that was tested.
        phases: All phases of the recipe.
        lrs: (N,) the head's learning rate in each step, growing.
        losses: (N,) each step's mean loss over its photos.
        smoothed: (N,) their average, recent ones weighing more.
        valley: Learning rate halfway down the longest fall of the smoothed loss; the suggestion. None if the
            test ended too early to tell.
        steepest: Learning rate where the smoothed loss falls fastest.
        ended: Why the test ended, in words.
        picture: The file with its drawing; None if none was named, or if it could not be written.
        png: The drawing as the content of a PNG file, if there is no such file.
    """

    phase: str
    phases: tuple[PhaseConfig, ...]
    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    valley: float | None
    steepest: float | None
    ended: str
    picture: Path | None = None
    png: bytes = b""

    @property
    def level(self) -> float:
        """The loss before the rates are large enough to change it."""
        return float(np.mean(self.losses[:_STILL]))

    @property
    def floor(self) -> float:
        """The smallest smoothed loss after that."""
        return min(self.smoothed[_STILL:], default=self.level)

    @property
    def hardly_fell(self) -> bool:
        """Whether the loss fell by no more than chance would have it, so that the curve suggests nothing."""
        chance = 2 * float(np.std(self.losses[:_STILL])) / math.sqrt(len(self.losses[:_STILL]))
        return self.level - self.floor < max(LEAST, _SHARE * self.level, chance)

    @property
    def rises_at(self) -> float | None:
        """Learning rate from which on the smoothed loss stands clearly above its first level, if it does."""
        chance = 3 * float(np.std(self.losses[:_STILL])) / math.sqrt(len(self.losses[:_STILL]))
        limit = self.level + max(LEAST, _SHARE * self.level, chance)
        above = [loss > limit for loss in self.smoothed]
        last = len(above) - above[::-1].index(False) if False in above else 0
        return self.lrs[last] if last < len(above) else None

    @property
    def suggestion(self) -> dict[str, float]:
        """What to set in the phase: ``head_lr``, and where it has a ``backbone_lr``, that in proportion.

        Empty where the test ended too early, and where the loss hardly fell: the valley is one of noise then.
        """
        if self.valley is None or self.hardly_fell:
            return {}
        (tested,) = (each for each in self.phases if each.name == self.phase)
        rates = {"head_lr": self.valley}
        if tested.backbone_lr is not None:
            rates["backbone_lr"] = self.valley * tested.backbone_lr / tested.head_lr
        return {name: float(f"{rate:.1e}") for name, rate in rates.items()}

    @property
    def recipe(self) -> str:
        """The phases as a recipe file, TOML, with the suggestion in it."""
        defaults, tables = asdict(PhaseConfig()), []
        for each in self.phases:
            values = asdict(each) | (self.suggestion if each.name == self.phase else {})
            shown = ("name", "unfreeze", "epochs") + (("head_lr",) if each.optimizer != "exact" else ())
            tables.append({k: v for k, v in values.items() if k in shown or v != defaults[k]})
        return tomli_w.dumps({"phases": tables})

    def __repr__(self) -> str:
        if self.valley is None or self.steepest is None:
            return f"Phase {self.phase}: no suggestion, for {self.ended} after {len(self.lrs)} steps."
        if self.hardly_fell:
            return self._without_fall()
        settings = ", ".join(f"{name} = {value:g}" for name, value in self.suggestion.items())
        return (
            f"Phase {self.phase}: try {settings} (valley: halfway down the longest fall of the loss).\n"
            f"The loss fell fastest at {self.steepest:.2g}; the smaller of the two is the safer."
        )

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        drawn = self.picture or self.png
        picture = html_picture(drawn, "loss over learning rate") if drawn else ""
        return f"<p>{html.escape(repr(self)).replace(chr(10), '<br>')}</p>{picture}"

    def _without_fall(self) -> str:
        names = [each.name for each in self.phases]
        tested = self.phases[names.index(self.phase)]
        solved = [each.name for each in self.phases[: names.index(self.phase)] if each.optimizer == "exact"]
        why = f": phase {solved[-1]} has solved the head, so it began near its floor" if solved else ""
        advice = f"Keep head_lr = {tested.head_lr:g}."
        if self.rises_at is not None:
            advice = f"It rises at {self.rises_at:.1e}: stay well below. "
            advice += (
                f"head_lr = {tested.head_lr:g} does."
                if tested.head_lr <= self.rises_at / 3
                else f"Try head_lr = {self.rises_at / 10:.1e} instead of {tested.head_lr:g}."
            )
        return (
            f"Phase {self.phase}: no suggestion. The loss hardly fell in this test, from {self.level:.3g} to "
            f"{self.floor:.3g}{why}.\n{advice}"
        )


def suggest(lrs: Sequence[float], smoothed: Sequence[float]) -> tuple[float | None, float | None]:
    """Return fastai's two suggestions, valley and steepest; None where there are too few steps.

    The valley is the longest falling subsequence of the losses; suggested is the middle of its second third.

    Args:
        lrs: (N,) growing learning rates.
        smoothed: (N,) the smoothed loss at each.

    Source:
        ``valley``, ``steep`` and ``Learner.lr_find`` in fastai's ``callback/schedule.py``, which leave out
        the first tenth of all steps and the last five.
    """
    rates, losses = np.array(lrs[NUM_STEPS // 10 : -5]), np.array(smoothed[NUM_STEPS // 10 : -5])
    if len(rates) < 2:
        return None, None
    lengths = np.ones(len(losses), int)  # of the longest falling subsequence that ends at each step
    for end in range(1, len(losses)):
        higher = losses[:end] > losses[end]
        if higher.any():
            lengths[end] = lengths[:end][higher].max() + 1
    end = int(lengths.argmax())
    third = int(lengths[end]) / 3
    valley = max(0, end - int(lengths[end]) + int(third) + int(third / 2))
    slopes = np.diff(losses) / np.diff(np.log(rates))
    return float(rates[valley]), float(rates[int(slopes.argmin())])


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
    still = min(_STILL, len(found.smoothed) - 1)
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
