"""The calibration error of predicted probabilities, and how large it is by chance alone.

Source: Guo et al. 2017, arXiv 1706.04599 (expected calibration error, 15 bins of equal width).
"""

from __future__ import annotations

from typing import Final

import numpy as np

NUM_BINS: Final = 15
_NUM_DRAWS: Final = 200
_MOST_VALUES: Final = 2 * 10**7  # drawn in all, so that the time is limited


def calibration_error(probabilities: np.ndarray, happened: np.ndarray) -> float:
    """Return the mean difference between probabilities and frequencies, over bins of similar probabilities.

    Args:
        probabilities: (N,) in 0..1: of the predicted class of each photo, or of each label of each photo. N
            at least 1.
        happened: (N,) bool, whether the prediction is right, or the photo has the label.

    Returns:
        The error, 0..1. With few photos it is not 0 even for true probabilities: see ``error_by_chance``.
    """
    bins = bins_of(probabilities)
    excess = np.bincount(bins, happened - probabilities.astype(np.float64), NUM_BINS)
    return float(np.abs(excess).sum() / len(bins))


def error_by_chance(probabilities: np.ndarray) -> float:
    """Return the mean calibration error of probabilities that are true, by simulation.

    Args:
        probabilities: (N,) in 0..1; N at least 1.

    Returns:
        The error; always the same for the same probabilities.
    """
    random = np.random.default_rng(0)
    num_draws = int(np.clip(_MOST_VALUES // len(probabilities), 1, _NUM_DRAWS))
    drawn = (random.random(len(probabilities)) < probabilities for _ in range(num_draws))
    return float(np.mean([calibration_error(probabilities, each) for each in drawn]))


def bins_of(probabilities: np.ndarray) -> np.ndarray:
    """Return the bin of each probability, 0 to ``NUM_BINS`` - 1."""
    return np.minimum((probabilities * NUM_BINS).astype(np.int64), NUM_BINS - 1)
