"""The task ``regression``: one or more numbers per photo."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from headstart.images.view import View
from headstart.records import Record
from headstart.tasks.losses import smooth_l1
from headstart.tasks.measures import Measures
from headstart.tasks.number_measures import measure_numbers
from headstart.tasks.number_scores import RegressionScores, score_regression
from headstart.tasks.prediction import Prediction
from headstart.tasks.task import Described, FineTuning, Learned, SizeReader, Solver, Task
from headstart.tasks.text import numbers_of

_MOST_BINS: Final = 10  # parts of a number's range that are each split alike


class Regression(Task):
    """One or more numbers per photo, standardised for the network. The loss is smooth L1."""

    name = "regression"
    has_numbers = True
    solver: Solver = "numbers"
    metrics = ("mae", "rmse", "r2")
    can_be_mixed = False
    can_be_smoothed = False
    answers = "a number for each target, standardised"
    fine_tuning = FineTuning(steps=300, most_epochs=20, lr_factor=5, solves_first=False)

    def labelled(self, class_names: Sequence[str], targets: Sequence[str]) -> str:
        """Return a description of the labels: the names of the targets."""
        return f"numbers: {', '.join(targets)}"

    def answer(self, record: Record) -> tuple[float, ...]:
        """Return the numbers of the photo."""
        return record.numbers

    def strata(
        self, records: Sequence[Record], names: Sequence[str], fraction: float
    ) -> list[tuple[int, ...]]:
        """Return the range that contains each number; all photos of a unit count with their median."""
        if not records:
            return []
        # At least two units of each part are held back: fewer parts, and an added photo moves fewer others.
        num_bins = int(fraction * len(set(names)) / (2 * len(records[0].numbers)))
        num_bins = min(max(num_bins, 1), _MOST_BINS)
        shares = [number / num_bins for number in range(1, num_bins)]
        strata = np.empty((len(records), len(records[0].numbers)), int)
        for target in range(strata.shape[1]):
            numbers_by_unit: dict[str, list[float]] = defaultdict(list)
            for name, record in zip(names, records, strict=True):
                numbers_by_unit[name].append(record.numbers[target])
            # Of the numbers that are there, so that the order of photos cannot change a last bit.
            middle_of = {name: sorted(each)[(len(each) - 1) // 2] for name, each in numbers_by_unit.items()}
            middles = np.array([middle_of[name] for name in names])
            limits = np.quantile(middles, shares, method="lower")
            strata[:, target] = target * _MOST_BINS + np.searchsorted(limits, middles, side="right")
        return [tuple(row) for row in strata.tolist()]

    def num_outputs(self, num_classes: int, num_targets: int) -> int:
        """Return the number of targets."""
        return num_targets

    def row(self, record: Record, view: View, info: Learned) -> tuple[np.ndarray, float]:
        """Return the standardised numbers, (D,) float32."""
        mean, std = info.scale
        return ((np.array(record.numbers) - mean) / std).astype(np.float32), 1.0

    def losses(self, outputs: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the smooth L1 loss, averaged over the targets."""
        return np.asarray(smooth_l1(outputs - rows.astype(np.float64)).mean(1))

    def from_file(self, outputs: np.ndarray, info: Described) -> np.ndarray:
        """Standardise the numbers."""
        mean, std = (np.array(each, outputs.dtype) for each in info.scale)
        return np.asarray((outputs - mean) / std)

    def to_file(self, outputs: np.ndarray, info: Described) -> np.ndarray:
        """Convert the numbers to their own units."""
        mean, std = (np.array(each, outputs.dtype) for each in info.scale)
        return np.asarray(outputs * std + mean)

    def comparable(self, outputs: np.ndarray, info: Described) -> np.ndarray:
        """Return the numbers in standard deviations of their targets."""
        return np.asarray(outputs / np.array(info.scale[1], np.float32))

    def file_outputs(self, num_box_classes: int) -> tuple[str, ...]:
        """Return the name of the output: ``numbers``."""
        return ("numbers",)

    def prediction(
        self, path: str | None, row: np.ndarray, info: Described, size: SizeReader, top_k: int | None
    ) -> Prediction:
        """Return the numbers."""
        return Prediction(path, numbers=dict(zip(info.targets, row.tolist(), strict=True)))

    def text(
        self, class_names: Sequence[str], label: int, labels: Sequence[int], numbers: Sequence[str]
    ) -> str:
        """Return the numbers as text."""
        return " ".join(numbers)

    def columns(self, info: Described) -> tuple[str, ...]:
        """Return a column for each target."""
        return tuple(f"number:{name}" for name in info.targets)

    def said(
        self, outputs: np.ndarray, info: Described, texts: Callable[[np.ndarray], list[str]]
    ) -> list[str]:
        """Return the numbers as text."""
        return [self.text((), 0, (), texts(row)) for row in outputs]

    def scores(
        self, labels: Sequence[str], outputs: np.ndarray, losses: np.ndarray, info: Described
    ) -> RegressionScores:
        """Return mean absolute error, root mean squared error and R² of each target."""
        return score_regression(numbers_of(labels, outputs.shape[1]), outputs, info.targets)

    def score_names(self, info: Described) -> tuple[str, ...]:
        """Return the errors, R² and the loss."""
        return (*self.metrics, "loss")

    def measures(
        self, labels: Sequence[str], outputs: np.ndarray, losses: np.ndarray, info: Described
    ) -> Measures:
        """Return the errors and R² of each target, and their means."""
        return measure_numbers(numbers_of(labels, outputs.shape[1]), outputs, losses, info.targets)

    def csv_columns(self, info: Described, top_k: int) -> tuple[list[str], list[str]]:
        """Return the names of the targets as columns."""
        return list(info.targets), []

    def csv_cells(self, prediction: Prediction) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Return the numbers."""
        return {name: f"{value:.6g}" for name, value in prediction.numbers.items()}, {}

    def words(self, prediction: Prediction) -> str:
        """Return the numbers with the names of their targets."""
        return ", ".join(f"{name} {value:.4g}" for name, value in prediction.numbers.items())
