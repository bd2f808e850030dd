"""Labels and numbers; what all kinds share is tested in test_solve.py."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from headstart.probe.folds import NUM_FOLDS, deal_folds, strata_of_labels, strata_of_numbers
from headstart.probe.solve import STRENGTHS, STRONGER, Kind, SolvedHead, scores_of_rows, solve_head

N = 150


def features_of(n: int, d: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (5 + generator.normal(size=(n, d)) * np.linspace(3, 0.1, d)).astype(np.float32)


def targets_of(kind: Kind, features: np.ndarray) -> np.ndarray:
    """Two targets: the first is easily told from the features, the second hardly."""
    generator = np.random.default_rng(1)
    numbers = features @ generator.normal(size=(features.shape[1], 2))
    numbers = (numbers - numbers.mean(0)) / numbers.std(0) + [0.1, 3] * generator.normal(
        size=(len(features), 2)
    )
    if kind == "labels":
        return (numbers > [0.5, 0]).astype(np.float32)
    return ((numbers - numbers.mean(0)) / numbers.std(0)).astype(np.float32)


def scaled(features: np.ndarray) -> np.ndarray:
    centred = features - features.mean(0, dtype=np.float64)
    return centred / np.sqrt(np.mean(centred**2))


def expected(kind: Kind, x: np.ndarray, targets: np.ndarray, penalty: float, asked: np.ndarray) -> np.ndarray:
    if kind == "numbers":
        return Ridge(alpha=penalty * len(x)).fit(x, targets).predict(asked)
    model = LogisticRegression(C=1 / (penalty * len(x)), tol=1e-8, max_iter=5000).fit(x, targets)
    return model.decision_function(asked)


@pytest.mark.parametrize("kind", ["labels", "numbers"])
@pytest.mark.parametrize("d", [40, 300])
def test_each_output_is_scikit_learns_at_its_own_penalty(kind: Kind, d: int) -> None:
    features = features_of(N, d)
    targets = targets_of(kind, features)
    solved = solve_head(features, targets, np.arange(N), kind, 2)
    assert solved.outputs is not None
    assert solved.penalties[0] < solved.penalties[1]
    x = scaled(features)
    for k, penalty in enumerate(solved.penalties):
        assert penalty in (*STRONGER, *STRENGTHS)
        reference = expected(kind, x, targets[:, k], penalty, x)
        found = (features @ solved.weight.T + solved.bias)[:, k]
        np.testing.assert_allclose(found, reference, atol=2e-3 * np.abs(reference).max())
        for fold in range(NUM_FOLDS):
            others, own = solved.fold != fold, solved.fold == fold
            reference = expected(kind, x[others], targets[others, k], penalty, x[own])
            np.testing.assert_allclose(solved.outputs[own, k], reference, atol=5e-3 * np.abs(reference).max())


def test_scores_are_those_of_the_answers_and_numbers_are_in_their_own_units() -> None:
    features = features_of(N, 40)
    labels, numbers = targets_of("labels", features), targets_of("numbers", features)
    solved = solve_head(features, labels, np.arange(N), "labels", 2)
    z = solved.outputs
    assert z is not None
    assert solved.cv_loss == pytest.approx(np.mean(np.log1p(np.exp(z)) - labels * z), rel=1e-5)
    assert solved.cv_headline == pytest.approx(np.mean((z > 0) == (labels > 0.5)))
    assert list(solved.summary()) == ["penalties", "cv_loss", "cv_accuracy"]
    std = np.array([10.0, 0.1])
    solved = solve_head(features, numbers, np.arange(N), "numbers", 2, std=std)
    assert solved.outputs is not None
    errors = np.abs(solved.outputs - numbers)
    smooth = np.where(errors < 1, errors**2 / 2, errors - 0.5)
    assert solved.cv_loss == pytest.approx(smooth.mean(), rel=1e-5)
    assert solved.cv_headline == pytest.approx((errors * std).mean(), rel=1e-5)
    assert list(solved.summary()) == ["penalties", "cv_loss", "cv_mae"]
    losses, headlines = scores_of_rows(solved.outputs, numbers, "numbers", std)
    assert losses == pytest.approx(smooth.mean(1), rel=1e-5)
    assert headlines == pytest.approx((errors * std).mean(1), rel=1e-5)


def test_labels_that_all_or_no_photos_have_get_a_constant() -> None:
    features = features_of(60, 20)
    targets = np.zeros((60, 4), np.float32)
    targets[:, 1] = 1
    targets[7, 2] = 1  # a label that four of five folds know, so that the fifth cannot be answered
    targets[:30, 3] = 1
    solved = solve_head(features, targets, np.arange(60), "labels", 4)
    assert solved.outputs is not None
    assert solved.fold is not None
    for column, log_odds in ((0, -1), (1, 1)):
        assert not solved.weight[column].any()
        assert solved.bias[column] == pytest.approx(log_odds * np.log(60.5 / 0.5), rel=1e-5)
        np.testing.assert_allclose(solved.outputs[:, column], log_odds * np.log(48.5 / 0.5), rtol=1e-5)
    of_fold = solved.outputs[solved.fold == solved.fold[7], 2]
    np.testing.assert_allclose(of_fold, -np.log(48.5 / 0.5), rtol=1e-5)
    assert np.isfinite(solved.outputs).all()


@pytest.mark.parametrize("kind", ["labels", "numbers"])
def test_views_stay_together_and_neither_repetition_nor_threads_change_a_bit(kind: Kind) -> None:
    features = np.repeat(features_of(40, 60), 3, axis=0)
    targets = np.repeat(targets_of(kind, features[::3]), 3, axis=0)
    units = np.repeat(np.arange(40), 3)

    def solve(num_threads: int) -> SolvedHead:
        return solve_head(features, targets, units, kind, 2, num_threads=num_threads)

    one, three = solve(1), solve(3)
    assert one.outputs is not None
    assert one.fold is not None
    assert one.outputs.shape == (120, 2)
    assert (one.fold.reshape(40, 3) == one.fold[::3, None]).all()
    for name in ("weight", "bias", "outputs", "fold"):
        assert getattr(one, name).tobytes() == getattr(three, name).tobytes()
    assert one.summary() == three.summary()


@pytest.mark.parametrize("kind", ["labels", "numbers"])
def test_a_single_unit_is_solved_at_the_strongest_penalty_and_answers_nothing(kind: Kind) -> None:
    features = features_of(12, 5)
    solved = solve_head(features, targets_of(kind, features), np.zeros(12, int), kind, 2)
    assert solved.penalties == (STRENGTHS[0],) * 2
    assert (solved.outputs, solved.fold, solved.cv_loss, solved.cv_headline) == (None,) * 4
    assert np.isfinite(solved.weight).all()


def test_each_label_is_shared_out_over_the_folds_even_a_rare_one_beside_others() -> None:
    generator = np.random.default_rng(0)
    targets = (generator.random((203, 6)) < [0.6, 0.4, 0.3, 0.1, 0.05, 0.025]).astype(np.float32)
    folds = deal_folds(strata_of_labels(targets), np.arange(203))
    for of_label in targets.T > 0:
        shares = np.bincount(folds[of_label], minlength=NUM_FOLDS)
        assert shares.max() - shares.min() <= 2
    assert np.ptp(np.bincount(folds)) <= 4


def test_each_part_of_a_numbers_range_is_shared_out_over_the_folds() -> None:
    numbers = np.random.default_rng(0).lognormal(size=(200, 2)) * [1, 1000]
    folds = deal_folds(strata_of_numbers(numbers, 200), np.arange(200))
    for column in numbers.T:
        lowest, highest = (
            np.isin(np.arange(200), np.argsort(column)[part]) for part in (np.s_[:20], np.s_[-20:])
        )
        for tenth in (lowest, highest):
            shares = np.bincount(folds[tenth], minlength=NUM_FOLDS)
            assert shares.max() - shares.min() <= 2
