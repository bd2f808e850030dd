"""Scores of predicted numbers with the part that each photo has in them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headstart.tasks.measures import Measures, mean, mean_of, r2, rmse


def measure_numbers(
    truth: np.ndarray, predicted: np.ndarray, losses: np.ndarray, targets: Sequence[str]
) -> Measures:
    """Return MAE, RMSE and R² of each target, and their means; no number is exactly right.

    Args:
        truth: (N, D), the true numbers; N at least 1.
        predicted: (N, D), the predicted numbers.
        losses: (N,).
        targets: Names of the D targets.
    """
    errors = np.asarray(predicted, np.float64) - truth
    parts = {
        name: {
            "mae": mean(np.abs(errors[:, place]), "positive"),
            "rmse": rmse(errors[:, place]),
            "r2": r2(truth[:, place], errors[:, place]),
        }
        for place, name in enumerate(targets)
    }
    overall = {name: mean_of(part[name] for part in parts.values()) for name in ("mae", "rmse", "r2")}
    return Measures({**overall, "loss": mean(losses, "positive")}, parts, np.ones(len(truth), bool))
