"""The task ``box``: one box per photo, and its class if there are two or more classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from headstart.images.boxes import to_input, to_photo
from headstart.images.view import View
from headstart.records import Record
from headstart.tasks.box_scores import BoxScores, measure_boxes, score_boxes
from headstart.tasks.class_measures import measure_classes
from headstart.tasks.class_scores import score
from headstart.tasks.losses import BOX_BETA, cross_entropy, giou, smooth_l1
from headstart.tasks.measures import Measures
from headstart.tasks.prediction import Prediction
from headstart.tasks.task import (
    Described,
    FineTuning,
    Learned,
    SizeReader,
    Task,
    class_cells,
    class_columns,
    most_probable,
    softmax,
)
from headstart.tasks.text import boxes_of, classes_of

SIDES: Final = ("xmin", "ymin", "xmax", "ymax")


class Box(Task):
    """One box per photo. The loss is smooth L1 and GIoU of the box, plus cross entropy of its class."""

    name = "box"
    has_box = True
    metrics = ("iou", "iou50")
    can_be_mixed = False
    resize = "squash"  # a crop may lose the object
    answers = (
        "xmin, ymin, xmax, ymax in shares of the input's sides, then a logit for each class if there are two "
        "or more"
    )
    # Boxes are found better when they have been seen in other places: 0.77 mean IoU, 0.75 with flips alone.
    fine_tuning = FineTuning(steps=300, most_epochs=12, lr_factor=1.5, augment="light", weight_decay=0.05)

    def labels_of(self, class_names: Sequence[str]) -> tuple[str, ...]:
        """Return nothing, because the classes belong to the boxes."""
        return ()

    def labelled(self, class_names: Sequence[str], targets: Sequence[str]) -> str:
        """Return a description of the labels: boxes, with the number of classes if there are several."""
        of = f" of {super().labelled(class_names, targets)}" if len(class_names) > 1 else ""
        return f"one box each{of}"

    def answer(self, record: Record) -> tuple[Any, ...]:
        """Return the class and the box."""
        return record.label, record.box

    def num_outputs(self, num_classes: int, num_targets: int) -> int:
        """Return 4 for the sides of the box, plus the number of predicted classes."""
        return 4 + self.num_box_classes(num_classes)

    def num_box_classes(self, num_classes: int) -> int:
        """Return the number of classes; 0 if there is only one."""
        return num_classes if num_classes > 1 else 0

    def metrics_of(self, num_box_classes: int) -> tuple[str, ...]:
        """Return the scores of boxes and, if classes are predicted, their accuracy."""
        return self.metrics + (("accuracy",) if num_box_classes else ())

    def row(self, record: Record, view: View, info: Learned) -> tuple[np.ndarray, float]:
        """Return the box as fractions of the input's sides, (4,) float32, or with its class, (5,)."""
        assert record.box is not None and record.size is not None  # noqa: PT018
        box, visible = to_input(record.box, record.size, view, info.preprocessing)
        has_class = self.num_box_classes(len(info.class_names)) > 0
        return np.array([*box, record.label][: 4 + has_class], np.float32), visible

    def losses(self, outputs: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return the sum of smooth L1, 1 - GIoU, and the cross entropy of the class."""
        rows = rows.astype(np.float64)
        boxes, truth = outputs[:, :4], rows[:, :4]
        found = smooth_l1(boxes - truth, BOX_BETA).sum(1) + 1 - giou(boxes, truth)
        if rows.shape[1] > 4:
            found += cross_entropy(outputs[:, 4:], rows[:, 4].astype(np.int64))
        return np.asarray(found)

    def of_logits(self, rows: np.ndarray) -> np.ndarray:
        """Return the classes of the boxes."""
        return rows[:, 4].astype(np.int64)

    def comparable(self, outputs: np.ndarray, info: Described) -> np.ndarray:
        """Return the boxes, and the probabilities of their classes."""
        return np.concatenate([outputs[:, :4], softmax(outputs[:, 4:])], 1)

    def file_outputs(self, num_box_classes: int) -> tuple[str, ...]:
        """Return the names of the box and, if classes are predicted, of their logits and probabilities."""
        return ("boxes", *(super().file_outputs(num_box_classes) if num_box_classes else ()))

    def prediction(
        self, path: str | None, row: np.ndarray, info: Described, size: SizeReader, top_k: int | None
    ) -> Prediction:
        """Return the box in pixels of the photo, and its most probable class."""
        box = to_photo(row[:4], size(), info.preprocessing)
        if len(row) == 4:
            return Prediction(path, box=box)
        best_first, probabilities = most_probable(row[4:], info, top_k)
        label = info.class_names[best_first[0]]
        return Prediction(path, label, probabilities[label], probabilities, box=box)

    def text(
        self, class_names: Sequence[str], label: int, labels: Sequence[int], numbers: Sequence[str]
    ) -> str:
        """Return the class, if there are classes, and the sides as text."""
        return " ".join([*class_names[label : label + 1], *numbers])

    def columns(self, info: Described) -> tuple[str, ...]:
        """Return the columns of the four sides, and of a logit for each predicted class."""
        classes = super().columns(info) if self.num_box_classes(len(info.class_names)) else ()
        return (*(f"box:{side}" for side in SIDES), *classes)

    def in_photo(self, outputs: np.ndarray, records: Sequence[Record], info: Described) -> np.ndarray:
        """Return the boxes in pixels of their photos."""
        outputs = outputs.copy()
        for row, record in zip(outputs, records, strict=True):
            assert record.size is not None
            row[:4] = to_photo(row[:4], record.size, info.preprocessing)
        return outputs

    def said(
        self, outputs: np.ndarray, info: Described, texts: Callable[[np.ndarray], list[str]]
    ) -> list[str]:
        """Return the predicted class, if classes are predicted, and the sides as text."""
        logits = outputs[:, 4:]
        best = logits.argmax(1).tolist() if logits.shape[1] else [0] * len(outputs)
        sides = map(texts, outputs[:, :4])
        return [self.text(info.class_names, label, (), row) for label, row in zip(best, sides, strict=True)]

    def scores(
        self, labels: Sequence[str], outputs: np.ndarray, losses: np.ndarray, info: Described
    ) -> BoxScores:
        """Return the overlap and errors of boxes, and the scores of their classes."""
        names, truth = boxes_of(labels)
        classes = None
        if self.num_box_classes(len(info.class_names)):
            known, logits = classes_of(names, info.class_names), outputs[:, 4:]
            of_classes = cross_entropy(logits.astype(np.float64), known)
            classes = score(known, logits.argmax(1), of_classes, info.class_names)
        return score_boxes(truth, outputs[:, :4].astype(np.float64), classes)

    def score_names(self, info: Described) -> tuple[str, ...]:
        """Return overlaps, errors and, if there are classes, their accuracy."""
        classes = ("accuracy",) if self.num_box_classes(len(info.class_names)) else ()
        return (*self.metrics, "error_px", "loss", *classes)

    def measures(
        self, labels: Sequence[str], outputs: np.ndarray, losses: np.ndarray, info: Described
    ) -> Measures:
        """Return the overlap and errors of boxes, and the scores of their classes."""
        names, truth = boxes_of(labels)
        boxes, logits = outputs[:, :4].astype(np.float64), outputs[:, 4:].astype(np.float64)
        of_boxes = measure_boxes(truth, boxes, losses)
        if not self.num_box_classes(len(info.class_names)):
            return of_boxes
        known = classes_of(names, info.class_names)
        classes = measure_classes(known, logits, cross_entropy(logits, known), info.class_names)
        overall = {**of_boxes.overall, "accuracy": classes.overall["accuracy"]}
        return replace(of_boxes, overall=overall, parts=classes.parts)

    def csv_columns(self, info: Described, top_k: int) -> tuple[list[str], list[str]]:
        """Return the columns of sides, label and probability, and those of the next most probable classes."""
        label, further = class_columns(top_k) if self.num_box_classes(len(info.class_names)) else ([], [])
        return [*SIDES, *label], further

    def csv_cells(self, prediction: Prediction) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Return the cells of these columns."""
        cells = dict(zip(SIDES, (f"{side:.1f}" for side in prediction.box or ()), strict=False))
        cells |= class_cells(prediction)
        return cells, cells

    def words(self, prediction: Prediction) -> str:
        """Return the class, or the box if no classes are predicted."""
        if prediction.label is not None:
            return super().words(prediction)
        return "box " + ", ".join(f"{side:.0f}" for side in prediction.box or ())
