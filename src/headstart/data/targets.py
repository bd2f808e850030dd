"""Targets: the rows of numbers that the loss compares with the outputs of a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from headstart import tasks
from headstart.errors import DataError
from headstart.images.settings import Preprocessing
from headstart.images.view import View
from headstart.records import Record, TaskName
from headstart.views.augmentation import Augmentation

_ATTEMPTS: Final = 20  # to draw a view that shows enough of a box, before the photo is taken as it is
_NEXT_ATTEMPT: Final = 2**20  # far above any number of an epoch, so that no view is drawn under two numbers


@dataclass(frozen=True)
class Scale:
    """Standardisation of numbers: subtract the mean, divide by the standard deviation.

    Attributes:
        mean, std: Mean and standard deviation of each target over the training photos.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __iter__(self) -> Iterator[tuple[float, ...]]:
        """Yield the means and the standard deviations."""
        return iter((self.mean, self.std))

    @classmethod
    def of(cls, records: Sequence[Record], targets: Sequence[str]) -> Scale:
        """Compute the mean and the standard deviation over the training photos.

        Args:
            records: The training photos, without those held out or in quarantine.
            targets: Names of the numbers; empty for other tasks, which have no scale.

        Raises:
            DataError: A number is the same for all photos, so there is nothing to learn; or it is so large
                that its standard deviation is not finite.
        """
        if not targets:
            return cls()
        numbers = np.array([record.numbers for record in records])
        with np.errstate(over="ignore", invalid="ignore"):
            mean, std = numbers.mean(0), numbers.std(0)
        for name, value, spread, of_target in zip(targets, mean, std, numbers.T, strict=True):
            if not spread > 0:
                raise DataError(
                    f"The target {name!r} is {value:g} for all training photos, so there is nothing to learn."
                )
            if not np.isfinite(spread):
                largest = of_target[np.abs(of_target).argmax()]
                raise DataError(
                    f"{name} is up to {largest:g}, which is too large to compute with. Correct it, or use "
                    f"another unit."
                )
        return cls(tuple(mean.tolist()), tuple(std.tolist()))

    @classmethod
    def unknown(cls, num_targets: int) -> Scale:
        """Return a placeholder for use before the training photos are known."""
        return cls((0.0,) * num_targets, (1.0,) * num_targets)


@dataclass(frozen=True)
class Targets:
    """Computes the target of a photo.

    Attributes:
        task: Name of the task.
        class_names: Class names of the dataset.
        preprocessing: How photos are converted into the network's input.
        scale: Standardisation of the numbers, if numbers are predicted.
        min_visible: Minimum fraction of a box that must be visible in an augmented view.
    """

    task: TaskName
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    scale: Scale = Scale()
    min_visible: float = 0.5

    @property
    def num_outputs(self) -> int:
        """Number of outputs of the network: logits, standardised numbers, or a box followed by logits."""
        return tasks.of(self.task).num_outputs(len(self.class_names), len(self.scale.mean))

    @property
    def num_box_classes(self) -> int:
        """Number of classes that are predicted for a box; 0 if there is only one class."""
        return tasks.of(self.task).num_box_classes(len(self.class_names))

    def row(self, record: Record) -> np.ndarray:
        """Return the target of a photo without augmentation: see ``Task.row``."""
        return self._row(record, View())[0]

    def view(self, record: Record, number: int, augmentation: Augmentation | None) -> tuple[int, np.ndarray]:
        """Return the number of the view that is used for ``number``, and the photo's target in it.

        The two numbers differ if the view would show too little of a box. Another view is then drawn instead;
        if none of many shows enough, the photo is used without augmentation.
        """
        if not tasks.of(self.task).has_box or augmentation is None or number == 0:
            return number, self.row(record)
        for attempt in range(_ATTEMPTS):
            drawn = number + attempt * _NEXT_ATTEMPT
            row, visible = self._row(record, augmentation.view(record.sha256, drawn))
            if visible >= self.min_visible:
                return drawn, row
        return 0, self.row(record)

    def refuse_hidden(self, records: Sequence[Record]) -> None:
        """Refuse photos whose object would be outside the network's input.

        Raises:
            DataError: The crop removes more of some boxes than ``min_visible`` allows.
        """
        if not tasks.of(self.task).has_box or self.preprocessing.resize != "crop":
            return
        hidden = [record for record in records if self._row(record, View())[1] < self.min_visible]
        if hidden:
            raise DataError(
                f"The network sees the middle of photos (resize is 'crop'), and less than "
                f"{self.min_visible:.0%} of the box in {len(hidden)} of {len(records)}, as in "
                f"{hidden[0].path!r}. Leave resize out for 'squash', or choose 'pad': both show whole photos."
            )

    def _row(self, record: Record, view: View) -> tuple[np.ndarray, float]:
        return tasks.of(self.task).row(record, view, self)


def strata(records: Sequence[Record]) -> np.ndarray:
    """Return the classes for balanced sampling and class weights, (N,) int64."""
    return np.array([record.label for record in records], np.int64)
