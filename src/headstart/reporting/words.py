"""Labels and predictions of single photos in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from headstart import tasks
from headstart.answers.table import Answers
from headstart.images.boxes import iou
from headstart.images.view import Box
from headstart.inference.model_file import ModelInfo
from headstart.reporting.markup import isolated
from headstart.tasks.losses import sigmoid
from headstart.tasks.task import softmax
from headstart.tasks.text import boxes_of, numbers_of


@dataclass(frozen=True)
class Answered:
    """A photo with its label and prediction in words.

    Attributes:
        path: As in ``answers.csv``.
        source: As in ``answers.csv``.
        words: What to say about it, by title: label, prediction, or the overlap of boxes.
        boxes: True and predicted box, each with its class in the style sheet; empty for other tasks.
    """

    path: str
    source: str
    words: tuple[tuple[str, str], ...]
    boxes: tuple[tuple[str, Box], ...] = ()


def answered(answers: Answers, info: ModelInfo) -> Iterator[Answered]:
    """Yield each row in words."""
    task = tasks.of(info.task)
    if task.has_box:
        yield from _boxes(answers, info)
        return
    words = _sets if task.has_labels else _numbers if task.has_numbers else _classes
    for path, source, (label, said) in zip(answers.path, answers.source, words(answers, info), strict=True):
        yield Answered(path, source, (("Label", label), ("Predicted", said)))


def label_in_words(label: str, info: ModelInfo) -> str:
    """Return a label of ``photos.csv`` for people, without brackets, needless digits and sides of boxes."""
    task = tasks.of(info.task)
    if task.has_labels:
        return ", ".join(json.loads(label)) or "none"
    if task.has_numbers:
        return ", ".join(f"{number:.4g}" for number in numbers_of([label], len(info.targets))[0])
    return boxes_of([label])[0][0] if task.has_box else label


def share_text(share: float) -> str:
    """Return a probability as text."""
    return f"{share:.2f}" if 0.005 <= share < 0.995 else "<0.01" if share < 0.5 else ">0.99"


def _classes(answers: Answers, info: ModelInfo) -> Iterator[tuple[str, str]]:
    index = {name: place for place, name in enumerate(info.class_names)}
    shares = softmax(answers.outputs.astype(np.float64))
    for label, prediction, row in zip(answers.label, answers.prediction, shares, strict=True):
        yield (
            f"{isolated(label)} ({share_text(row[index[label]])})",
            f"{isolated(prediction)} ({share_text(row[index[prediction]])})",
        )


def _sets(answers: Answers, info: ModelInfo) -> Iterator[tuple[str, str]]:
    index = {name: place for place, name in enumerate(info.class_names)}
    shares = sigmoid(answers.outputs.astype(np.float64))

    def words(text: str, row: np.ndarray) -> str:
        names = json.loads(text)
        return ", ".join(f"{isolated(name)} ({share_text(row[index[name]])})" for name in names) or "none"

    for label, prediction, row in zip(answers.label, answers.prediction, shares, strict=True):
        yield words(label, row), words(prediction, row)


def _numbers(answers: Answers, info: ModelInfo) -> Iterator[tuple[str, str]]:
    names = info.targets if len(info.targets) > 1 else ("",)

    def words(row: np.ndarray) -> str:
        pairs = zip(names, row.tolist(), strict=True)
        return ", ".join(f"{isolated(name) if name else ''} {value:.4g}".strip() for name, value in pairs)

    for truth, found in zip(numbers_of(answers.label, len(names)), answers.outputs, strict=True):
        yield words(truth), words(found)


def _boxes(answers: Answers, info: ModelInfo) -> Iterator[Answered]:
    names, truth = boxes_of(answers.label)
    said, _ = boxes_of(answers.prediction)
    found = answers.outputs[:, :4].astype(np.float64)
    overlaps = [("Overlap (IoU)", f"{overlap:.2f}") for overlap in iou(truth, found).tolist()]
    for row, overlap in enumerate(overlaps):
        classes = (("Label", isolated(names[row])), ("Predicted", isolated(said[row])))
        boxes = ("label", tuple(truth[row].tolist())), ("answer", tuple(found[row].tolist()))
        words = (*classes, overlap) if info.num_box_classes else (overlap,)
        yield Answered(answers.path[row], answers.source[row], words, boxes)
