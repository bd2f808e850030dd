"""How far two models agree on the same photos: the largest difference, and every answer that has changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstart import tasks
from headstart.inference.model_file import ModelInfo


@dataclass(frozen=True)
class ChangedAnswer:
    """A photo for which two models give different classes.

    Attributes:
        path: The photo.
        before, after: The answers, as in the column ``prediction`` of ``answers.csv``.
        margin: How clear the first answer was: of one class, its probability minus that of the second answer;
            of several labels, the largest distance of a changed label's probability from its threshold.
    """

    path: str
    before: str
    after: str
    margin: float

    def __str__(self) -> str:
        return f"{self.path}: {self.before} became {self.after}; margin {self.margin:.2g}"


@dataclass(frozen=True)
class Agreement:
    """A comparison of the answers of two models.

    Attributes:
        num_photos: Photos compared.
        max_difference: Largest difference of an answer: of probabilities; of numbers, in standard deviations
            of their targets; of the sides of boxes, as a fraction of the photo. NaN if an answer is.
        worst: The photo with this difference; empty without photos.
        changed: Photos whose class or set of classes has changed, the largest margin first. Numbers and boxes
            without classes have none.
    """

    num_photos: int
    max_difference: float
    worst: str = ""
    changed: tuple[ChangedAnswer, ...] = ()


def agreement(
    info: ModelInfo,
    paths: Sequence[str],
    before: np.ndarray,
    after: np.ndarray,
    sizes: Sequence[tuple[int, int]] | None = None,
) -> Agreement:
    """Compare the outputs of two models for N photos.

    Args:
        info: Description of the model.
        paths: The photos.
        before: (N, D), as in ``answers.csv``, or as of ``Predictor.outputs``.
        after: Likewise, of the other model.
        sizes: Width and height of the photos, if boxes are in pixels.
    """
    if not paths:
        return Agreement(0, 0.0)
    task = tasks.of(info.task)
    first, second = task.comparable(before, info), task.comparable(after, info)
    differences = np.abs(second - first)
    if task.has_box and sizes is not None:
        differences[:, :4] /= np.tile(np.array(sizes), 2)
    largest = differences.max(1)
    worst = int(np.where(np.isnan(largest), np.inf, largest).argmax())
    return Agreement(len(paths), float(largest[worst]), paths[worst], _changed(info, paths, before, after))


def _changed(
    info: ModelInfo, paths: Sequence[str], before: np.ndarray, after: np.ndarray
) -> tuple[ChangedAnswer, ...]:
    task = tasks.of(info.task)
    number = task.num_logits(len(info.class_names))
    if not number:
        return ()
    first, second = (task.comparable(each, info)[:, -number:] for each in (before, after))
    if task.has_labels:
        thresholds = np.array(info.thresholds)
        flipped = (first >= thresholds) != (second >= thresholds)
        margins = np.where(flipped, np.abs(first - thresholds), 0).max(1)
        rows = np.flatnonzero(flipped.any(1))
    else:
        old, new = first.argmax(1), second.argmax(1)
        every = np.arange(len(first))
        margins = first[every, old] - first[every, new]
        rows = np.flatnonzero(old != new)

    def said(probabilities: np.ndarray) -> str:
        if task.has_labels:
            chosen = np.flatnonzero(probabilities >= np.array(info.thresholds))
            return ", ".join(info.class_names[label] for label in chosen) or "no label"
        return info.class_names[int(probabilities.argmax())]

    found = [
        ChangedAnswer(paths[row], said(first[row]), said(second[row]), float(margins[row]))
        for row in rows.tolist()
    ]
    return tuple(sorted(found, key=lambda each: -each.margin))
