"""Scores with the part that each photo has in them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sklearn.metrics
from tests.labelled import INFOS, photos

from headstart import tasks
from headstart.answers.scores import measures_of, scores_of
from headstart.answers.table import Answers
from headstart.tasks import measures as of_photos
from headstart.tasks.class_measures import measure_classes
from headstart.tasks.label_scores import average_precision
from headstart.tasks.measures import Measure


def classified(num: int = 80, num_classes: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(num_classes, size=num)
    logits = random.normal(size=(num, num_classes))
    logits[np.arange(num), labels] += 1
    return labels, logits


@pytest.mark.parametrize("name", INFOS)
def test_scores_are_those_without_parts_and_have_the_names_of_the_task(name: str) -> None:
    info = INFOS[name]
    answers = Answers.from_outputs(*photos(info, 40), info, "test")
    measures, summary = measures_of(answers, info), scores_of(answers, info).summary
    assert tuple(measures.overall) == tasks.of(info.task).score_names(info)
    shared = summary.keys() - {"calibrated_loss"}
    assert shared <= measures.overall.keys()
    for score in shared:
        assert measures.overall[score].value == pytest.approx(summary[score], rel=1e-6, nan_ok=True)
    rows = scores_of(answers, info).to_dict()
    for row in [*rows.get("classes", []), *rows.get("targets", [])]:
        for score, each in measures.parts[row["name"]].items():
            known = row.get(score, each.value)
            assert each.value == pytest.approx(math.nan if known is None else known, nan_ok=True)


def test_scores_of_classes_are_those_of_scikit_learn() -> None:
    labels, logits = classified()
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    losses = -np.log(probabilities[np.arange(80), labels])
    found = measure_classes(labels, logits, losses, tuple("abcdef")).overall
    truth = np.eye(6)[labels]
    assert found["roc_auc"].value == pytest.approx(
        sklearn.metrics.roc_auc_score(labels, probabilities, multi_class="ovr")
    )
    assert found["top_3"].value == sklearn.metrics.top_k_accuracy_score(labels, logits, k=3)
    assert found["brier"].value == pytest.approx(np.square(probabilities - truth).sum(1).mean())
    assert found["loss"].value == pytest.approx(sklearn.metrics.log_loss(labels, probabilities))
    assert found["macro_f1"].value == pytest.approx(
        sklearn.metrics.f1_score(labels, logits.argmax(1), average="macro")
    )
    assert "top_5" not in found


def test_equal_probabilities_are_ranked_by_class_and_share_the_area() -> None:
    labels, logits = np.array([0, 1, 5]), np.zeros((3, 6))
    found = measure_classes(labels, logits, np.zeros(3), tuple("abcdef")).overall
    assert found["top_3"].value == pytest.approx(2 / 3)
    assert found["roc_auc"].value == 0.5


def scores_by_name(rows: np.ndarray) -> dict[str, Measure]:
    """Return each score with influences over some of 90 photos."""
    labels, logits = classified(90, 3)
    labels, logits = labels[rows], logits[rows]
    has, said, ranked = labels == 0, logits.argmax(1) == 0, np.round(logits[:, 0], 1)
    errors, truth = logits[:, 1] * (1 + logits[:, 2] ** 2), logits[:, 0] * 3
    of_classes = measure_classes(labels, logits, errors**2, ("a", "b", "c")).overall
    return {
        **{name: each for name, each in of_classes.items() if each.kind != "share"},
        "f1": of_photos.f1(has, said),
        "auc": of_photos.roc_auc(has, ranked),
        "precision": of_photos.average_precision(has, ranked, average_precision(has, ranked)),
        "rmse": of_photos.rmse(errors),
        "r2": of_photos.r2(truth, errors),
    }


@pytest.mark.parametrize("name", scores_by_name(np.arange(90)))
def test_the_influence_of_a_photo_is_what_leaving_it_out_changes(name: str) -> None:
    whole = scores_by_name(np.arange(90))[name]
    without = [scores_by_name(np.delete(np.arange(90), row))[name].value for row in range(90)]
    changes = (whole.value - np.array(without)) * 89
    assert whole.per_photo.mean() == pytest.approx(0, abs=1e-12)
    scale = np.abs(changes).max()
    np.testing.assert_allclose(whole.per_photo, changes, atol=0.16 * scale)
    assert np.std(whole.per_photo) == pytest.approx(np.std(changes), rel=0.05)


def test_the_f1_of_a_class_is_a_share_of_its_photos_and_its_predictions() -> None:
    has = np.array([1, 1, 1, 0, 0, 0], bool)
    said = np.array([1, 1, 0, 1, 0, 0], bool)
    found = of_photos.f1_of_class(has, said)
    assert found.value == pytest.approx(2 / 3) == of_photos.f1(has, said).value
    assert found.per_photo.tolist() == [1, 1, 0, 0]
    assert found.rows is not None
    assert found.rows.tolist() == [0, 1, 2, 3]


def test_classes_without_photos_are_left_out_of_means() -> None:
    labels, logits = classified(50, 2)
    more = np.column_stack([logits, np.full(50, -9.0)])
    two = measure_classes(labels, logits, np.zeros(50), ("a", "b")).overall
    three = measure_classes(labels, more, np.zeros(50), ("a", "b", "c"))
    for name in ("balanced_accuracy", "macro_f1", "roc_auc"):
        assert three.overall[name].value == pytest.approx(two[name].value)
    assert all(math.isnan(each.value) for each in three.parts["c"].values())
