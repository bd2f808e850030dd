"""The task ``classification``: one class per photo."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from headstart.images.view import View
from headstart.records import Record
from headstart.tasks.calibration import calibrated_loss
from headstart.tasks.class_measures import measure_classes, top_of
from headstart.tasks.class_scores import ClassificationScores, score
from headstart.tasks.losses import cross_entropy
from headstart.tasks.measures import Measures
from headstart.tasks.prediction import Prediction
from headstart.tasks.task import (
    Described,
    Learned,
    SizeReader,
    Solver,
    Task,
    class_cells,
    class_columns,
    most_probable,
    softmax,
)
from headstart.tasks.text import classes_of


class Classification(Task):
    """One class per photo. The loss is softmax cross entropy."""

    name = "classification"
    has_class = True
    solver: Solver = "classes"
    activation: Literal["softmax"] = "softmax"
    metrics = ("accuracy", "calibrated_loss", "balanced_accuracy", "macro_f1")
    answers = "a logit for each class"

    def labels_of(self, class_names: Sequence[str]) -> tuple[str, ...]:
        """Return the one class of all objects of a photo."""
        names = tuple(sorted(set(class_names)))
        if len(names) != 1:
            shown = ", ".join(map(repr, names)) or "none"
            raise ValueError(f"its objects are of {len(names)} classes ({shown}), not of one")
        return names

    def row(self, record: Record, view: View, info: Learned) -> tuple[np.ndarray, float]:
        """Return the index of the class, () int64."""
        return np.array(record.label, np.int64), 1.0

    def losses(self, outputs: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the cross entropy of each photo."""
        return cross_entropy(outputs, rows)

    def mean_of_logits(self, logits: np.ndarray) -> np.ndarray:
        """Return the logarithms of the mean probabilities."""
        values = logits.astype(np.float64)
        values -= values.max(2, keepdims=True)
        values -= np.log(np.exp(values).sum(2, keepdims=True))
        most = values.max(1)
        return np.asarray(most + np.log(np.exp(values - most[:, None]).mean(1)), np.float32)

    def comparable(self, outputs: np.ndarray, info: Described) -> np.ndarray:
        """Return the probabilities of the classes."""
        return softmax(outputs)

    def prediction(
        self, path: str | None, row: np.ndarray, info: Described, size: SizeReader, top_k: int | None
    ) -> Prediction:
        """Return the most probable class, and the probabilities."""
        best_first, probabilities = most_probable(row, info, top_k)
        label = info.class_names[best_first[0]]
        return Prediction(path, label, probabilities[label], probabilities)

    def scores(
        self, labels: Sequence[str], outputs: np.ndarray, losses: np.ndarray, info: Described
    ) -> ClassificationScores:
        """Return accuracy, confusion matrix, and the scores of each class."""
        known = classes_of(labels, info.class_names)
        found = score(known, outputs.argmax(1), losses, info.class_names)
        return replace(found, calibrated_loss=calibrated_loss(outputs, known))

    def score_names(self, info: Described) -> tuple[str, ...]:
        """Return accuracy, top-k accuracies, means over classes, and losses."""
        tops = (f"top_{k}" for k in top_of(len(info.class_names)))
        return ("accuracy", *tops, "balanced_accuracy", "macro_f1", "roc_auc", "loss", "brier")

    def measures(
        self, labels: Sequence[str], outputs: np.ndarray, losses: np.ndarray, info: Described
    ) -> Measures:
        """Return accuracy, top-k accuracies, means over classes, losses, and the scores of each class."""
        known = classes_of(labels, info.class_names)
        return measure_classes(known, outputs, losses, info.class_names)

    def csv_columns(self, info: Described, top_k: int) -> tuple[list[str], list[str]]:
        """Return the columns of label and probability, and those of the next most probable classes."""
        return class_columns(top_k)

    def csv_cells(self, prediction: Prediction) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Return the cells of these columns."""
        cells = class_cells(prediction)
        return cells, cells
