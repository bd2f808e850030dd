"""Losses in NumPy, and functions that several tasks share.

They equal the losses in ``training/steps/criterion.py`` without label smoothing, computed in float64.
"""

from __future__ import annotations

from typing import Final

import numpy as np

BOX_BETA: Final = 0.05
"""Error of a box's side, as a fraction of the input, at which smooth L1 changes from quadratic to linear;
about the error that remains after training.
"""

LEAST_AREA: Final = 1e-9
"""Lower limit of areas in a denominator, as a fraction of the input's area."""


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return -log(softmax) of the true classes, (N,).

    Args:
        logits: (N, K).
        labels: (N,) integers.
    """
    shifted = logits - logits.max(1, keepdims=True)
    of_true_class = shifted[np.arange(len(labels)), labels]
    found: np.ndarray = np.log(np.exp(shifted).sum(1)) - of_true_class
    return found


def binary_cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the binary cross entropy of each photo and class, (N, K).

    Args:
        logits: (N, K).
        labels: (N, K), 0 or 1.
    """
    found: np.ndarray = np.maximum(logits, 0) - logits * labels + np.log1p(np.exp(-np.abs(logits)))
    return found


def smooth_l1(errors: np.ndarray, beta: float = 1.0) -> np.ndarray:
    """Return the smooth L1 of each error: quadratic up to ``beta``, linear beyond."""
    sizes = np.abs(errors)
    found: np.ndarray = np.where(sizes < beta, 0.5 * sizes**2 / beta, sizes - 0.5 * beta)
    return found


def giou(boxes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the generalised IoU of each pair, (N,) in -1..1. Source: arXiv 1902.09630.

    Args:
        boxes: (N, 4), xmin, ymin, xmax, ymax in the form of a model file's output, with min ≤ max.
        truth: (N, 4), in the same form.
    """
    inner = np.minimum(boxes[:, 2:], truth[:, 2:]) - np.maximum(boxes[:, :2], truth[:, :2])
    outer = np.maximum(boxes[:, 2:], truth[:, 2:]) - np.minimum(boxes[:, :2], truth[:, :2])
    one, other = ((each[:, 2:] - each[:, :2]).clip(min=0).prod(1) for each in (boxes, truth))
    shared, around = inner.clip(min=0).prod(1), outer.prod(1).clip(min=LEAST_AREA)
    union = (one + other - shared).clip(min=LEAST_AREA)
    found: np.ndarray = shared / union - (around - union) / around
    return found


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Return probabilities, rounded to float32 like those of a model file."""
    with np.errstate(over="ignore"):  # 1 / infinity is the right answer
        probabilities: np.ndarray = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return probabilities.astype(np.float32)
