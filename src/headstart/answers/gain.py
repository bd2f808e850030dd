"""Compares two models by their answers for the same photos."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headstart import tasks
from headstart.answers.intervals import Interval, of_paired_proportions, over_units
from headstart.answers.table import Answers
from headstart.records import TaskName
from headstart.tasks.calibration import best_temperature
from headstart.tasks.losses import cross_entropy


@dataclass(frozen=True)
class Gain:
    """Differences between a new model and an old one on the same photos. Intervals are 95 %.

    Attributes:
        loss: Mean loss of the new model minus that of the old one; below 0 if the new one is better. For
            classes, both are losses after the best temperature.
        loss_interval: Its interval.
        accuracy: Accuracy gained, -1..1; None for tasks without one class per photo.
        accuracy_interval: Its interval; None as above.
    """

    loss: float
    loss_interval: Interval
    accuracy: float | None = None
    accuracy_interval: Interval | None = None

    @property
    def is_clear(self) -> bool:
        """Whether the loss is lower by more than one standard error."""
        low, high = self.loss_interval
        return self.loss < -(high - low) / (2 * 1.96)

    def __str__(self) -> str:
        low, high = self.loss_interval
        name = "loss" if self.accuracy is None else "calibrated loss"
        text = f"{name} {self.loss:+.3f} (95 % {low:+.3f} to {high:+.3f})"
        if self.accuracy is not None and self.accuracy_interval is not None:
            low, high = self.accuracy_interval
            text += f", accuracy {self.accuracy:+.3f} ({low:+.3f} to {high:+.3f})"
        return text


def gain(new: Answers, old: Answers, task: TaskName) -> Gain:
    """Return what a new model gains on the photos that both tables contain.

    Photos of one group, identical photos and near-duplicates count as dependent.

    Args:
        new: Answers of the new model; each path occurs once.
        old: Answers of the old model.
        task: The task of both.

    Raises:
        ValueError: The tables have fewer than two independent photos in common.
    """
    row_of = {path: row for row, path in enumerate(old.path)}
    new = new[np.array([path in row_of for path in new.path], bool)]
    old = old[np.array([row_of[path] for path in new.path], int)]
    units = new.units
    if (num_units := len(set(units.tolist()))) < 2:
        raise ValueError(f"{num_units} photos or groups in common have no interval: give at least two.")
    if not tasks.of(task).has_class:
        losses = new.loss.astype(np.float64) - old.loss
        return Gain(float(losses.mean()), over_units(losses, units))
    losses = _calibrated_losses(new) - _calibrated_losses(old)
    right = new.is_right - old.is_right
    return Gain(
        float(losses.mean()),
        over_units(losses, units),
        float(right.mean()),
        of_paired_proportions(right, units),
    )


def _calibrated_losses(answers: Answers) -> np.ndarray:
    """Return the loss of each photo after the temperature that is best for all of them, (N,)."""
    classes = [name.removeprefix("logit:") for name in answers.output_names]
    labels = np.array([classes.index(label) for label in answers.label])
    logits = answers.outputs.astype(np.float64)
    return cross_entropy(logits / best_temperature(logits, labels), labels)
