"""Computes the scores of a finished model from its answers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from headstart import tasks
from headstart.answers.table import Answers
from headstart.errors import UsageError
from headstart.inference.model_file import ModelInfo
from headstart.tasks.measures import Measures
from headstart.tasks.task import Scores, Task


def scores_of(answers: Answers, info: ModelInfo) -> Scores:
    """Return all scores of the task, including those of each class or target.

    Args:
        answers: At least one row, for example ``answers.of_source("test")``.
        info: Description of the model: classes or targets, and thresholds.

    Raises:
        UsageError: There are no answers, or they belong to another model.
    """
    with _checked(answers, info) as task:
        return task.scores(answers.label, answers.outputs, answers.loss, info)


def measures_of(answers: Answers, info: ModelInfo) -> Measures:
    """Return all scores with the part that each photo has in them; arguments are those of ``scores_of``."""
    with _checked(answers, info) as task:
        return task.measures(answers.label, answers.outputs, answers.loss, info)


def summary_of(answers: Answers, info: ModelInfo, scores: Scores | None = None) -> dict[str, float]:
    """Return the main scores, with their names in ``history.csv`` without ``val_``.

    Args:
        answers: At least one row, for example ``answers.of_source("val")``.
        info: Description of the model.
        scores: All scores, if they are known already.

    Returns:
        ``loss``, and for one class: ``accuracy``; several labels: ``accuracy`` (of single decisions at a
        probability of 0.5), ``map`` and ``f1``; numbers: ``mae``, ``rmse`` and ``r2``; boxes: ``iou`` and
        ``iou50``, and ``accuracy`` if they have classes. Undefined scores are 0, as in training.

    Raises:
        UsageError: There are no answers, or they belong to another model.
    """
    scores = scores or scores_of(answers, info)
    names = tasks.of(info.task).metrics_of(info.num_box_classes)
    found = {name: scores.summary[name] for name in names}
    defined = {name: 0.0 if math.isnan(value) else value for name, value in found.items()}
    return {"loss": float(answers.loss.mean(dtype=np.float64)), **defined}


@contextmanager
def _checked(answers: Answers, info: ModelInfo) -> Iterator[Task]:
    """Give the task of a model whose answers can be scored; a label that it does not know is an error."""
    _refuse_others(answers, info)
    try:
        yield tasks.of(info.task)
    except ValueError as error:
        raise UsageError(f"The answers do not fit the model: {error}.") from error


def _refuse_others(answers: Answers, info: ModelInfo) -> None:
    if answers.output_names != (names := tasks.of(info.task).columns(info)):
        raise UsageError(
            f"The answers have the outputs {', '.join(answers.output_names)}, but the model has "
            f"{', '.join(names)}. Use the model and the answers.csv of the same run folder."
        )
    if not len(answers):
        raise UsageError("There are no answers to score. Choose another source or split.")
