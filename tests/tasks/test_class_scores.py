from __future__ import annotations

import json
import math

import numpy as np
import pytest
import sklearn.metrics

from headstart.tasks.class_scores import confusion_matrix, score

NAMES = tuple("abcde")


def example(num_photos: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, len(NAMES), num_photos)
    return labels, generator.dirichlet([0.3] * len(NAMES), num_photos)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("num_photos", [1, 3, 200])  # of few, some classes are empty or never predicted
def test_scores_equal_those_of_scikit_learn(num_photos: int, seed: int) -> None:
    labels, probabilities = example(num_photos, seed)
    predicted, classes = probabilities.argmax(1), range(len(NAMES))
    precision, recall, f1, support = sklearn.metrics.precision_recall_fscore_support(
        labels, predicted, labels=classes, zero_division=np.nan
    )
    losses = -np.log(probabilities[np.arange(num_photos), labels])
    scores = score(labels, predicted, losses, NAMES)
    assert scores.accuracy == pytest.approx(sklearn.metrics.accuracy_score(labels, predicted))
    assert scores.loss == pytest.approx(sklearn.metrics.log_loss(labels, probabilities, labels=classes))
    np.testing.assert_allclose(scores.precision, precision)
    np.testing.assert_allclose(scores.recall, recall)
    np.testing.assert_allclose(scores.f1, f1)
    assert scores.support == tuple(support)
    expected = sklearn.metrics.confusion_matrix(labels, predicted, labels=classes)
    np.testing.assert_array_equal(scores.confusion, expected)
    np.testing.assert_array_equal(confusion_matrix(labels, predicted, len(NAMES)), expected)


def test_what_is_undefined_is_nan_and_null_in_json() -> None:
    scores = score(np.array([0, 1]), np.array([0, 0]), np.zeros(2), ("a", "b", "c"))
    assert scores.precision[0] == 0.5
    assert [math.isnan(value) for value in (*scores.precision[1:], scores.recall[2], scores.f1[2])] == [
        True
    ] * 4
    assert (scores.recall[:2], scores.f1[1], scores.support) == ((1.0, 0.0), 0.0, (1, 1, 0))
    as_json = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    assert as_json["classes"][2] == {"name": "c", "precision": None, "recall": None, "f1": None, "support": 0}
    assert as_json["classes"][0] == {"name": "a", "precision": 0.5, "recall": 1.0, "f1": 2 / 3, "support": 1}
    assert (as_json["accuracy"], as_json["confusion"]) == (0.5, [[1, 0, 0], [1, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize(("num_labels", "num_predicted", "num_losses"), [(0, 0, 0), (2, 3, 2), (2, 2, 1)])
def test_lengths_that_do_not_fit_are_refused(num_labels: int, num_predicted: int, num_losses: int) -> None:
    labels, predicted, losses = (np.zeros(n, np.int64) for n in (num_labels, num_predicted, num_losses))
    with pytest.raises(ValueError, match="give one of each for every photo"):
        score(labels, predicted, losses, NAMES)
