"""The numbers of one epoch."""

from __future__ import annotations

from dataclasses import dataclass

from headstart.training.epoch import Scores


@dataclass(frozen=True)
class EpochRecord:
    """A row of ``history.csv``, and of ``metrics.json``'s epochs.

    Attributes:
        phase: The phase's name.
        epoch: Counted from 1 within the phase.
        train_loss: Mean cross entropy over the epoch, as seen while training.
        train_accuracy: In 0..1, as seen while training.
        val_loss: Mean cross entropy over the validation photos after the epoch.
        val_accuracy: In 0..1.
        lr: Learning rate during the epoch.
        seconds: Wall time of the epoch, validation included.
        completed: Share of its batches that were taken; below 1 where ``max_minutes`` cut the epoch short.
    """

    phase: str
    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    lr: float
    seconds: float
    completed: float = 1.0

    @classmethod
    def of(
        cls,
        phase: str,
        epoch: int,
        train: Scores,
        val: Scores,
        lr: float,
        seconds: float,
        completed: float = 1.0,
    ) -> EpochRecord:
        """Put an epoch's scores side by side."""
        scores = train.loss, train.accuracy, val.loss, val.accuracy
        return cls(phase, epoch, *scores, float(lr), round(seconds, 3), round(completed, 4))

    def is_better_than(self, other: EpochRecord | None, select: str) -> bool:
        """Compare by ``val_loss`` or ``val_accuracy``; on equal terms the earlier one stays.

        The loss is the default: on a few hundred photos many epochs share an accuracy, and the accuracy
        that is then reported was not itself what the epoch was picked by.
        """
        if other is None:
            return True
        if select == "val_loss":
            return self.val_loss < other.val_loss
        return (self.val_accuracy, -self.val_loss) > (other.val_accuracy, -other.val_loss)

    def __str__(self) -> str:
        return (
            f"train loss {self.train_loss:.3f} accuracy {self.train_accuracy:.3f}   "
            f"val loss {self.val_loss:.3f} accuracy {self.val_accuracy:.3f}   "
            f"lr {self.lr:.2g}   {self.seconds:.1f} s"
            f"{'' if self.completed == 1 else f'   cut short at {self.completed:.0%}'}"
        )
