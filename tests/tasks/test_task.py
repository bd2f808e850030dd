"""What holds for every task."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from tests.labelled import INFOS, PERFECT

from headstart import tasks
from headstart.config import TrainConfig
from headstart.data.targets import Scale, Targets
from headstart.images.photo import Photo
from headstart.images.settings import Preprocessing
from headstart.inference.model_file import ModelInfo
from headstart.records import Record
from headstart.tasks.prediction import Prediction
from headstart.tasks.task import LOWER_IS_BETTER, Task

CLASSES = ("cat", "labels", "owl, brown")
RECORDS = [
    Record(Photo("a.jpg"), 0, None, "1", (0, 2), (1.5, -20.0), (10.0, 10.0, 90.0, 60.0), (100, 80)),
    Record(Photo("b.jpg"), 2, None, "2", (), (2.5, 40.0), (0.0, 5.0, 50.0, 80.0), (100, 80)),
    Record(Photo("c.jpg"), 1, None, "3", (1,), (4.0, 10.0), (30.0, 20.0, 60.0, 50.0), (100, 80)),
]
EACH_TASK = pytest.mark.parametrize("task", tasks.TASKS.values(), ids=tasks.TASKS)


def info_of(task: Task) -> ModelInfo:
    targets = ("angle", "width") if task.has_numbers else ()
    names = () if task.has_numbers else CLASSES
    scale = Scale.of(RECORDS, targets)
    return ModelInfo(
        task.name,
        "resnet18",
        names,
        Preprocessing(resize="squash"),
        targets=targets,
        scale=(scale.mean, scale.std),
        thresholds=task.first_thresholds(len(names)),
    )


def rows_of(task: Task) -> np.ndarray:
    info = info_of(task)
    targets = Targets(info.task, info.class_names, info.preprocessing, Scale(*info.scale))
    return np.stack([targets.row(record) for record in RECORDS])


def right_outputs(task: Task) -> np.ndarray:
    """What a network answers that has learned everything: in its own form, (N, D) float64."""
    rows = rows_of(task).astype(np.float64)
    if task.has_box:
        return np.concatenate([rows[:, :4], 50 * np.eye(len(CLASSES))[rows[:, 4].astype(int)]], 1)
    if task.activation == "softmax":
        return 50 * np.eye(len(CLASSES))[rows.astype(int)]
    return 100 * rows - 50 if task.activation == "sigmoid" else rows


def labels_of(task: Task) -> list[str]:
    info, found = info_of(task), []
    for record in RECORDS:
        numbers = [repr(number) for number in (record.box if task.has_box else record.numbers) or ()]
        found.append(task.text(info.class_names, record.label, record.labels, numbers))
    return found


@EACH_TASK
def test_every_task_says_what_it_is(task: Task) -> None:
    assert tasks.of(task.name) is task
    assert sum((task.has_class, task.has_labels, task.has_numbers, task.has_box)) == 1
    assert task.answers
    assert task.metrics == task.metrics_of(0)


def test_every_task_has_made_up_photos_and_the_best_value_of_each_score() -> None:
    assert {info.task for info in INFOS.values()} == set(tasks.TASKS), (
        "add rows to INFOS of tests/labelled.py"
    )
    scores = {score for task in tasks.TASKS.values() for score in task.metrics}
    assert scores == set(PERFECT), "add rows to PERFECT of tests/labelled.py"


def test_the_settings_know_every_task_and_every_score() -> None:
    choices = {
        field.name: field.metadata["setting"].choices
        for field in dataclasses.fields(TrainConfig)
        if field.name in ("task", "select")
    }
    assert list(choices["task"]) == ["auto", *tasks.TASKS]
    scores = {score for task in tasks.TASKS.values() for score in task.metrics_of(2)}
    assert set(choices["select"]) == {"val_loss", *(f"val_{score}" for score in scores)}


def test_every_criterion_measures_as_its_task_does() -> None:
    """For each task: the loss of each photo, and the scores, the headline among them."""
    torch = pytest.importorskip("torch")
    from headstart.training.steps.criterion import criterion_of

    for task in tasks.TASKS.values():
        info, rows = info_of(task), rows_of(task)
        targets = Targets(info.task, info.class_names, info.preprocessing, Scale(*info.scale))
        criterion = criterion_of(targets)
        outputs = (right_outputs(task)[[1, 1, 2]] / 30).astype(np.float32)
        losses = task.losses(outputs.astype(np.float64), rows)
        assert criterion.losses(torch.tensor(outputs), torch.tensor(rows)).numpy() == pytest.approx(losses)
        headlines = criterion.headline_of(torch.tensor(outputs), torch.tensor(rows))
        assert headlines.shape == (len(rows),)
        if task.has_class:
            classes = criterion.classes_of(torch.tensor(rows))
            assert classes.tolist() == [record.label for record in RECORDS]
        assert {criterion.headline, *criterion.scores(outputs, rows)} == set(criterion.metrics)


@EACH_TASK
def test_right_outputs_cost_nothing_and_wrong_ones_something(task: Task) -> None:
    right, rows = right_outputs(task), rows_of(task)
    assert right.shape == (3, info_of(task).num_outputs)
    assert task.losses(right, rows) == pytest.approx(np.zeros(3), abs=1e-6)
    assert (task.losses(right[::-1], rows)[[0, 2]] > 0.1).all()


@EACH_TASK
def test_what_a_file_gives_and_what_a_network_gives_are_turned_into_each_other(task: Task) -> None:
    info, right = info_of(task), right_outputs(task)
    of_file = task.to_file(right, info)
    assert task.from_file(of_file, info) == pytest.approx(right)
    assert task.comparable(of_file, info).shape == right.shape


@EACH_TASK
def test_labels_and_right_answers_are_the_same_text(task: Task) -> None:
    info = info_of(task)
    outputs = task.in_photo(task.to_file(right_outputs(task), info).astype(np.float32), RECORDS, info)
    said = task.said(outputs, info, lambda row: [repr(round(float(number), 3)) for number in row])
    assert said == labels_of(task)
    assert len(task.columns(info)) == outputs.shape[1]


@EACH_TASK
def test_right_answers_have_the_best_scores(task: Task) -> None:
    info = info_of(task)
    outputs = task.in_photo(task.to_file(right_outputs(task), info).astype(np.float32), RECORDS, info)
    losses = task.losses(right_outputs(task), rows_of(task))
    scores: Any = task.scores(labels_of(task), outputs, losses, info)
    summary = {name: scores.summary[name] for name in task.metrics_of(info.num_box_classes)}
    assert summary == pytest.approx({name: PERFECT[name] for name in summary}, abs=1e-4)
    assert {name for name in summary if PERFECT[name] == 0} == summary.keys() & LOWER_IS_BETTER
    assert scores.to_dict()


@EACH_TASK
def test_a_prediction_fills_its_columns(task: Task) -> None:
    info = info_of(task)
    outputs = task.comparable(task.to_file(right_outputs(task), info), info)
    if task.has_numbers:
        outputs = task.to_file(right_outputs(task), info)
    found = task.prediction("a.jpg", outputs[0], info, lambda: (100, 80), None)
    answer, beside = task.csv_columns(info, 3)
    cells, further = task.csv_cells(found)
    assert all(cells[name] for name in answer)
    assert all(further[name] for name in beside)
    assert task.words(found)
    nothing, none = task.csv_cells(Prediction("b.jpg", error="damaged"))
    assert not any(nothing.values())
    assert not any(none.values())
