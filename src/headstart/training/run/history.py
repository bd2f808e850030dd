"""The scores of one epoch, and their names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from headstart import tasks
from headstart.columns import named_score
from headstart.errors import ConfigError
from headstart.tasks.task import LOWER_IS_BETTER

Scores: TypeAlias = dict[str, float]
"""Scores by name over all photos of all processes: the mean ``loss``, the task's main score, and others."""


_SHOWN_IF_SELECTED: Final = frozenset({"calibrated_loss", "balanced_accuracy", "macro_f1"})


def refuse_other_scores(select: str, task: str, num_box_classes: int = 0) -> None:
    """Raise ``ConfigError`` if the best weights are selected by a score that the task does not have.

    Args:
        select: The setting of ``TrainConfig``.
        task: Name of the task.
        num_box_classes: Number of classes that are predicted for a box; 0 if there is only one class.
    """
    metrics = tasks.of(task).metrics_of(num_box_classes)
    known = list(dict.fromkeys(["val_loss", "val_calibrated_loss", *(f"val_{name}" for name in metrics)]))
    if select not in known:
        raise ConfigError(
            f"select is {select!r}, which the task {task!r} does not have: use {', '.join(known)}."
        )


def refuse_other_head(head: str, task: str) -> None:
    """Raise ``ConfigError`` if the task does not support a kind of head.

    Args:
        head: The setting of ``TrainConfig``.
        task: Name of the task.
    """
    if head == "stages" and tasks.of(task).solver is None:
        raise ConfigError(f"head is 'stages', which is solved; the task {task!r} is not. Use 'auto'.")
    if head == "spatial" and not tasks.of(task).has_box:
        raise ConfigError(f"head is 'spatial', which is only for boxes; the task is {task!r}: use 'linear'.")


@dataclass(frozen=True)
class EpochRecord:
    """A row of ``history.csv``, and of the epochs in ``metrics.json``.

    Attributes:
        phase: Name of the phase.
        epoch: Number of the epoch within the phase, from 1.
        train: The mean ``loss`` and the task's main score over the epoch, measured while training.
        val: ``loss`` and all scores of the task over the validation photos after the epoch; empty if the run
            has none.
        lr: Largest learning rate of any parameter group in the epoch; 0 for a solved head.
        seconds: Wall time of the epoch, including validation.
        completed: Fraction of its batches that were trained; below 1 if ``max_minutes`` ended the epoch
            early.
    """

    phase: str
    epoch: int
    train: Scores
    val: Scores
    lr: float
    seconds: float
    completed: float = 1.0

    def flat(self) -> dict[str, Any]:
        """Return the scores by their names in files: ``train_loss``, ``val_loss`` and so on."""
        # Each task measures its scores in an order of its own.
        order = ["loss", self.headline]
        order += sorted(self.val.keys() - set(order))
        train = {f"train_{name}": self.train[name] for name in order if name in self.train}
        val = {f"val_{name}": self.val[name] for name in order if name in self.val}
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
        """The main score, which is shown beside the loss."""
        return next(name for name in self.train if name != "loss")

    def is_better_than(
        self, other: EpochRecord | None, select: str, floor: EpochRecord | None = None
    ) -> bool:
        """Compare by a score; if equal, by ``val_loss``, and then the earlier epoch is kept.

        Args:
            other: The best epoch so far, if there is one.
            select: Name of the score, such as ``"val_calibrated_loss"``.
            floor: The epoch whose weights the phase began with. If weights are chosen by the loss after the
                best temperature, those with a worse main score than its are never better.

        The loss after the best temperature is the default because on a few hundred photos many epochs have
        the same accuracy, because the reported accuracy is then not the score by which the epoch was
        selected, and because the plain loss prefers less confident weights. For numbers and boxes, which
        have no temperature, it is the plain loss.
        """
        if other is None:
            return True
        name = select.removeprefix("val_")
        name = "loss" if name == "calibrated_loss" and name not in self.val else name
        sign = -1 if name in LOWER_IS_BETTER else 1
        if floor is not None and select == "val_calibrated_loss" and self._is_worse_than(floor):
            return False
        mine, others = (sign * record.val[name] for record in (self, other))
        return (mine, -self.val["loss"]) > (others, -other.val["loss"])

    def _is_worse_than(self, floor: EpochRecord) -> bool:
        """Return whether the main score on the validation photos is worse."""
        mine, floors = self.val[self.headline], floor.val[self.headline]
        return mine > floors if self.headline in LOWER_IS_BETTER else mine < floors

    def text(self, select: str) -> str:
        """Return the numbers for people, with the validation score by which weights are selected."""
        rate = f"   lr {self.lr:.2g}" if self.lr else ""  # a head that is solved has none
        val = f"   val {shown_val(self.val, select)}" if self.val else ""
        return (
            f"train {shown(self.train)}{val}{rate}   {self.seconds:.1f} s"
            f"{'' if self.completed == 1 else f'   cut short at {self.completed:.0%}'}"
        )


def shown_val(scores: Scores, select: str) -> str:
    """Format validation scores for people, without those that only matter if they select the weights."""
    return shown({k: v for k, v in scores.items() if k not in _SHOWN_IF_SELECTED or f"val_{k}" == select})


def shown(scores: Scores) -> str:
    """Format scores for people."""
    return " ".join(named_score(name, value) for name, value in scores.items())
