from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from headstart.tasks.label_scores import average_precision, choose_thresholds, score_multilabel

RNG = np.random.default_rng(0)
LABELS = RNG.random((60, 3)) < (0.2, 0.5, 0.8)
PROBABILITIES = np.clip(0.5 * LABELS + RNG.random((60, 3)) * 0.6, 0.01, 0.99).round(2)


def test_scores_are_scikit_learns() -> None:
    thresholds = (0.4, 0.5, 0.6)
    losses = np.arange(60.0)
    scores = score_multilabel(LABELS, PROBABILITIES, losses, ["a", "b", "c"], thresholds)
    said = thresholds <= PROBABILITIES
    assert scores.map == pytest.approx(average_precision_score(LABELS, PROBABILITIES, average="macro"))
    assert scores.f1 == pytest.approx(f1_score(LABELS, said, average="macro"))
    assert scores.precision == pytest.approx(precision_score(LABELS, said, average=None))
    assert scores.recall == pytest.approx(recall_score(LABELS, said, average=None))
    assert scores.loss == 29.5
    assert scores.accuracy == pytest.approx(((PROBABILITIES > 0.5) == LABELS).mean())
    assert scores.summary["accuracy"] == scores.accuracy
    assert scores.support == tuple(LABELS.sum(0))


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.1, 0.2, 0.5, 0.9])), min_size=1))
def test_average_precision_heeds_equal_scores_as_scikit_learn_does(rows) -> None:
    labels, scores = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    found = average_precision(labels, scores)
    if labels.any():
        assert found == pytest.approx(average_precision_score(labels, scores))
    else:
        assert np.isnan(found)


def test_no_threshold_is_better_than_the_chosen_one() -> None:
    chosen = choose_thresholds(LABELS, PROBABILITIES)
    for k, threshold in enumerate(chosen):
        best = max(f1_score(LABELS[:, k], PROBABILITIES[:, k] >= t) for t in np.linspace(0, 1, 201))
        assert f1_score(LABELS[:, k], PROBABILITIES[:, k] >= threshold) == pytest.approx(best)


def test_a_class_that_nothing_can_be_learned_of_keeps_one_half() -> None:
    labels = np.array([[True, False], [True, False]])
    assert choose_thresholds(labels, np.array([[0.9, 0.2], [0.8, 0.1]])) == (0.5, 0.5)


def test_what_is_undefined_is_null_and_not_in_the_means() -> None:
    labels = np.array([[True, False], [False, False]])
    probabilities = np.array([[0.9, 0.2], [0.2, 0.1]])
    scores = score_multilabel(labels, probabilities, np.zeros(2), ["a", "never"], (0.5, 0.5)).to_dict()
    assert scores["map"] == 1
    assert scores["f1"] == 1
    assert scores["classes"][1]["average_precision"] is None
