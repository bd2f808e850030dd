"""Each photo's loss, from the outputs of the finished model file.

They are the losses of ``training/task.py``, without label smoothing, computed in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from headstart.data.records import Record, Task
from headstart.data.targets import Scale, Targets
from headstart.model_file import ModelInfo

BOX_BETA: Final = 0.05
"""Where smooth L1 of a box's sides turns from a square to a line, as a fraction of the input's sides: about
the error that remains after training."""

LEAST_AREA: Final = 1e-9
"""The smallest area that is divided by, as a fraction of the input's area."""


def losses_of(records: Sequence[Record], outputs: np.ndarray, info: ModelInfo) -> np.ndarray:
    """Compare a model file's outputs with the photos' labels.

    Args:
        records: N photos; of boxes, with their sizes.
        outputs: (N, D), in the form of the file: logits; numbers in their own units; boxes as fractions of
            the input's sides, and logits of their classes if there are several.
        info: Of the model.

    Returns:
        (N,) float64.
    """
    task: Task = info.task  # type: ignore[assignment]
    targets = Targets(task, info.class_names, info.preprocessing, Scale(*info.scale))
    if not records:
        return np.zeros(0)
    rows = np.stack([targets.row(record) for record in records])
    if task == "regression":
        mean, std = np.array(info.scale)
        outputs = (outputs - mean) / std
    return losses(outputs, rows, task)


def losses(outputs: np.ndarray, rows: np.ndarray, task: Task) -> np.ndarray:
    """Return each photo's loss, (N,) float64.

    Args:
        outputs: (N, D), in the form of the network: as for ``losses_of``, but numbers are standardised.
        rows: (N, ...), what they are compared with: see ``Targets.row``.
        task: What is predicted.
    """
    outputs = outputs.astype(np.float64)
    if task == "classification":
        return cross_entropy(outputs, rows)
    rows = rows.astype(np.float64)
    found: np.ndarray
    if task == "multilabel":
        found = binary_cross_entropy(outputs, rows).mean(1)
    elif task == "regression":
        found = smooth_l1(outputs - rows).mean(1)
    else:
        boxes, truth = outputs[:, :4], rows[:, :4]
        found = smooth_l1(boxes - truth, BOX_BETA).sum(1) + 1 - giou(boxes, truth)
        if rows.shape[1] > 4:
            found += cross_entropy(outputs[:, 4:], rows[:, 4].astype(np.int64))
    return found


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
    """Return the loss of each photo and class, (N, K).

    Args:
        logits: (N, K).
        labels: (N, K), 0 or 1.
    """
    found: np.ndarray = np.maximum(logits, 0) - logits * labels + np.log1p(np.exp(-np.abs(logits)))
    return found


def smooth_l1(errors: np.ndarray, beta: float = 1.0) -> np.ndarray:
    """Return a square up to ``beta`` and a line from there on, of each error."""
    sizes = np.abs(errors)
    found: np.ndarray = np.where(sizes < beta, 0.5 * sizes**2 / beta, sizes - 0.5 * beta)
    return found


def giou(boxes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the generalised IoU pair by pair, (N,) in -1..1. Source: arXiv 1902.09630.

    Args:
        boxes: (N, 4), xmin, ymin, xmax, ymax, each side in order, as a model file answers.
        truth: (N, 4), likewise.
    """
    inner = np.minimum(boxes[:, 2:], truth[:, 2:]) - np.maximum(boxes[:, :2], truth[:, :2])
    outer = np.maximum(boxes[:, 2:], truth[:, 2:]) - np.minimum(boxes[:, :2], truth[:, :2])
    one, other = ((each[:, 2:] - each[:, :2]).clip(min=0).prod(1) for each in (boxes, truth))
    shared, around = inner.clip(min=0).prod(1), outer.prod(1).clip(min=LEAST_AREA)
    union = (one + other - shared).clip(min=LEAST_AREA)
    found: np.ndarray = shared / union - (around - union) / around
    return found
