"""The numbers of one epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Scores: TypeAlias = dict[str, float]
"""The mean ``loss``, the task's headline and its other metrics, over all photos of all processes."""

LOWER_IS_BETTER: Final = frozenset({"loss", "mae", "rmse"})
"""Of all scores, those of which less is more."""


@dataclass(frozen=True)
class EpochRecord:
    """A row of ``history.csv``, and of ``metrics.json``'s epochs.

    Attributes:
        phase: The phase's name.
        epoch: Counted from 1 within the phase.
        train: The mean ``loss`` and the task's headline over the epoch, as seen while training.
        val: ``loss`` and all of the task's metrics over the validation photos after the epoch.
        lr: Learning rate during the epoch.
        seconds: Wall time of the epoch, validation included.
        completed: Share of its batches that were taken; below 1 where ``max_minutes`` cut the epoch short.
    """

    phase: str
    epoch: int
    train: Scores
    val: Scores
    lr: float
    seconds: float
    completed: float = 1.0

    def flat(self) -> dict[str, Any]:
        """Return the numbers under their names in files: ``train_loss``, ``val_loss`` and so on."""
        # A checkpoint gives them back in another order than they were measured in.
        order = ["loss", self.headline]
        order += sorted(self.val.keys() - set(order))
        train = {f"train_{name}": self.train[name] for name in order if name in self.train}
        val = {f"val_{name}": self.val[name] for name in order}
        of_epoch = {"phase": self.phase, "epoch": self.epoch}
        others = {"lr": self.lr, "seconds": self.seconds, "completed": self.completed}
        return {**of_epoch, **train, **val, **others}

    @property
    def headline(self) -> str:
        """The score that is shown beside the loss."""
        return next(name for name in self.train if name != "loss")

    def is_better_than(self, other: EpochRecord | None, select: str) -> bool:
        """Compare by ``val_loss`` or another of the task's scores; on equal terms the earlier one stays.

        The loss is the default: on a few hundred photos many epochs share an accuracy, and the accuracy
        that is then reported was not itself what the epoch was picked by.
        """
        if other is None:
            return True
        name = select.removeprefix("val_")
        sign = -1 if name in LOWER_IS_BETTER else 1
        mine, others = (sign * record.val[name] for record in (self, other))
        return (mine, -self.val["loss"]) > (others, -other.val["loss"])

    def __str__(self) -> str:
        return (
            f"train {shown(self.train)}   val {shown(self.val)}   lr {self.lr:.2g}   {self.seconds:.1f} s"
            f"{'' if self.completed == 1 else f'   cut short at {self.completed:.0%}'}"
        )


def shown(scores: Scores) -> str:
    """Write scores for people."""
    return " ".join(f"{name} {value:.3f}" for name, value in scores.items())
