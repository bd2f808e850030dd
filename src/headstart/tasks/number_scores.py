"""How far predicted numbers are from the true ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class RegressionScores:
    """Scores over N photos and D targets, each in its target's own unit.

    Attributes:
        targets: Names of the D targets.
        mae: By target, the mean absolute error.
        rmse: By target, the root of the mean squared error.
        r2: By target, the share of the variance that is explained; NaN where the true numbers do not vary.
    """

    targets: tuple[str, ...]
    mae: tuple[float, ...]
    rmse: tuple[float, ...]
    r2: tuple[float, ...]

    @property
    def summary(self) -> dict[str, float]:
        """The numbers that sum it up: means over the targets."""
        known = [value for value in self.r2 if not math.isnan(value)]
        r2 = float(np.mean(known)) if known else math.nan
        return {"mae": float(np.mean(self.mae)), "rmse": float(np.mean(self.rmse)), "r2": r2}

    def to_dict(self) -> dict[str, Any]:
        """Return the scores as JSON has them, null for undefined."""
        rows = zip(self.targets, self.mae, self.rmse, self.r2, strict=True)
        targets = [
            {"name": name, "mae": mae, "rmse": rmse, "r2": None if math.isnan(r2) else r2}
            for name, mae, rmse, r2 in rows
        ]
        summary = {k: None if math.isnan(v) else v for k, v in self.summary.items()}
        return {**summary, "targets": targets}


def score_regression(truth: np.ndarray, predicted: np.ndarray, targets: Sequence[str]) -> RegressionScores:
    """Compute all scores.

    Args:
        truth: (N, D); N at least 1.
        predicted: (N, D).
        targets: D names.
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
