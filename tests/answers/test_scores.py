from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.labelled import INFO, INFOS, PERFECT, photos

from headstart.answers.file import read_answers, write_answers
from headstart.answers.scores import scores_of, summary_of
from headstart.answers.table import Answers
from headstart.data.targets import Scale, Targets
from headstart.errors import UsageError
from headstart.tasks.label_scores import choose_thresholds
from headstart.tasks.losses import cross_entropy
from headstart.training.steps.criterion import criterion_of
from headstart.training.steps.epoch import score_outputs


@pytest.mark.parametrize("name", INFOS)
def test_losses_and_scores_are_those_of_training(name: str) -> None:
    info = INFOS[name]
    records, outputs = photos(info, 60)
    targets = Targets(info.task, info.class_names, info.preprocessing, Scale(*info.scale))
    task = criterion_of(targets)
    rows = torch.from_numpy(np.stack([targets.row(record) for record in records]))
    in_network = torch.from_numpy(outputs)
    if info.task == "regression":
        mean, std = torch.tensor(info.scale)
        in_network = (in_network - mean) / std
    if info.task == "multilabel":
        thresholds = choose_thresholds(rows.numpy() > 0.5, in_network.sigmoid().numpy())
        info = dataclasses.replace(info, thresholds=thresholds)
    answers = Answers.from_outputs(records, outputs, info, "val")
    np.testing.assert_allclose(answers.loss, task.losses(in_network, rows).numpy(), rtol=1e-6, atol=1e-6)
    expected = score_outputs(in_network, rows, task)
    found = summary_of(answers, info)
    assert found.keys() == expected.keys() == {"loss", *task.metrics}
    assert found == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize("name", INFOS)
def test_a_file_gives_the_same_scores_as_what_it_was_written_from(name: str, tmp_path: Path) -> None:
    info = INFOS[name]
    answers = Answers.from_outputs(*photos(info, 30), info, "test")
    write_answers(tmp_path / "answers.csv", answers)
    read = read_answers(tmp_path / "answers.csv").of_source("test")
    assert json.dumps(scores_of(read, info).to_dict()) == json.dumps(scores_of(answers, info).to_dict())
    assert summary_of(read, info) == summary_of(answers, info)


@pytest.mark.parametrize("name", INFOS)
def test_what_is_predicted_is_what_is_scored(name: str) -> None:
    info = INFOS[name]
    answers = Answers.from_outputs(*photos(info, 30), info, "test")
    right = dataclasses.replace(answers, label=answers.prediction)
    summary = summary_of(right, info)
    perfect = {score: PERFECT[score] for score in summary if not score.endswith("loss")}
    if name == "multilabel":  # of a class that no photo is predicted to have, there is no F1
        assert perfect.pop("map") == 1
    assert {score: summary[score] for score in perfect} == pytest.approx(perfect, abs=1e-6)


def test_a_true_class_that_is_next_to_impossible_has_a_finite_loss() -> None:
    assert cross_entropy(np.array([[1000.0, 0, 0]]), np.array([1])).tolist() == [1000]


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("classification", {"label": ["cat"]}, "'cat' is not one of the classes: label, loss"),
        ("multilabel", {"label": ["{}"]}, "'{}' is not a list of classes"),
        ("multilabel", {"label": ["[0]"]}, "0 is not one of the classes"),
        ("multilabel", {"label": ["a|b"]}, "do not fit the model: Expecting value"),
        ("two numbers", {"label": ["1.5"]}, "'1.5' holds 1 numbers instead of 2"),
        ("box", {"label": ["1 2 3 x"]}, "could not convert string to float: 'x'"),
        ("box with classes", {"label": ["cat 1 2 3 4"]}, "'cat' is not one of the classes"),
        (
            "classification",
            {"output_names": ("logit:a",)},
            "have the outputs logit:a, but the model has logit:l",
        ),
    ],
)
def test_answers_of_another_model_are_refused(name: str, changes: dict[str, object], message: str) -> None:
    info = INFOS[name]
    answers = dataclasses.replace(Answers.from_outputs(*photos(info, 1), info, "test"), **changes)
    with pytest.raises(UsageError, match=message):
        scores_of(answers, info)


def test_no_answers_have_no_scores() -> None:
    answers = Answers.from_outputs(*photos(INFO, 3), INFO, "val")
    with pytest.raises(UsageError, match="no answers to score"):
        scores_of(answers.of_source("test"), INFO)
