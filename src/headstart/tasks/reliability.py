"""Calibration error: how far predicted probabilities are from the frequency with which they are right.

Source: Naeini, Cooper and Hauskrecht 2015, AAAI; Guo et al. 2017, arXiv 1706.04599.
"""

from __future__ import annotations

from typing import Final

import numpy as np

NUM_BINS: Final = 15
"""Bins of equal width in 0..1, as in Guo et al."""

_NUM_SAMPLES: Final = 200
_VALUES_AT_ONCE: Final = 2**20  # random numbers, to limit the memory


def calibration_error(probability: np.ndarray, is_true: np.ndarray) -> float:
    """Return the mean difference between probability and frequency over bins, weighted by their size (ECE).

    Args:
        probability: (N,) in 0..1, for example of the predicted class; N at least 1.
        is_true: (N,) bool: whether it is the true class.

    Returns:
        A number in 0..1. It is above 0 for a perfectly calibrated model too: see ``calibration_noise``.
    """
    gaps = np.bincount(_bins(probability), probability - is_true.astype(float), NUM_BINS)
    return float(np.abs(gaps).sum() / len(probability))


def calibration_noise(probability: np.ndarray) -> float:
    """Return the mean calibration error that a perfectly calibrated model has on these photos by chance.

    Truth is drawn from the probabilities, always the same samples. Arguments are those of
    ``calibration_error``.
    """
    random, bins = np.random.default_rng(0), _bins(probability)
    at_once = max(_VALUES_AT_ONCE // len(probability), 1)
    total, left = 0.0, _NUM_SAMPLES
    while left:
        num = min(at_once, left)
        gaps = probability - (random.random((num, len(probability))) < probability)
        places = bins + NUM_BINS * np.arange(num)[:, None]
        total += float(np.abs(np.bincount(places.ravel(), gaps.ravel(), NUM_BINS * num)).sum())
        left -= num
    return total / (_NUM_SAMPLES * len(probability))


def reliability(probability: np.ndarray, is_true: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the number of photos, the mean probability and the frequency of each bin, (15,) each.

    Arguments are those of ``calibration_error``. Means of empty bins are NaN.
    """
    bins = _bins(probability)
    num = np.bincount(bins, minlength=NUM_BINS)
    with np.errstate(invalid="ignore"):  # 0 / 0 is NaN, as documented
        return (
            num,
            np.bincount(bins, probability, NUM_BINS) / num,
            np.bincount(bins, is_true.astype(float), NUM_BINS) / num,
        )


def _bins(probability: np.ndarray) -> np.ndarray:
    upper = np.ceil(np.asarray(probability, np.float64) * NUM_BINS).astype(int)
    return np.asarray(np.clip(upper - 1, 0, NUM_BINS - 1))
