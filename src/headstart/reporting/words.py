"""Labels and predictions of single photos in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from headstart import tasks
from headstart.answers.table import Answers
from headstart.columns import printable
from headstart.images.view import Box
from headstart.inference.model_file import ModelInfo
from headstart.tasks.losses import sigmoid
from headstart.tasks.task import softmax
from headstart.tasks.text import boxes_of, numbers_of


@dataclass(frozen=True)
class Answered:
    """A photo with its label and prediction in words.

    Attributes:
        path: As in ``answers.csv``.
        source: As in ``answers.csv``.
        label: The label.
        prediction: The prediction, with probabilities.
        boxes: True and predicted box, each with its class in the style sheet; empty for other tasks.
    """

    path: str
    source: str
    label: str
    prediction: str
    boxes: tuple[tuple[str, Box], ...] = ()


def answered(answers: Answers, info: ModelInfo) -> Iterator[Answered]:
    """Yield each row in words."""
    task = tasks.of(info.task)
    if task.has_labels:
        found = _sets(answers, info)
    elif task.has_numbers:
        found = _numbers(answers, info)
    elif task.has_box:
        found = _boxes(answers, info)
    else:
        found = _classes(answers, info)
    for path, source, each in zip(answers.path, answers.source, found, strict=True):
        yield Answered(path, source, *each)


def share_text(share: float) -> str:
    """Return a probability as text."""
    return f"{share:.2f}" if 0.005 <= share < 0.995 else "< 0.01" if share < 0.5 else "> 0.99"


def _classes(answers: Answers, info: ModelInfo) -> Iterator[tuple[str, str]]:
    index = {name: place for place, name in enumerate(info.class_names)}
    shares = softmax(answers.outputs.astype(np.float64))
    for label, prediction, row in zip(answers.label, answers.prediction, shares, strict=True):
        yield (
            f"{printable(label)} ({share_text(row[index[label]])})",
            f"{printable(prediction)} ({share_text(row[index[prediction]])})",
        )


def _sets(answers: Answers, info: ModelInfo) -> Iterator[tuple[str, str]]:
    index = {name: place for place, name in enumerate(info.class_names)}
    shares = sigmoid(answers.outputs.astype(np.float64))
    for label, prediction, row in zip(answers.label, answers.prediction, shares, strict=True):
        yield tuple(  # type: ignore[misc]
            ", ".join(f"{printable(name)} ({share_text(row[index[name]])})" for name in names) or "none"
            for names in (json.loads(label), json.loads(prediction))
        )


def _numbers(answers: Answers, info: ModelInfo) -> Iterator[tuple[str, str]]:
    names = info.targets if len(info.targets) > 1 else [""]
    truth = numbers_of(answers.label, len(names))
    for rows in zip(truth, answers.outputs, strict=True):
        yield tuple(  # type: ignore[misc]
            ", ".join(
                f"{printable(name)} {value:.4g}".strip() for name, value in zip(names, row, strict=True)
            )
            for row in rows
        )


def _boxes(answers: Answers, info: ModelInfo) -> Iterator[tuple[str, str, tuple[tuple[str, Box], ...]]]:
    from headstart.images.boxes import iou

    names, truth = boxes_of(answers.label)
    predicted_names, _ = boxes_of(answers.prediction)
    found = answers.outputs[:, :4].astype(np.float64)
    overlaps = iou(truth, found)
    for name, said, *boxes, overlap in zip(names, predicted_names, truth, found, overlaps, strict=True):
        label, answer = (tuple(map(float, box)) for box in boxes)
        words = f"overlap (IoU) {overlap:.2f}"
        outlines = ("label", label), ("answer", answer)
        yield (
            printable(name) if info.num_box_classes else "solid blue box",
            f"{printable(said)}, {words}" if info.num_box_classes else f"dashed orange box, {words}",
            outlines,  # type: ignore[misc]
        )
