"""What every task answers: everything in which one kind of label differs from another, PyTorch apart.

A task is a stateless object. It is found by its name, which is what model files and settings hold: see
``tasks.of``. What training in steps minimises is ``training/steps/criterion.py``'s.
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
from headstart.tasks.prediction import Prediction

Solver: TypeAlias = Literal["classes", "labels", "numbers"]
"""What a linear head learns where it is solved: see ``probe.solve``."""

LOWER_IS_BETTER: Final = frozenset({"loss", "mae", "rmse"})
"""Of all scores, those of which less is more."""


class Learned(Protocol):
    """What a task has to know of the photos that it learns from: ``data.targets.Targets`` is one."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The K classes, or none."""

    @property
    def scale(self) -> Iterable[tuple[float, ...]]:
        """Means and standard deviations of the numbers."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How photos become the network's input."""


class Described(Learned, Protocol):
    """What it has to know of a model: ``ModelInfo`` is one."""

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the numbers, or none."""

    @property
    def scale(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Means and standard deviations of the numbers."""

    @property
    def thresholds(self) -> tuple[float, ...]:
        """By class, where a photo may have several: the probability from which on it has it."""


class Scores(Protocol):
    """All scores of a task over some photos."""

    @property
    def summary(self) -> dict[str, float]:
        """The numbers that sum it up, by name."""

    def to_dict(self) -> dict[str, Any]:
        """Return them as JSON has them."""


@dataclass(frozen=True)
class FineTuning:
    """How recipes that unfreeze stages differ for a task.

    Attributes:
        steps: How many are enough for the last stage.
        most_epochs: Where there are so few photos that this many steps are many epochs.
        lr_factor: What the learning rate for classes is multiplied by.
        augment: Name of the augmentation.
        weight_decay: Of AdamW.
        solves_first: Whether fine-tuning begins with a solved head; else its head is trained in steps.
    """

    steps: int = 100
    most_epochs: int = 10
    lr_factor: float = 1.0
    augment: str = "none"
    weight_decay: float = 0.01
    solves_first: bool = True


class Task:
    """One kind of label: what a network is to answer of a photo, and how that is judged and written.

    Attributes:
        name: In settings, files and messages.
        has_class: Every photo has exactly one class.
        has_labels: A photo has any number of classes.
        has_numbers: A photo has a number for each target.
        has_box: A photo has a box, whose class is told where there are two or more.
        solver: What a linear head on frozen features is solved as; None where it has to be trained in steps.
        activation: What turns logits into probabilities, if anything.
        metrics: The scores beside the loss, the headline first, which adds up photo by photo.
        can_be_mixed: Whether a mixture of two photos has a label (mixup, CutMix).
        can_be_smoothed: Whether labels can be smoothed.
        resize: How photos become square, instead of the backbone's own way; None for that.
        answers: What a network answers, for messages.
        fine_tuning: See there.
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
        """Return what the objects of a photo say of it, by the names of their classes, some of them equal.

        Raises:
            ValueError: They say nothing that the task could learn.
        """
        return tuple(sorted(set(class_names)))

    def labelled(self, class_names: Sequence[str], targets: Sequence[str]) -> str:
        """Say what photos are labelled with."""
        return counted(len(class_names), "class", "classes")

    def answer(self, record: Record) -> Any:
        """Return what is learned of a photo, for comparing photos with each other."""
        return record.label

    def strata(
        self, records: Sequence[Record], names: Sequence[str], fraction: float
    ) -> list[tuple[int, ...]]:
        """Return what each photo is an example of, which a split is to have equal shares of.

        Args:
            records: N photos.
            names: N names of the units that stay on one side.
            fraction: How much is held back, in 0..1.
        """
        return [(record.label,) for record in records]

    # What a network learns and answers.

    def num_outputs(self, num_classes: int, num_targets: int) -> int:
        """Return how many numbers a network answers with."""
        return num_classes

    def num_box_classes(self, num_classes: int) -> int:
        """Return how many classes a box may have; a single one is not worth predicting, and counts as 0."""
        return 0

    def metrics_of(self, num_box_classes: int) -> tuple[str, ...]:
        """Return the names of the scores beside the loss, the headline first."""
        return self.metrics

    def row(self, record: Record, view: View, info: Learned) -> tuple[np.ndarray, float]:
        """Return what a photo is to be learned as in a view, and the share of its object that is seen.

        Returns:
            A class: () int64. Several labels: (K,) float32 of 0 and 1. Numbers: (D,) float32, standardised. A
            box: (4,) float32, shares of the input's sides, or with its class (5,).
        """
        raise NotImplementedError

    def losses(self, outputs: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return each photo's loss, (N,) float64: that of training, without label smoothing.

        Args:
            outputs: (N, D) float64, in the form of the network: logits, standardised numbers, or boxes before
                the logits of their classes.
            rows: (N, ...): see ``row``.
        """
        raise NotImplementedError

    def from_file(self, outputs: np.ndarray, info: Described) -> np.ndarray:
        """Return outputs of a model file, (N, D), in the form of the network's: numbers standardised."""
        return outputs

    def to_file(self, outputs: np.ndarray, info: Described) -> np.ndarray:
        """Return outputs of a network, (N, D), in the model file's form: numbers in their own units."""
        return outputs

    def comparable(self, outputs: np.ndarray, info: Described) -> np.ndarray:
        """Turn outputs of a model file, (N, D), into answers whose differences say something.

        Returns:
            (N, D): probabilities; numbers in standard deviations of their targets; boxes as fractions of the
            input's sides, before the probabilities of their classes.
        """
        raise NotImplementedError

    def first_thresholds(self, num_classes: int) -> tuple[float, ...]:
        """Return each class's threshold before any is chosen, (K,); empty for tasks without thresholds."""
        return ()

    def thresholds(
        self, records: Sequence[Record], outputs: np.ndarray, num_classes: int
    ) -> tuple[float, ...]:
        """Choose thresholds on validation photos by the model file's outputs, (N, D)."""
        return ()

    # Answers, as people and programs get them.

    def file_outputs(self, num_box_classes: int) -> tuple[str, ...]:
        """Return the names of what a model file answers with."""
        return ("logits", "probabilities")

    def prediction(
        self,
        path: str | None,
        row: np.ndarray,
        info: Described,
        size: Callable[[], tuple[int, int]],
        top_k: int | None,
    ) -> Prediction:
        """Turn what a model file answers of a photo into a prediction.

        Args:
            path: The photo's.
            row: (D,): numbers, or a box's sides, and probabilities.
            info: Of the model.
            size: Returns the photo's width and height as a viewer shows it.
            top_k: How many classes to name; None for all.

        Raises:
            ImageError: The size cannot be read any more.
        """
        raise NotImplementedError

    def text(
        self, class_names: Sequence[str], label: int, labels: Sequence[int], numbers: Sequence[str]
    ) -> str:
        """Write what a photo is labelled with, or predicted as.

        Args:
            class_names: The K classes, or none.
            label: Index of the class, where there is a single one.
            labels: Indices of the classes, where there are several.
            numbers: The numbers, or the sides of the box, each as it shall be written.

        Returns:
            The class; or a JSON list of classes; or numbers with a space between them; or the box's class, if
            it has one, and xmin, ymin, xmax and ymax, with a space between them.
        """
        return "".join(class_names[label : label + 1])

    def columns(self, info: Described) -> tuple[str, ...]:
        """Return the names of the outputs' columns in ``answers.csv``, in the order of the outputs."""
        return tuple(f"logit:{name}" for name in info.class_names)

    def in_photo(self, outputs: np.ndarray, records: Sequence[Record], info: Described) -> np.ndarray:
        """Return outputs of a model file as ``answers.csv`` has them: boxes in pixels of their photos."""
        return outputs

    def said(
        self, outputs: np.ndarray, info: Described, texts: Callable[[np.ndarray], list[str]]
    ) -> list[str]:
        """Return what a model says of photos, as ``text`` writes it.

        Args:
            outputs: (N, D), as ``answers.csv`` has them.
            info: Of the model.
            texts: Writes numbers.
        """
        best = outputs.argmax(1).tolist() if outputs.shape[1] else [0] * len(outputs)
        return [self.text(info.class_names, label, (), ()) for label in best]

    def scores(
        self, labels: Sequence[str], outputs: np.ndarray, losses: np.ndarray, info: Described
    ) -> Scores:
        """Compute all scores.

        Args:
            labels: N texts, as ``text`` writes them; N at least 1.
            outputs: (N, D), as ``answers.csv`` has them.
            losses: (N,).
            info: Of the model.

        Raises:
            ValueError: The labels are not as ``text`` writes them, or not the model's.
        """
        raise NotImplementedError

    def csv_columns(self, info: Described, top_k: int) -> tuple[list[str], list[str]]:
        """Return the names of the answer's columns in a CSV file of predictions, and of those beside it."""
        raise NotImplementedError

    def csv_cells(self, prediction: Prediction) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Return the texts of both by name; none where there is an error."""
        raise NotImplementedError

    def words(self, prediction: Prediction) -> str:
        """Say a prediction in one line."""
        return f"{prediction.label} {prediction.probability:.0%}"


def class_columns(top_k: int) -> tuple[list[str], list[str]]:
    """Return the columns of the most probable class, and of the further ones."""
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
    """Return the classes' indices, the most probable first, and the probabilities of the first by name."""
    best_first = np.argsort(-row, kind="stable").tolist()
    return best_first, {info.class_names[i]: float(row[i]) for i in best_first[:top_k]}


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities, (N, K), without overflow."""
    powers = np.exp(logits - logits.max(1, keepdims=True, initial=-np.inf))
    return np.asarray(powers / powers.sum(1, keepdims=True))
