from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from headstart.training.solve_head import STRENGTHS, linear_head, solve_head


def blobs(n: int, d: int, k: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    labels = np.arange(n) % k
    centres = generator.normal(size=(k, d))
    return (5 + 3 * (centres[labels] + noise * generator.normal(size=(n, d)))).astype(np.float32), labels


@pytest.mark.parametrize(("n", "d"), [(120, 300), (300, 40)])
def test_the_solution_is_that_of_scikit_learn(n: int, d: int) -> None:
    features, labels = blobs(n, d, 3, 3.0)
    solved = solve_head(features, labels, np.arange(n), 3)
    mean = features.mean(0, dtype=np.float64)
    scale = 1 / np.sqrt(((features - mean) ** 2).mean(dtype=np.float64))
    reference = LogisticRegression(C=1 / (solved.strength * n), tol=1e-8, max_iter=5000)
    reference.fit((features - mean) * scale, labels)
    expected = reference.predict_proba((features - mean) * scale)
    logits = torch.from_numpy(features @ solved.weight.T + solved.bias)
    np.testing.assert_allclose(logits.softmax(1).numpy(), expected, atol=2e-3)


def test_more_noise_asks_for_a_stronger_penalty() -> None:
    strengths = []
    for noise in (0.5, 6.0):
        features, labels = blobs(200, 50, 4, noise)
        strengths.append(solve_head(features, labels, np.arange(200), 4).strength)
    assert strengths[0] < strengths[1]
    assert all(strength in STRENGTHS for strength in strengths)


def test_views_of_a_photo_stay_in_one_fold() -> None:
    # Labels that have nothing to do with the features: only who has seen another view can tell.
    generator = np.random.default_rng(0)
    features = np.repeat(generator.normal(size=(60, 200)), 3, axis=0).astype(np.float32)
    labels = np.repeat(generator.integers(0, 2, 60), 3)
    honest = solve_head(features, labels, np.repeat(np.arange(60), 3), 2)
    leaking = solve_head(features, labels, np.arange(180), 2)
    assert honest.cv_loss > 0.6
    assert leaking.cv_loss < 0.4


def test_the_same_features_give_the_same_bits() -> None:
    features, labels = blobs(90, 120, 3, 2.0)
    a, b = (solve_head(features, labels, np.arange(90), 3) for _ in range(2))
    assert a.weight.tobytes() == b.weight.tobytes()
    assert a.bias.tobytes() == b.bias.tobytes()


@pytest.mark.parametrize(("n", "d"), [(90, 120), (120, 40)])
def test_the_number_of_threads_changes_no_bit(n: int, d: int) -> None:
    features, labels = blobs(n, d, 3, 2.0)
    a, b = (solve_head(features, labels, np.arange(n), 3, num_threads=number) for number in (1, 3))
    assert a.weight.tobytes() == b.weight.tobytes()
    assert a.bias.tobytes() == b.bias.tobytes()
    assert (a.strength, a.cv_loss) == (b.strength, b.cv_loss)


def test_a_class_of_a_single_photo_and_a_constant_feature_are_no_trouble() -> None:
    features, labels = blobs(40, 10, 3, 1.0)
    features[:, 3] = 7.0
    labels[labels == 2] = 0
    labels[5] = 2
    solved = solve_head(features, labels, np.arange(40), 3)
    assert np.isfinite(solved.weight).all()
    assert np.isfinite(solved.bias).all()


def test_only_a_single_linear_layer_can_be_solved() -> None:
    linear = nn.Linear(4, 2)
    assert linear_head(nn.Sequential(nn.Sequential(nn.Dropout(0.2), linear))) is linear
    assert linear_head(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), linear)) is None
    assert linear_head(nn.Sequential(nn.Conv2d(4, 2, 1), nn.Flatten())) is None
