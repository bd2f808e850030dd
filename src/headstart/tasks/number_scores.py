"""Scores of predicted numbers: MAE, RMSE and R²."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.tasks.class_scores import without_nan


@dataclass(frozen=True)
class RegressionScores:
    """Scores over N photos and D targets, in the units of the targets.

    Attributes:
        targets: Names of the D targets.
        mae: Mean absolute error of each target.
        rmse: Root mean squared error of each target.
        r2: Coefficient of determination of each target; NaN if the true numbers do not vary.
    """

    targets: tuple[str, ...]
    mae: tuple[float, ...]
    rmse: tuple[float, ...]
    r2: tuple[float, ...]

    @property
    def summary(self) -> dict[str, float]:
        """Means over the targets, by name of the score."""
        known = [value for value in self.r2 if not math.isnan(value)]
        r2 = float(np.mean(known)) if known else math.nan
        return {"mae": float(np.mean(self.mae)), "rmse": float(np.mean(self.rmse)), "r2": r2}

    def to_dict(self) -> dict[str, Any]:
        """Return the scores for JSON; undefined scores are null."""
        rows = zip(self.targets, self.mae, self.rmse, self.r2, strict=True)
        names = ("name", "mae", "rmse", "r2")
        targets = [without_nan(dict(zip(names, row, strict=True))) for row in rows]
        return {**without_nan(dict(self.summary)), "targets": targets}


def score_regression(truth: np.ndarray, predicted: np.ndarray, targets: Sequence[str]) -> RegressionScores:
    """Compute all scores.

    Args:
        truth: (N, D), the true numbers; N at least 1.
        predicted: (N, D), the predicted numbers.
        targets: Names of the D targets.
    """
    errors = np.asarray(predicted, np.float64) - truth
    squares, variance = (errors**2).mean(0), truth.var(0)
    r2 = np.where(variance > 0, 1 - squares / np.where(variance > 0, variance, 1), np.nan)
    return RegressionScores(
        targets=tuple(targets),
        mae=tuple(np.abs(errors).mean(0).tolist()),
        rmse=tuple(np.sqrt(squares).tolist()),
        r2=tuple(r2.tolist()),
    )
