from __future__ import annotations

import json
import math

import numpy as np
import pytest
import sklearn.metrics

from headstart.evaluation.metrics import confusion_matrix, cross_entropy, score

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
    scores = score(labels, probabilities, NAMES)
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
    probabilities = np.array([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0]], np.float32)
    scores = score(np.array([0, 1]), probabilities, ("a", "b", "c"))
    assert scores.precision[0] == 0.5
    assert [math.isnan(value) for value in (*scores.precision[1:], scores.recall[2], scores.f1[2])] == [
        True
    ] * 4
    assert (scores.recall[:2], scores.f1[1], scores.support) == ((1.0, 0.0), 0.0, (1, 1, 0))
    as_json = json.loads(json.dumps(scores.to_dict(), allow_nan=False))
    assert as_json["classes"][2] == {"name": "c", "precision": None, "recall": None, "f1": None, "support": 0}
    assert as_json["classes"][0] == {"name": "a", "precision": 0.5, "recall": 1.0, "f1": 2 / 3, "support": 1}
    assert (as_json["accuracy"], as_json["confusion"]) == (0.5, [[1, 0, 0], [1, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_true_class_of_probability_zero_costs_much_but_not_infinitely_much(dtype: type) -> None:
    loss = cross_entropy(np.array([1]), np.array([[1, 0]], dtype))
    assert 100 < loss < math.inf


@pytest.mark.parametrize(("num_labels", "shape"), [(0, (0, 5)), (2, (3, 5)), (2, (2, 4)), (2, (2,))], ids=str)
def test_shapes_that_do_not_fit_are_refused(num_labels: int, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"probabilities of shape \(N, 5\)"):
        score(np.zeros(num_labels, np.int64), np.full(shape, 0.2, np.float32), NAMES)
