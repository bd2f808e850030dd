"""Scores that are required of a model."""

from __future__ import annotations

import dataclasses

import pytest
from tests.labelled import INFO, INFOS

from headstart.answers.estimates import TOO_FEW, Estimate
from headstart.answers.required import Kind, requirements, shortfalls
from headstart.errors import ConfigError

PETS = dataclasses.replace(INFO, class_names=("cat", "dog"))

FOUND = {
    "accuracy": Estimate(0.92, (0.88, 0.95), "", 200),
    "macro_f1": Estimate(0.91, None, TOO_FEW, 200),
    "roc_auc": Estimate(float("nan"), None, "undefined for these photos", 200),
    "loss": Estimate(0.3, (0.2, 0.4), "", 200),
}


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("min", "accuracy=0.92", ""),
        (
            "min",
            "accuracy=0.93",
            "accuracy is 0.9200 (95 % interval 0.8800–0.9500) on 200 photos; it must be at least 0.93.",
        ),
        ("min-lower", "accuracy=0.88", ""),
        ("min-lower", "accuracy=.9", "its lower end must be at least 0.9."),
        ("min", "macro-f1=0.9", ""),
        ("min-lower", "macro_f1=0.9", "(too few errors for an interval) on 200 photos; its lower end must"),
        ("min", "roc_auc=0.1", "roc_auc is nan (undefined for these photos)"),
        ("max", "loss=0.3", ""),
        ("max", "loss=0.29", "it must be at most 0.29."),
    ],
)
def test_a_score_that_is_not_reached_is_told_with_what_was_asked(kind: Kind, text: str, message: str) -> None:
    found = shortfalls(requirements({kind: [text]}, PETS), FOUND)
    assert len(found) == bool(message)
    assert message in "".join(found)


@pytest.mark.parametrize(
    ("task", "kind", "text", "message"),
    [
        (
            "classification",
            "min",
            "acuracy=0.9",
            "'acuracy' is not a score of this model. Did you mean 'accuracy'? It has accuracy, top_3",
        ),
        (
            "classification",
            "min",
            "accuracy",
            "a number must follow the name, for example --min accuracy=0.9",
        ),
        ("classification", "min", "accuracy=nan", "a number must follow"),
        ("classification", "min-lower", "loss=0.9", "lower is better for loss. Use --max loss=0.9"),
        ("one number", "max", "r2=0.9", "higher is better for r2. Use --min r2=0.9"),
        ("one number", "min", "accuracy=0.9", "It has mae, rmse, r2, loss."),
        ("box", "min", "top_3=1", "It has iou, iou50, error_px, loss."),
    ],
)
def test_requirements_that_make_no_sense_are_refused(task: str, kind: Kind, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        requirements({kind: [text], "min": [*([text] if kind == "min" else []), "wrong=1"]}, INFOS[task])
    assert message in str(error.value)
    assert len(error.value.problems) == 2
