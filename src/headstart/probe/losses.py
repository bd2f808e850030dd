"""Losses of a linear head, with their derivatives by the outputs.

Outputs are (N, K) in any precision, and may be overwritten by every function.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Loss(Protocol):
    """A convex loss."""

    def losses(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return the loss that is reported and by which the penalty is chosen.

        Returns:
            (N, G), one column for each penalty to choose: one per output, or one for all.
        """
        ...

    def slopes(self, outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the sum of the minimised loss over rows and outputs, and its first derivatives (N, K)."""
        ...

    def curvature(self, outputs: np.ndarray) -> np.ndarray:
        """Return the second derivative by each output, (N, K)."""
        ...

    def headline(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return the main score of the task for each row and output, (N, K), or for each row, (N, 1)."""
        ...

    def constant(self, targets: np.ndarray, num_outputs: int) -> np.ndarray:
        """Return the constant to predict for outputs without anything to learn, (K,); NaN for all others."""
        ...


class CrossEntropy:
    """One class per row, targets (N,) class indices: multinomial logistic regression."""

    def losses(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return the cross entropy of each row, (N, 1)."""
        return np.asarray(-_log_softmax(outputs)[np.arange(len(targets)), targets, None])

    def slopes(self, outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the sum of the cross entropies and their first derivatives."""
        log_p = _log_softmax(outputs)
        of_true_class = np.arange(len(targets)), targets
        total = -float(log_p[of_true_class].sum(dtype=np.float64))
        slopes = np.exp(log_p, out=log_p)
        slopes[of_true_class] -= 1
        return total, slopes

    def curvature(self, outputs: np.ndarray) -> np.ndarray:
        """Return p (1 - p)."""
        log_p = _log_softmax(outputs)
        p = np.exp(log_p, out=log_p)
        p *= 1 - p
        return np.asarray(p)

    def headline(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return whether each row is classified correctly, (N, 1)."""
        return np.asarray((outputs.argmax(1) == targets)[:, None])

    def constant(self, targets: np.ndarray, num_outputs: int) -> np.ndarray:
        """Return NaN: of a class without examples, the head still learns that it does not occur."""
        return np.full(num_outputs, np.nan)


class BinaryCrossEntropy:
    """Any number of labels per row, targets (N, K) of 0 and 1: one logistic regression per label."""

    def losses(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return the binary cross entropy of each label."""
        return np.asarray(np.logaddexp(0, outputs) - targets * outputs)

    def slopes(self, outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the sum of the binary cross entropies and their first derivatives."""
        total = float(self.losses(outputs, targets).sum(dtype=np.float64))
        slopes = _sigmoid(outputs)
        slopes -= targets
        return total, slopes

    def curvature(self, outputs: np.ndarray) -> np.ndarray:
        """Return p (1 - p)."""
        p = _sigmoid(outputs)
        p *= 1 - p
        return np.asarray(p)

    def headline(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return whether each decision is correct."""
        return np.asarray((outputs > 0) == (targets > 0.5))

    def constant(self, targets: np.ndarray, num_outputs: int) -> np.ndarray:
        """Return the log odds of labels that all or no rows have, smoothed by half a row of each kind."""
        n, positives = len(targets), targets.sum(0, dtype=np.float64)
        log_odds = np.log((positives + 0.5) / (n - positives + 0.5))
        return np.asarray(np.where((positives == 0) | (positives == n), log_odds, np.nan))


class SquaredError:
    """Standardised numbers, targets (N, K): ridge regression, scored by smooth L1 as in training."""

    def losses(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return the smooth L1 of each number: quadratic up to one, linear beyond."""
        errors = np.abs(outputs - targets)
        return np.asarray(np.where(errors < 1, errors**2 / 2, errors - 0.5))

    def slopes(self, outputs: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
        """Return half the sum of the squared errors, and the errors."""
        outputs -= targets
        return float(np.square(outputs).sum(dtype=np.float64)) / 2, outputs

    def curvature(self, outputs: np.ndarray) -> np.ndarray:
        """Return ones."""
        return np.ones_like(outputs)

    def headline(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return the absolute errors."""
        return np.asarray(np.abs(outputs - targets))

    def constant(self, targets: np.ndarray, num_outputs: int) -> np.ndarray:
        """Return NaN, because a constant number needs no special treatment."""
        return np.full(num_outputs, np.nan)


def _log_softmax(outputs: np.ndarray) -> np.ndarray:
    """Replace outputs by the logarithm of their softmax, in place."""
    outputs -= outputs.max(1, keepdims=True)
    outputs -= np.log(np.exp(outputs).sum(1, keepdims=True))
    return outputs


def _sigmoid(outputs: np.ndarray) -> np.ndarray:
    """Replace outputs by their sigmoid, in place, without overflow."""
    outputs *= 0.5
    np.tanh(outputs, out=outputs)
    outputs += 1
    outputs *= 0.5
    return outputs
