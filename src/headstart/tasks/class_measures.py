"""Scores of predicted classes with the part that each photo has in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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


_PHOTOS_AT_ONCE: Final = 1024


def top_of(num_classes: int) -> tuple[int, ...]:
    """Return the numbers k of top-k accuracies: those with at least twice as many classes."""
    return tuple(k for k in _TOP if num_classes >= 2 * k)


def measure_classes(
    labels: np.ndarray, logits: np.ndarray, losses: np.ndarray, class_names: Sequence[str]
) -> Measures:
    """Return all scores.

    Args:
        labels: (N,) integers, indices of the true classes; N at least 1.
        logits: (N, K).
        losses: (N,) cross entropies.
        class_names: Names of the K classes.
    """
    predicted, num = logits.argmax(1), len(class_names)
    normaliser, brier = _softmax_sums(logits, labels)

    def columns() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return ((labels == k, predicted == k) for k in range(num))

    def areas() -> Iterator[Measure]:
        return (roc_auc(labels == k, np.exp(logits[:, k] - normaliser)) for k in range(num))

    parts = {name: _of_class(*column) for name, column in zip(class_names, columns(), strict=True)}
    is_right = predicted == labels
    overall = {
        "accuracy": share(is_right),
        **{f"top_{k}": share(_is_in_top(labels, logits, k)) for k in top_of(num)},
        "balanced_accuracy": mean_of_shares([part["recall"] for part in parts.values()], len(labels)),
        "macro_f1": mean_of(f1(*column) for column in columns()),
        "roc_auc": mean_of(areas()),
        "loss": mean(losses, "positive"),
        "brier": mean(brier, "positive"),
    }
    of_predicted = np.exp(logits[np.arange(len(labels)), predicted] - normaliser)
    return Measures(overall, parts, ~is_right, of_predicted, is_right)


def _of_class(has: np.ndarray, said: np.ndarray) -> dict[str, Measure]:
    return {"precision": share(has, said), "recall": share(said, has), "f1": f1_of_class(has, said)}


def _is_in_top(labels: np.ndarray, logits: np.ndarray, k: int) -> np.ndarray:
    """Return whether fewer than k classes are more probable than the true one; of equals, the first count."""
    own = logits[np.arange(len(labels)), labels][:, None]
    before = (logits > own) | ((logits == own) & (np.arange(logits.shape[1]) < labels[:, None]))
    return np.asarray(before.sum(1) < k)


def _softmax_sums(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return log(sum(exp(logits))) and the Brier score of each photo, (N,), part by part to limit the memory.

    The Brier score is the squared distance of the probabilities from the truth, in 0..2.
    """
    normaliser, brier = np.empty(len(labels)), np.empty(len(labels))
    for first in range(0, len(labels), _PHOTOS_AT_ONCE):
        part = slice(first, first + _PHOTOS_AT_ONCE)
        values = logits[part].astype(np.float64)
        most = values.max(1)
        normaliser[part] = most + np.log(np.exp(values - most[:, None]).sum(1))
        probabilities = np.exp(values - normaliser[part, None])
        of_true = probabilities[np.arange(len(values)), labels[part]]
        brier[part] = np.square(probabilities).sum(1) - 2 * of_true + 1
    return normaliser, brier
