"""The task ``multilabel``: any number of classes per photo."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from headstart.images.view import View
from headstart.records import Record
from headstart.tasks.calibration import calibrated_loss
from headstart.tasks.label_measures import measure_labels
from headstart.tasks.label_scores import MultilabelScores, choose_thresholds, score_multilabel
from headstart.tasks.losses import binary_cross_entropy, sigmoid
from headstart.tasks.measures import Measures
from headstart.tasks.prediction import Prediction
from headstart.tasks.task import Described, FineTuning, Learned, SizeReader, Solver, Task, most_probable
from headstart.tasks.text import class_sets_of


class Multilabel(Task):
    """Any number of classes per photo, with a sigmoid and a decision threshold for each class."""

    name = "multilabel"
    has_labels = True
    solver: Solver = "labels"
    activation: Literal["sigmoid"] = "sigmoid"
    metrics = ("accuracy", "map", "f1", "calibrated_loss")
    answers = "a logit for each class"
    fine_tuning = FineTuning(solves_first=False)

    def labelled(self, class_names: Sequence[str], targets: Sequence[str]) -> str:
        """Return a description of the labels: the number of classes."""
        return f"any of {super().labelled(class_names, targets)}"

    def answer(self, record: Record) -> tuple[int, ...]:
        """Return the labels of the photo."""
        return record.labels

    def strata(
        self, records: Sequence[Record], names: Sequence[str], fraction: float
    ) -> list[tuple[int, ...]]:
        """Return the labels of each photo as strata; photos without labels form another stratum."""
        return [record.labels or (-1,) for record in records]

    def row(self, record: Record, view: View, info: Learned) -> tuple[np.ndarray, float]:
        """Return the classes of the photo, (K,) float32 of 0 and 1."""
        row = np.zeros(len(info.class_names), np.float32)
        row[list(record.labels)] = 1
        return row, 1.0

    def losses(self, outputs: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the binary cross entropy, averaged over the classes."""
        return np.asarray(binary_cross_entropy(outputs, rows.astype(np.float64)).mean(1))

    def mean_of_logits(self, logits: np.ndarray) -> np.ndarray:
        """Return the logarithms of the odds of the mean probabilities."""
        values = logits.astype(np.float64)
        has, has_not = (
            np.logaddexp.reduce(-np.logaddexp(0, sign * values), axis=1) for sign in (-1, 1)
        )  # logarithms of the sums of p and of 1 - p over the views
        return np.asarray(has - has_not, np.float32)

    def comparable(self, outputs: np.ndarray, info: Described) -> np.ndarray:
        """Return the probabilities of the classes."""
        return sigmoid(outputs)

    def first_thresholds(self, num_classes: int) -> tuple[float, ...]:
        """Return 0.5 for each class."""
        return (0.5,) * num_classes

    def thresholds(
        self, records: Sequence[Record], outputs: np.ndarray, num_classes: int
    ) -> tuple[float, ...]:
        """Choose the threshold of each class that maximises F1 on these photos."""
        has = np.zeros((len(records), num_classes), bool)
        for row, record in zip(has, records, strict=True):
            row[list(record.labels)] = True
        return choose_thresholds(has, sigmoid(outputs))

    def prediction(
        self, path: str | None, row: np.ndarray, info: Described, size: SizeReader, top_k: int | None
    ) -> Prediction:
        """Return the classes with a probability of at least their threshold, and all probabilities."""
        best_first, probabilities = most_probable(row, info, top_k)
        labels = tuple(info.class_names[i] for i in best_first if row[i] >= info.thresholds[i])
        return Prediction(path, probabilities=probabilities, labels=labels)

    def text(
        self, class_names: Sequence[str], label: int, labels: Sequence[int], numbers: Sequence[str]
    ) -> str:
        """Return a JSON list of classes."""
        return json.dumps([class_names[each] for each in labels], ensure_ascii=False)

    def said(
        self, outputs: np.ndarray, info: Described, texts: Callable[[np.ndarray], list[str]]
    ) -> list[str]:
        """Return the classes with a probability of at least their threshold."""
        reached = sigmoid(outputs) >= np.array(info.thresholds)
        return [self.text(info.class_names, 0, np.flatnonzero(row).tolist(), ()) for row in reached]

    def scores(
        self, labels: Sequence[str], outputs: np.ndarray, losses: np.ndarray, info: Described
    ) -> MultilabelScores:
        """Return average precision, and F1, precision and recall at the thresholds."""
        has = class_sets_of(labels, info.class_names)
        found = score_multilabel(has, sigmoid(outputs), losses, info.class_names, info.thresholds)
        return replace(found, calibrated_loss=calibrated_loss(outputs, has))

    def score_names(self, info: Described) -> tuple[str, ...]:
        """Return accuracy, means over classes, and losses."""
        return ("accuracy", "map", "f1", "roc_auc", "loss", "brier")

    def measures(
        self, labels: Sequence[str], outputs: np.ndarray, losses: np.ndarray, info: Described
    ) -> Measures:
        """Return accuracy, means over classes, losses, and the scores of each class at its threshold."""
        has = class_sets_of(labels, info.class_names)
        return measure_labels(has, sigmoid(outputs), losses, info.class_names, info.thresholds)

    def csv_columns(self, info: Described, top_k: int) -> tuple[list[str], list[str]]:
        """Return the column ``labels``, and additionally a column for each class."""
        return ["labels"], list(info.class_names)

    def csv_cells(self, prediction: Prediction) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Return labels and probabilities separately, because a class may be called "labels"."""
        answer = {} if prediction.error else {"labels": "|".join(prediction.labels)}
        return answer, {name: f"{share:.6g}" for name, share in prediction.probabilities.items()}

    def words(self, prediction: Prediction) -> str:
        """Return the labels with their probabilities."""
        shares = prediction.probabilities
        said = [f"{name} {shares[name]:.0%}" if name in shares else name for name in prediction.labels]
        return ", ".join(said) or "none"
