"""The base class of tasks: everything that depends on the kind of label, without PyTorch.

A task is a stateless object, which ``tasks.of`` finds by the name that model files and settings contain. The
loss for training in steps is in ``training/steps/criterion.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias

import numpy as np

from headstart.columns import counted
from headstart.images.settings import Preprocessing
from headstart.images.view import View
from headstart.records import Record
from headstart.tasks.measures import Measures
from headstart.tasks.prediction import Prediction

Solver: TypeAlias = Literal["classes", "labels", "numbers"]
"""How a linear head is solved: see ``probe.solve``."""

SizeReader: TypeAlias = Callable[[], tuple[int, int]]
"""Returns the width and height of a photo as a viewer displays it."""

LOWER_IS_BETTER: Final = frozenset(
    {"loss", "calibrated_loss", "mae", "rmse", "error_px", "brier", "calibration_error"}
)
"""Scores for which lower values are better."""


class Learned(Protocol):
    """The information about training data that a task needs; ``data.targets.Targets`` provides it."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the K classes, or empty."""

    @property
    def scale(self) -> Iterable[tuple[float, ...]]:
        """Means and standard deviations of the numbers."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How photos are converted into the network's input."""


class Described(Learned, Protocol):
    """The information about a model that a task needs; ``ModelInfo`` provides it."""

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the numbers, or empty."""

    @property
    def scale(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Means and standard deviations of the numbers."""

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Per-class decision threshold (several labels only): a photo has the class if its probability is at
        least this.
        """


class Scores(Protocol):
    """The scores of a task over some photos."""

    @property
    def summary(self) -> dict[str, float]:
        """The overall scores by name."""

    def to_dict(self) -> dict[str, Any]:
        """Return the scores for JSON."""


@dataclass(frozen=True)
class FineTuning:
    """Defaults of a task for recipes that fine-tune stages.

    Attributes:
        steps: Number of steps for the last stage.
        most_epochs: Largest number of epochs, for data sets with few photos.
        lr_factor: Factor on the learning rate that is used for classes.
        augment: Name of the augmentation preset.
        weight_decay: Weight decay of AdamW.
        solves_first: Whether the head is solved before fine-tuning; otherwise it is trained in steps.
    """

    steps: int = 100
    most_epochs: int = 10
    lr_factor: float = 1.0
    augment: str = "none"
    weight_decay: float = 0.01
    solves_first: bool = True


class Task:
    """One kind of label: what a network predicts for a photo, and how predictions are scored and written.

    Attributes:
        name: Name of the task in settings, files and messages.
        has_class: Each photo has exactly one class.
        has_labels: Each photo has any number of classes.
        has_numbers: Each photo has a number for each target.
        has_box: Each photo has a box, whose class is predicted if there are two or more classes.
        solver: How a linear head on frozen features is solved; None if it must be trained in steps.
        activation: Function that converts logits into probabilities, if any.
        metrics: Names of the scores besides the loss. The first is the main score, which is a mean over
            photos.
        can_be_mixed: Whether mixup and CutMix can mix the labels of two photos.
        can_be_smoothed: Whether label smoothing is possible.
        resize: How photos are made square; None for the backbone's default.
        answers: What the network predicts, in words for messages.
        fine_tuning: Defaults for fine-tuning.
    """

    name: str
    has_class: bool = False
    has_labels: bool = False
    has_numbers: bool = False
    has_box: bool = False
    solver: Solver | None = None
    activation: Literal["softmax", "sigmoid"] | None = None
    metrics: tuple[str, ...]
    can_be_mixed: bool = True
    can_be_smoothed: bool = True
    resize: Literal["squash"] | None = None
    answers: str
    fine_tuning: FineTuning = FineTuning()

    # Labels.

    def labels_of(self, class_names: Sequence[str]) -> tuple[str, ...]:
        """Return the labels of a photo by the class names of its objects, which may repeat.

        Raises:
            ValueError: The task has no label for these objects.
        """
        return tuple(sorted(set(class_names)))

    def labelled(self, class_names: Sequence[str], targets: Sequence[str]) -> str:
        """Return a description of the labels of a data set, for messages."""
        return counted(len(class_names), "class", "classes")

    def answer(self, record: Record) -> Any:
        """Return the label of a photo, for comparing photos."""
        return record.label

    def strata(
        self, records: Sequence[Record], names: Sequence[str], fraction: float
    ) -> list[tuple[int, ...]]:
        """Return the strata of each photo, by which a split is stratified.

        Args:
            records: N photos.
            names: Names of the N photos' units, which stay on one side of a split.
            fraction: Fraction that is held out, in 0..1.
        """
        return [(record.label,) for record in records]

    # What a network learns and answers.

    def num_outputs(self, num_classes: int, num_targets: int) -> int:
        """Return the number of outputs of the network."""
        return num_classes

    def num_box_classes(self, num_classes: int) -> int:
        """Return the number of classes that are predicted for a box; 0 if there is only one class."""
        return 0

    def metrics_of(self, num_box_classes: int) -> tuple[str, ...]:
        """Return the names of the scores besides the loss, with the main score first."""
        return self.metrics

    def row(self, record: Record, view: View, info: Learned) -> tuple[np.ndarray, float]:
        """Return the target of a photo in a view, and the fraction of its object that is visible.

        Returns:
            For a class: () int64. Several labels: (K,) float32 of 0 and 1. Numbers: (D,) float32,
            standardised. A box: (4,) float32, fractions of the input's sides, or with its class (5,).
        """
        raise NotImplementedError

    def losses(self, outputs: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the loss of each photo as in training, without label smoothing, (N,) float64.

        Args:
            outputs: (N, D) float64, outputs of the network: logits, standardised numbers, or boxes followed
                by the logits of their classes.
            rows: (N, ...), targets as returned by ``row``.
        """
        raise NotImplementedError

    def from_file(self, outputs: np.ndarray, info: Described) -> np.ndarray:
        """Convert outputs (N, D) of a model file to those of the network, with standardised numbers."""
        return outputs

    def to_file(self, outputs: np.ndarray, info: Described) -> np.ndarray:
        """Convert outputs (N, D) of a network to those of the model file, with numbers in their own units."""
        return outputs

    def mean_of_logits(self, logits: np.ndarray) -> np.ndarray:
        """Return the logits whose probabilities are the means over V views of each photo.

        Args:
            logits: (N, V, K) float32.

        Returns:
            (N, K) float32.
        """
        raise NotImplementedError

    def comparable(self, outputs: np.ndarray, info: Described) -> np.ndarray:
        """Convert outputs (N, D) of a model file to values whose differences are comparable.

        Returns:
            (N, D): probabilities; numbers in standard deviations of their targets; or boxes as fractions of
            the input's sides, followed by the probabilities of their classes.
        """
        raise NotImplementedError

    def num_logits(self, num_classes: int) -> int:
        """Return the number of outputs of the network that are logits, the last ones; 0 if there are none."""
        return num_classes if self.activation else self.num_box_classes(num_classes)

    def of_logits(self, rows: np.ndarray) -> np.ndarray:
        """Return what logits are compared with: classes, (N,) int64; or (N, K), 0 or 1, for several labels.

        Args:
            rows: (N, ...), targets as returned by ``row``, of a task with logits.
        """
        return rows

    def first_thresholds(self, num_classes: int) -> tuple[float, ...]:
        """Return the initial threshold of each class, (K,); empty for tasks without thresholds."""
        return ()

    def thresholds(
        self, records: Sequence[Record], outputs: np.ndarray, num_classes: int
    ) -> tuple[float, ...]:
        """Choose thresholds on validation photos, by the outputs (N, D) of the model file."""
        return ()

    # Answers, as people and programs get them.

    def file_outputs(self, num_box_classes: int) -> tuple[str, ...]:
        """Return the names of the outputs of a model file."""
        return ("logits", "probabilities")

    def prediction(
        self, path: str | None, row: np.ndarray, info: Described, size: SizeReader, top_k: int | None
    ) -> Prediction:
        """Convert the outputs of a model file for one photo into a prediction.

        Args:
            path: Path of the photo.
            row: (D,): numbers, or the sides of a box, and probabilities.
            info: Description of the model.
            size: Reads the size of the photo.
            top_k: Number of classes to return; None for all.

        Raises:
            ImageError: The size can no longer be read.
        """
        raise NotImplementedError

    def text(
        self, class_names: Sequence[str], label: int, labels: Sequence[int], numbers: Sequence[str]
    ) -> str:
        """Return a label or a prediction as text.

        Args:
            class_names: Names of the K classes, or empty.
            label: Index of the class, if there is one class.
            labels: Indices of the classes, if there may be several.
            numbers: The numbers, or the sides of the box, already formatted.

        Returns:
            The class; or a JSON list of classes; or numbers separated by spaces; or the class of the box, if
            it has one, and xmin, ymin, xmax and ymax, separated by spaces.
        """
        return "".join(class_names[label : label + 1])

    def columns(self, info: Described) -> tuple[str, ...]:
        """Return the names of the output columns of ``answers.csv``, in the order of the outputs."""
        return tuple(f"logit:{name}" for name in info.class_names)

    def in_photo(self, outputs: np.ndarray, records: Sequence[Record], info: Described) -> np.ndarray:
        """Convert outputs of a model file to those of ``answers.csv``, with boxes in pixels of photos."""
        return outputs

    def said(
        self, outputs: np.ndarray, info: Described, texts: Callable[[np.ndarray], list[str]]
    ) -> list[str]:
        """Return predictions as text, in the format of ``text``.

        Args:
            outputs: (N, D), as in ``answers.csv``.
            info: Description of the model.
            texts: Function that formats numbers.
        """
        best = outputs.argmax(1).tolist() if outputs.shape[1] else [0] * len(outputs)
        return [self.text(info.class_names, label, (), ()) for label in best]

    def scores(
        self, labels: Sequence[str], outputs: np.ndarray, losses: np.ndarray, info: Described
    ) -> Scores:
        """Compute the scores.

        Args:
            labels: N labels in the format of ``text``; N at least 1.
            outputs: (N, D), as in ``answers.csv``.
            losses: (N,), the loss of each photo.
            info: Description of the model.

        Raises:
            ValueError: The labels are not in the format of ``text``, or are not labels of the model.
        """
        raise NotImplementedError

    def score_names(self, info: Described) -> tuple[str, ...]:
        """Return the names of the overall scores of ``measures``, with the main score first."""
        raise NotImplementedError

    def measures(
        self, labels: Sequence[str], outputs: np.ndarray, losses: np.ndarray, info: Described
    ) -> Measures:
        """Compute the scores with the part that each photo has in them, for intervals.

        Arguments and errors are those of ``scores``.
        """
        raise NotImplementedError

    def csv_columns(self, info: Described, top_k: int) -> tuple[list[str], list[str]]:
        """Return the names of the main columns in a CSV of predictions, and of the additional ones."""
        raise NotImplementedError

    def csv_cells(self, prediction: Prediction) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Return the cells of both kinds of columns by name; empty if the photo has an error."""
        raise NotImplementedError

    def words(self, prediction: Prediction) -> str:
        """Return a prediction as one line of text."""
        return f"{prediction.label} {prediction.probability:.0%}"


def class_columns(top_k: int) -> tuple[list[str], list[str]]:
    """Return the columns of the most probable class, and those of the following classes."""
    further = [name for rank in range(2, top_k + 1) for name in (f"label_{rank}", f"probability_{rank}")]
    return ["label", "probability"], further


def class_cells(prediction: Prediction) -> dict[str, str]:
    """Return the cells of ``class_columns``."""
    cells: dict[str, str] = {}
    for rank, (label, share) in enumerate(prediction.probabilities.items(), 1):
        suffix = "" if rank == 1 else f"_{rank}"
        cells |= {f"label{suffix}": label, f"probability{suffix}": f"{share:.6g}"}
    return cells


def most_probable(row: np.ndarray, info: Described, top_k: int | None) -> tuple[list[int], dict[str, float]]:
    """Return the indices of the classes, sorted by probability, and the top probabilities by name."""
    best_first = np.argsort(-row, kind="stable").tolist()
    return best_first, {info.class_names[i]: float(row[i]) for i in best_first[:top_k]}


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities, (N, K), without overflow."""
    powers = np.exp(logits - logits.max(1, keepdims=True, initial=-np.inf))
    return np.asarray(powers / powers.sum(1, keepdims=True))
