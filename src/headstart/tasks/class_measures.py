"""Scores of predicted classes with the part that each photo has in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from headstart.tasks.measures import (
    Measure,
    Measures,
    f1,
    f1_of_class,
    mean,
    mean_of,
    mean_of_shares,
    roc_auc,
    share,
)

_TOP: Final = (3, 5)


def top_of(num_classes: int) -> tuple[int, ...]:
    """Return the numbers k of top-k accuracies: those with at least twice as many classes."""
    return tuple(k for k in _TOP if num_classes >= 2 * k)


def measure_classes(
    labels: np.ndarray, logits: np.ndarray, losses: np.ndarray, class_names: Sequence[str]
) -> Measures:
    """Return all scores.

    Args:
        labels: (N,) integers, indices of the true classes; N at least 1.
        logits: (N, K) float64.
        losses: (N,) cross entropies.
        class_names: Names of the K classes.
    """
    powers = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = powers / powers.sum(1, keepdims=True)
    predicted = logits.argmax(1)
    pairs = [(labels == k, predicted == k) for k in range(len(class_names))]
    parts = {name: _of_class(*pair) for name, pair in zip(class_names, pairs, strict=True)}
    areas = [roc_auc(has, probabilities[:, k]) for k, (has, _) in enumerate(pairs)]
    is_right = predicted == labels
    overall = {
        "accuracy": share(is_right),
        **{f"top_{k}": share(_is_in_top(labels, logits, k)) for k in top_of(len(class_names))},
        "balanced_accuracy": mean_of_shares([part["recall"] for part in parts.values()]),
        "macro_f1": mean_of(f1(*pair) for pair in pairs),
        "roc_auc": mean_of(areas),
        "loss": mean(losses, "positive"),
        "brier": mean(_brier(probabilities, labels), "positive"),
    }
    return Measures(overall, parts, ~is_right, probabilities.max(1), is_right)


def _of_class(has: np.ndarray, said: np.ndarray) -> dict[str, Measure]:
    return {"precision": share(has, said), "recall": share(said, has), "f1": f1_of_class(has, said)}


def _is_in_top(labels: np.ndarray, logits: np.ndarray, k: int) -> np.ndarray:
    """Return whether fewer than k classes are more probable than the true one; of equals, the first count."""
    own = logits[np.arange(len(labels)), labels][:, None]
    before = (logits > own) | ((logits == own) & (np.arange(logits.shape[1]) < labels[:, None]))
    return np.asarray(before.sum(1) < k)


def _brier(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the squared distance of each photo's probabilities from the truth, (N,), in 0..2."""
    own = probabilities[np.arange(len(labels)), labels]
    return np.asarray(np.square(probabilities).sum(1) - 2 * own + 1)
