"""The numbers of one epoch, and their names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from headstart import tasks
from headstart.columns import score_text
from headstart.errors import ConfigError
from headstart.tasks.task import LOWER_IS_BETTER

Scores: TypeAlias = dict[str, float]
"""The mean ``loss``, the task's headline and its other metrics, over all photos of all processes."""


def refuse_other_scores(select: str, task: str, num_box_classes: int = 0) -> None:
    """Raise ``ConfigError`` if the best weights are to be chosen by a score that the task does not have.

    Args:
        select: As in ``TrainConfig``.
        task: What is predicted.
        num_box_classes: How many classes a box may have; 0 where there is nothing to tell apart.
    """
    metrics = tasks.of(task).metrics_of(num_box_classes)
    known = ["val_loss", *(f"val_{name}" for name in metrics)]
    if select not in known:
        raise ConfigError(
            [f"select is {select!r}, which the task {task!r} does not have: use {', '.join(known)}."]
        )


def refuse_other_head(head: str, task: str) -> None:
    """Raise ``ConfigError`` if a head is asked for that the task cannot have.

    Args:
        head: As in ``TrainConfig``.
        task: What is predicted.
    """
    if head == "spatial" and not tasks.of(task).has_box:
        raise ConfigError([f"head is 'spatial', which looks for boxes; the task is {task!r}: use 'linear'."])


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

    def of_phase(self) -> dict[str, Any]:
        """Return the numbers as ``metrics.json`` has them, below the phase's name."""
        row = self.flat()
        del row["phase"]
        if self.completed == 1:
            del row["completed"]
        return row

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
        rate = f"   lr {self.lr:.2g}" if self.lr else ""  # a head that is solved has none
        return (
            f"train {shown(self.train)}   val {shown(self.val)}{rate}   {self.seconds:.1f} s"
            f"{'' if self.completed == 1 else f'   cut short at {self.completed:.0%}'}"
        )


def shown(scores: Scores) -> str:
    """Write scores for people."""
    return " ".join(f"{name} {score_text(name, value)}" for name, value in scores.items())
