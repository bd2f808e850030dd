"""Temperature scaling of logits: the temperature with the lowest loss, and that loss.

Source: Guo et al. 2017, arXiv 1706.04599.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np

from headstart.tasks.losses import binary_cross_entropy, cross_entropy

LIMITS: Final = (0.05, 20.0)
"""Smallest and largest temperature. Without limits, logits that are right for every photo would have none."""

_MOST_STEPS: Final = 60
_VALUES_AT_ONCE: Final = 2**20  # float64, so that memory does not grow with the number of photos
_PRECISE: Final = 1e-10


def best_temperature(
    logits: np.ndarray, labels: np.ndarray, *, smoothing: float = 0.0, weights: np.ndarray | None = None
) -> float:
    """Return the temperature, within ``LIMITS``, that minimises the mean loss of ``logits / temperature``.

    The loss is a convex function of 1 / temperature, so Newton's method, kept within a bracket, finds the
    minimum in a few passes.

    Args:
        logits: (N, K), of photos that were not used for training; N at least 1.
        labels: (N,) integers, the classes, whose loss is the cross entropy; or (N, K), 0 or 1, for several
            labels, whose loss is the binary cross entropy.
        smoothing: Share of each photo's target, 0..1, that is divided among the wrong answers. Without it,
            logits that are right for every photo would have the smallest temperature.
        weights: (N,), weights of the photos' losses; by default 1.

    Returns:
        The temperature; 1 if a logit is not finite, or if the loss does not depend on the temperature.
    """
    low, high = 1 / LIMITS[1], 1 / LIMITS[0]
    if not np.isfinite(logits).all():
        return 1.0
    derivatives = partial(_derivatives, logits, labels, smoothing, weights)
    scale = 1.0
    if (at_low := derivatives(low)[0]) >= 0:
        return LIMITS[1] if at_low else 1.0
    if derivatives(high)[0] <= 0:
        return LIMITS[0]
    for _ in range(_MOST_STEPS):
        slope, curvature = derivatives(scale)
        low, high = (low, scale) if slope > 0 else (scale, high)
        newton = scale - slope / curvature if curvature > 0 else low
        step = newton if low < newton < high else (low * high) ** 0.5
        if abs(step - scale) <= _PRECISE * scale or high <= low * (1 + _PRECISE):
            break
        scale = step
    return float(np.clip(1 / scale, *LIMITS))


def calibrated_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the mean loss after the best temperature for these photos.

    It compares models by the order and the relative size of their logits: a model is not preferred for being
    less confident. Arguments are those of ``best_temperature``.
    """
    scale = 1 / best_temperature(logits, labels)
    total = 0.0
    with np.errstate(invalid="ignore"):  # the loss of logits that are not finite may be NaN
        for part in _parts(logits):
            scaled = logits[part].astype(np.float64) * scale
            if labels.ndim == 1:
                total += float(cross_entropy(scaled, labels[part]).sum())
            else:
                total += float(binary_cross_entropy(scaled, labels[part]).mean(1).sum())
    return total / len(logits)


def _derivatives(
    logits: np.ndarray, labels: np.ndarray, smoothing: float, weights: np.ndarray | None, scale: float
) -> tuple[float, float]:
    """Return the first and second derivative of the summed loss by 1 / temperature."""
    slope = curvature = 0.0
    for part in _parts(logits):
        values, truth = logits[part].astype(np.float64), labels[part]
        if labels.ndim == 1:
            values = values - values.max(1, keepdims=True)
            powers = np.exp(values * scale)
            shares = powers / powers.sum(1, keepdims=True)
            means = (shares * values).sum(1)
            slopes = means - _targeted(values, truth, smoothing)
            curvatures = (shares * (values - means[:, None]) ** 2).sum(1)
        else:
            shares = 0.5 * (1 + np.tanh(0.5 * scale * values))  # the sigmoid, without overflow
            slopes = ((shares - (1 - 2 * smoothing) * truth - smoothing) * values).sum(1)
            curvatures = (shares * (1 - shares) * values**2).sum(1)
        if weights is not None:
            slopes, curvatures = weights[part] * slopes, weights[part] * curvatures
        slope, curvature = slope + float(slopes.sum()), curvature + float(curvatures.sum())
    return slope, curvature


def _targeted(values: np.ndarray, truth: np.ndarray, smoothing: float) -> np.ndarray:
    """Return the mean of each photo's logits, weighted by its target, (N,)."""
    right: np.ndarray = values[np.arange(len(values)), truth]
    if not smoothing or values.shape[1] == 1:
        return right
    wrong = (values.sum(1) - right) / (values.shape[1] - 1)
    return np.asarray((1 - smoothing) * right + smoothing * wrong)


def _parts(logits: np.ndarray) -> list[slice]:
    """Return slices of rows that together hold all photos."""
    step = max(_VALUES_AT_ONCE // logits.shape[1], 1)
    return [slice(first, first + step) for first in range(0, len(logits), step)]
