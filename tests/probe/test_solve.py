from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from headstart.errors import TrainingError
from headstart.probe.folds import NUM_FOLDS, deal_folds
from headstart.probe.solve import STRENGTHS, solve_head
from headstart.recipe import solving_bytes


def softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)


def blobs(n: int, d: int, k: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = np.arange(n) % k
    centres = generator.normal(size=(k, d))
    return (5 + 3 * (centres[labels] + noise * generator.normal(size=(n, d)))).astype(np.float32), labels


@pytest.mark.parametrize(("n", "d"), [(120, 300), (300, 40)])
def test_the_solution_is_that_of_scikit_learn(n: int, d: int) -> None:
    features, labels = blobs(n, d, 3, 3.0)
    solved = solve_head(features, labels, np.arange(n), "classes", 3)
    mean = features.mean(0, dtype=np.float64)
    scale = 1 / np.sqrt(((features - mean) ** 2).mean(dtype=np.float64))
    reference = LogisticRegression(C=1 / (solved.penalties[0] * n), tol=1e-8, max_iter=5000)
    reference.fit((features - mean) * scale, labels)
    expected = reference.predict_proba((features - mean) * scale)
    found = softmax(features @ solved.weight.T + solved.bias)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_each_row_is_answered_by_the_head_that_was_trained_without_its_fold() -> None:
    features, labels = blobs(150, 40, 3, 3.0)
    units = np.arange(150) // 2
    solved = solve_head(features, labels, units, "classes", 3)
    assert solved.outputs is not None
    assert solved.fold is not None
    assert solved.outputs.dtype == np.float32
    np.testing.assert_array_equal(solved.fold, deal_folds(labels, units))
    scaled = features - features.mean(0)
    scaled /= np.sqrt(np.mean(scaled**2))
    for fold in range(NUM_FOLDS):
        others, own = solved.fold != fold, solved.fold == fold
        reference = LogisticRegression(C=1 / (solved.penalties[0] * others.sum()), tol=1e-8, max_iter=5000)
        reference.fit(scaled[others], labels[others])
        expected = reference.predict_proba(scaled[own])
        np.testing.assert_allclose(softmax(solved.outputs[own]), expected, atol=2e-3)
    of_label = softmax(solved.outputs)[np.arange(150), labels]
    assert solved.cv_loss == pytest.approx(-np.log(of_label).mean(), rel=1e-5)
    assert solved.cv_headline == np.mean(solved.outputs.argmax(1) == labels)


def test_more_noise_asks_for_a_stronger_penalty() -> None:
    strengths = []
    for noise in (0.5, 6.0):
        features, labels = blobs(200, 50, 4, noise)
        strengths.append(solve_head(features, labels, np.arange(200), "classes", 4).penalties[0])
    assert strengths[0] < strengths[1]
    assert all(strength in STRENGTHS for strength in strengths)


def test_views_of_a_photo_stay_in_one_fold() -> None:
    # Labels that have nothing to do with the features: only who has seen another view can tell.
    generator = np.random.default_rng(0)
    features = np.repeat(generator.normal(size=(60, 200)), 3, axis=0).astype(np.float32)
    labels = np.repeat(generator.integers(0, 2, 60), 3)
    honest = solve_head(features, labels, np.repeat(np.arange(60), 3), "classes", 2)
    leaking = solve_head(features, labels, np.arange(180), "classes", 2)
    assert honest.cv_loss > 0.6
    assert leaking.cv_loss < 0.4


def test_the_same_features_give_the_same_bits() -> None:
    features, labels = blobs(90, 120, 3, 2.0)
    a, b = (solve_head(features, labels, np.arange(90), "classes", 3) for _ in range(2))
    assert a.weight.tobytes() == b.weight.tobytes()
    assert a.bias.tobytes() == b.bias.tobytes()


@pytest.mark.parametrize(("n", "d"), [(90, 120), (120, 40)])
def test_the_number_of_threads_changes_no_bit(n: int, d: int) -> None:
    features, labels = blobs(n, d, 3, 2.0)
    a, b = (solve_head(features, labels, np.arange(n), "classes", 3, num_threads=number) for number in (1, 3))
    assert a.weight.tobytes() == b.weight.tobytes()
    assert a.bias.tobytes() == b.bias.tobytes()
    assert a.outputs.tobytes() == b.outputs.tobytes()
    assert a.summary() == b.summary()


def test_a_class_of_a_single_photo_and_a_constant_feature_are_no_trouble() -> None:
    features, labels = blobs(40, 10, 3, 1.0)
    features[:, 3] = 7.0
    labels[labels == 2] = 0
    labels[5] = 2
    solved = solve_head(features, labels, np.arange(40), "classes", 3)
    assert np.isfinite(solved.weight).all()
    assert np.isfinite(solved.bias).all()


# Labels and units of rows, small and unhandy ones among them.
DEALT = {
    "photos": (np.arange(60) % 3, np.arange(60)),
    "groups of one class": (np.repeat(np.arange(30) % 3, 7), np.repeat(np.arange(30), 7)),
    "groups of several classes": (np.tile([0, 0, 1], 40), np.repeat(np.arange(20), 6)),
    "groups of many sizes": (
        np.repeat(np.arange(40) % 4, np.arange(40) + 1),
        np.repeat(np.arange(40), np.arange(40) + 1),
    ),
    "classes of one and of two photos": (np.array([*[0] * 20, 1, 2, 2, 3]), np.arange(24)),
    "a hundred classes of two photos": (np.repeat(np.arange(100), 2), np.arange(200)),
    "two classes, a unit each": (np.repeat([0, 1], 5), np.repeat([0, 1], 5)),
    "a single unit": (np.array([0, 1, 1]), np.array([7, 7, 7])),
    "three photos": (np.array([0, 1, 1]), np.arange(3)),
}


@pytest.mark.parametrize("name", DEALT)
def test_folds_keep_units_together_and_share_out_each_class(name: str) -> None:
    labels, units = DEALT[name]
    folds = deal_folds(labels, units)
    assert set(folds) == set(range(min(NUM_FOLDS, len(set(units)))))
    for unit in set(units):
        assert len(set(folds[units == unit])) == 1
    for label in set(labels):
        of_class = np.bincount(folds[labels == label], minlength=folds.max() + 1)
        largest = max(np.sum((units == unit) & (labels == label)) for unit in set(units))
        assert of_class.max() - of_class.min() <= largest
    sizes = np.bincount(folds)
    assert sizes.max() - sizes.min() <= max(np.bincount(np.unique(units, return_inverse=True)[1]))


@pytest.mark.parametrize("name", DEALT)
def test_a_head_is_found_however_few_photos_or_groups_a_class_has(name: str) -> None:
    labels, units = DEALT[name]
    num_classes = int(labels.max()) + 1
    generator = np.random.default_rng(0)
    centres = 3 * generator.normal(size=(num_classes, 20))
    features = (centres[labels] + generator.normal(size=(len(labels), 20))).astype(np.float32)
    solved = solve_head(features, labels, units, "classes", num_classes)
    assert np.isfinite(solved.weight).all()
    assert np.isfinite(solved.bias).all()
    assert np.mean((features @ solved.weight.T + solved.bias).argmax(1) == labels) > 0.9
    if name == "a single unit":
        assert solved.outputs is None
        assert solved.fold is None
    else:
        assert solved.outputs is not None
        assert np.isfinite(solved.outputs).all()
    if name in ("two classes, a unit each", "a single unit"):  # nothing to choose the penalty by
        penalty = STRENGTHS[0] if name == "a single unit" else 1e-4
        assert solved.summary() == {"penalty": penalty, "cv_loss": None, "cv_accuracy": None}
    else:
        assert solved.cv_loss is not None
        assert solved.cv_headline is not None
        assert 0 <= solved.cv_loss < math.log(num_classes) + 1
        assert 0 <= solved.cv_headline <= 1


def test_a_photo_whose_class_no_other_fold_has_is_not_held_against_the_penalty() -> None:
    features, labels = blobs(60, 20, 2, 0.3)
    lonely = np.concatenate([features, 50 * np.ones((1, 20), np.float32)])
    with_lonely = solve_head(lonely, np.append(labels, 2), np.arange(61), "classes", 3)
    assert with_lonely.cv_headline == 1.0
    assert with_lonely.cv_loss is not None
    assert with_lonely.cv_loss < 0.1
    assert with_lonely.fold is not None
    assert np.flatnonzero(with_lonely.fold < 0).tolist() == [60]  # nor does anything answer it


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(value: float) -> None:
    features, labels = blobs(60, 20, 2, 0.3)
    features[7, 3] = value
    with pytest.raises(TrainingError, match="not finite"):
        solve_head(features, labels, np.arange(60), "classes", 2)


MEASURE = """
import resource, sys
import numpy as np
from headstart.probe.solve import solve_head

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

n, d, k = map(int, sys.argv[1:])
solve_head(np.ones((8, 8), np.float32), np.arange(8) % 2, np.arange(8), "classes", 2)  # imports, threads
before = peak()
features = np.random.default_rng(0).standard_normal((n, d), np.float32)
solve_head(features, np.arange(n) % k, np.arange(n), "classes", k, num_threads=2)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="peak memory is read by the module resource")
@pytest.mark.parametrize(
    ("n", "d", "k"),
    [
        (9000, 500, 3),
        pytest.param(1400, 1400, 3, marks=pytest.mark.slow),
        pytest.param(1500, 3000, 3, marks=pytest.mark.slow),
        pytest.param(4000, 1000, 100, marks=pytest.mark.slow),
    ],
)
def test_solving_takes_at_most_six_times_the_memory_of_the_features(n: int, d: int, k: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(n), str(d), str(k)], capture_output=True, text=True, check=True
    )
    num_bytes = int(done.stdout)
    # numpy's eigh works in five squares of the smaller side, which counts where the sides are alike.
    assert num_bytes <= max(6 * 4 * n * d, 4 * n * d + 6 * 8 * min(n, d) ** 2) + 2**21
    assert num_bytes <= solving_bytes(n, d, k)
