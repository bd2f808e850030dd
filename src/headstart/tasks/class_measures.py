"""Scores of predicted classes with the part that each photo has in them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from headstart.tasks.measures import (
    Measure,
    Measures,
    f1_from_share,
    mean,
    mean_of,
    mean_of_shares,
    roc_auc,
    share,
    share_of,
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

    def areas() -> Iterator[Measure]:
        return (roc_auc(labels == k, np.exp(logits[:, k] - normaliser)) for k in range(num))

    by_label, by_prediction = _rows_by_class(labels, num), _rows_by_class(predicted, num)
    is_right = predicted == labels
    of_classes = map(_of_class, by_label, by_prediction, itertools.repeat(is_right))
    parts = dict(zip(class_names, of_classes, strict=True))
    overall = {
        "accuracy": share(is_right),
        **{f"top_{k}": share(_is_in_top(labels, logits, k)) for k in top_of(num)},
        "balanced_accuracy": mean_of_shares([part["recall"] for part in parts.values()], len(labels)),
        "macro_f1": _macro_f1(labels, predicted, is_right, num),
        "roc_auc": mean_of(areas()),
        "loss": mean(losses, "positive"),
        "brier": mean(brier, "positive"),
    }
    of_predicted = np.exp(logits[np.arange(len(labels)), predicted] - normaliser)
    return Measures(overall, parts, ~is_right, of_predicted, is_right)


def _rows_by_class(classes: np.ndarray, num_classes: int) -> list[np.ndarray]:
    """Return the rows of each class, in ascending order."""
    order = np.argsort(classes, kind="stable")
    return np.split(order, np.cumsum(np.bincount(classes, minlength=num_classes))[:-1])


def _of_class(by_label: np.ndarray, by_prediction: np.ndarray, is_right: np.ndarray) -> dict[str, Measure]:
    """Return the scores of a class from the rows that have it and those that are predicted to."""
    either = np.union1d(by_label, by_prediction)
    f1 = share_of(either, is_right)
    return {
        "precision": share_of(by_prediction, is_right),
        "recall": share_of(by_label, is_right),
        "f1": replace(f1, value=f1_from_share(f1.value), kind="f1"),
    }


def _macro_f1(labels: np.ndarray, predicted: np.ndarray, is_right: np.ndarray, num_classes: int) -> Measure:
    """Return the mean of ``measures.f1`` of all classes: a photo counts for its own and the predicted one."""
    has, said, hits = (
        np.bincount(each, minlength=num_classes) for each in (labels, predicted, labels[is_right])
    )
    total, either = has + said, has + said - hits
    with np.errstate(invalid="ignore", divide="ignore"):  # a class that neither occurs nor is predicted
        values = 2 * hits / total
        factors = np.sqrt(either / np.maximum(either - 1, 1)) * len(labels) / total
    of_label, of_predicted = (-values[each] * factors[each] for each in (labels, predicted))
    moved = np.where(is_right, (2 - 2 * values[labels]) * factors[labels], of_label + of_predicted)
    num_defined = int((total > 0).sum())
    return Measure(float(np.nansum(values) / num_defined), moved / num_defined, "unit")


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
