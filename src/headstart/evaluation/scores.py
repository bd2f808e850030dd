"""The scores of a finished model, computed from its answers alone."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np

from headstart.answers.losses import cross_entropy
from headstart.answers.table import Answers, output_names, sigmoid
from headstart.data.text import boxes_of, class_sets_of, classes_of, numbers_of
from headstart.errors import UsageError
from headstart.evaluation.boxes import BoxScores, score_boxes
from headstart.evaluation.metrics import ClassificationScores, score
from headstart.evaluation.multilabel import MultilabelScores, score_multilabel
from headstart.evaluation.regression import RegressionScores, score_regression
from headstart.model_file import ModelInfo

Scores: TypeAlias = ClassificationScores | MultilabelScores | RegressionScores | BoxScores


def scores_of(answers: Answers, info: ModelInfo) -> Scores:
    """Return all scores of the task, those of single classes and targets among them.

    Args:
        answers: At least one, such as ``answers.of_source("test")``.
        info: Of the model: its classes or targets, and its thresholds.

    Raises:
        UsageError: There are no answers, or they are those of another model.
    """
    _refuse_others(answers, info)
    try:
        return _scores(answers, info)
    except ValueError as error:
        raise UsageError(f"The answers do not fit the model: {error}.") from error


def summary_of(answers: Answers, info: ModelInfo) -> dict[str, float]:
    """Return the scores that training is judged by, under their names in ``history.csv`` without ``val_``.

    Args:
        answers: At least one, such as ``answers.of_source("val")``.
        info: As for ``scores_of``.

    Returns:
        ``loss``, and: one class: ``accuracy``; several classes: ``accuracy`` (of single decisions at a
        probability of 0.5), ``map`` and ``f1``; numbers: ``mae``, ``rmse`` and ``r2``; boxes: ``iou`` and
        ``iou50``, and ``accuracy`` if they have classes. What is undefined is 0, as in training.

    Raises:
        UsageError: There are no answers, or they are those of another model.
    """
    scores = scores_of(answers, info)
    found = {"loss": _mean(answers.loss)}
    if isinstance(scores, ClassificationScores):
        return found | {"accuracy": scores.accuracy}
    found |= {name: value for name, value in scores.summary.items() if name not in ("loss", "error_px")}
    return {name: 0.0 if name != "loss" and math.isnan(value) else value for name, value in found.items()}


def _scores(answers: Answers, info: ModelInfo) -> Scores:
    outputs, losses = answers.outputs, answers.loss
    if info.task == "regression":
        return score_regression(numbers_of(answers.label, outputs.shape[1]), outputs, info.targets)
    if info.task == "multilabel":
        has = class_sets_of(answers.label, info.class_names)
        return score_multilabel(has, sigmoid(outputs), losses, info.class_names, info.thresholds)
    if info.task == "classification":
        labels = classes_of(answers.label, info.class_names)
        return score(labels, outputs.argmax(1), losses, info.class_names)
    names, truth = boxes_of(answers.label)
    classes = None
    if info.num_box_classes:
        labels, logits = classes_of(names, info.class_names), outputs[:, 4:]
        losses = cross_entropy(logits.astype(np.float64), labels)
        classes = score(labels, logits.argmax(1), losses, info.class_names)
    return score_boxes(truth, outputs[:, :4].astype(np.float64), classes)


def _refuse_others(answers: Answers, info: ModelInfo) -> None:
    if answers.output_names != (names := output_names(info)):
        raise UsageError(
            f"The answers have the outputs {', '.join(answers.output_names)}, but the model has "
            f"{', '.join(names)}. Take the model and the answers.csv of one run folder."
        )
    if not len(answers):
        raise UsageError("There are no answers to score. Choose another source or split.")


def _mean(values: np.ndarray) -> float:
    return float(values.mean(dtype=np.float64))
