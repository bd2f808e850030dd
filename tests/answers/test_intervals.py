from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from headstart.answers.intervals import (
    mcnemar,
    of_influences,
    of_mean,
    of_mean_of_shares,
    of_paired_proportions,
    of_proportion,
    over_units,
    wilson,
)
from headstart.tasks.measures import Kind


@pytest.mark.parametrize(
    ("num_right", "num", "low", "high"),
    [  # Newcombe 1998, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 0.8389, 1.0),
    ],
)
def test_wilson_gives_published_values(num_right: int, num: int, low: float, high: float) -> None:
    assert wilson(num_right, num) == pytest.approx((low, high), abs=5e-5)


def test_a_mean_over_seeds_lies_between_the_whole_counts() -> None:
    low, high = wilson(15.5, 148)
    assert wilson(15, 148)[0] < low < wilson(16, 148)[0]
    assert wilson(15, 148)[1] < high < wilson(16, 148)[1]


@pytest.mark.parametrize(("num_right", "num"), [(0, 0), (-1, 5), (6, 5), (float("nan"), 5)])
def test_wilson_refuses_impossible_counts(num_right: float, num: int) -> None:
    with pytest.raises(ValueError, match="at least one photo"):
        wilson(num_right, num)


def test_the_interval_of_a_mean_covers_it_in_95_percent_of_samples() -> None:
    samples = np.random.default_rng(0).exponential(size=(2000, 200))
    covered = [low <= 1 <= high for low, high in map(of_mean, samples)]
    assert 0.93 < np.mean(covered) < 0.96


def test_one_value_has_no_interval() -> None:
    with pytest.raises(ValueError, match="at least two"):
        of_mean([0.5])


def test_paired_proportions_follow_the_published_formula() -> None:
    # Photos of the kinds 1, 7 and 13: (2 - 8) / 23 ± 1.96 √((2/23 + 8/23 - (6/23)²) / 23).
    differences = [1] * 1 + [-1] * 7 + [0] * 13
    assert of_paired_proportions(differences) == pytest.approx((-0.508, -0.013), abs=5e-4)


def test_models_that_agree_still_have_an_interval() -> None:
    low, high = of_paired_proportions(np.zeros(100))
    assert low == -high
    assert 0.02 < high < 0.03


@pytest.mark.parametrize("differences", [[], [2.0], [float("nan")]])
def test_differences_of_what_is_no_proportion_are_refused(differences: list[float]) -> None:
    with pytest.raises(ValueError, match="from -1 to 1"):
        of_paired_proportions(differences)


def test_an_accuracy_over_independent_photos_has_wilsons_interval() -> None:
    is_right = np.arange(148) < 15
    assert of_proportion(is_right, np.arange(148)) == pytest.approx(wilson(15, 148))


def test_ten_copies_of_each_photo_say_no_more_than_one() -> None:
    is_right, units = np.repeat(np.arange(148) < 15, 10), np.repeat(np.arange(148), 10)
    assert of_proportion(is_right, units) == pytest.approx(wilson(15, 148), rel=0.01)  # slightly wider
    assert of_proportion(np.ones(200), np.arange(200) // 10) == pytest.approx(wilson(20, 20))
    differences = np.repeat([1] * 10 + [-1] * 25 + [0] * 165, 10)
    low, high = of_paired_proportions(differences, np.arange(2000) // 10)
    alone = of_paired_proportions(differences[::10])
    assert (low, high) == pytest.approx(alone, abs=0.004)  # but for the two photos that are added


@pytest.mark.parametrize("size", [1, 5], ids=["photos", "groups"])
def test_the_interval_over_units_covers_the_mean_in_95_percent_of_samples(size: int) -> None:
    random, covered = np.random.default_rng(0), []
    for _ in range(150):
        of_units = np.repeat(random.normal(size=60), size)
        low, high = over_units(of_units + 0.3 * random.normal(size=60 * size), np.arange(60 * size) // size)
        covered.append(low <= 0 <= high)
    assert 0.88 < np.mean(covered) < 0.99


def test_the_interval_over_units_is_always_the_same_and_needs_two_units() -> None:
    values = np.random.default_rng(0).exponential(size=50)
    assert over_units(values, np.arange(50)) == over_units(values, np.arange(50))
    with pytest.raises(ValueError, match="at least two"):
        over_units(values, np.zeros(50))


@pytest.mark.parametrize(("first", "second"), [(0, 0), (3, 9), (1, 8), (60, 100), (7, 7)])
def test_mcnemars_test_is_the_binomial_test_of_what_only_one_model_gets_right(
    first: int, second: int
) -> None:
    differences = [1] * first + [-1] * second + [0] * 50
    expected = scipy.stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar(differences, np.arange(len(differences))) == pytest.approx(expected)


def test_copies_do_not_make_a_difference_significant() -> None:
    differences = np.array([1] * 2 + [-1] * 6 + [0] * 50)
    alone = mcnemar(differences, np.arange(58))
    assert mcnemar(np.repeat(differences, 5), np.arange(290) // 5) == alone


@pytest.mark.parametrize("num", [6, 20, 400])
def test_the_interval_of_a_difference_is_students(num: int) -> None:
    values = np.random.default_rng(0).uniform(size=num)
    found = of_influences(values.mean(), values - values.mean(), np.arange(num))
    expected = scipy.stats.t.interval(0.95, num - 1, values.mean(), scipy.stats.sem(values))
    assert found == pytest.approx(expected, rel=2e-3, abs=2e-3)


@pytest.mark.parametrize(
    ("kind", "value", "low", "high"),
    [("unit", 0.97, 0, 1), ("positive", 0.1, 0, np.inf), ("r2", 0.95, -np.inf, 1)],
)
def test_the_interval_of_a_bounded_score_stays_within_its_bounds(
    kind: Kind, value: float, low: float, high: float
) -> None:
    influences = np.random.default_rng(0).normal(size=50)  # a standard error of 0.14
    found = of_influences(value, influences - influences.mean(), np.arange(50), kind)
    assert found is not None
    assert low < found[0] < value < found[1] < high


def test_copies_do_not_make_an_interval_narrower() -> None:
    influences = np.random.default_rng(0).normal(size=60)
    alone = of_influences(0.5, influences, np.arange(60), "unit")
    assert of_influences(0.5, np.repeat(influences, 4), np.arange(240) // 4, "unit") == pytest.approx(alone)


@pytest.mark.parametrize(
    ("value", "units", "kind"),
    [(0.0, 9, "unit"), (1.0, 9, "unit"), (0.0, 9, "positive"), (float("nan"), 9, None), (0.5, 1, "unit")],
)
def test_scores_at_their_bound_and_single_units_have_no_interval(
    value: float, units: int, kind: Kind | None
) -> None:
    assert of_influences(value, np.zeros(9), np.arange(9) % units, kind) is None


def test_the_mean_of_shares_is_uncertain_even_if_all_photos_are_right() -> None:
    shares = [(1.0, wilson(90, 90)), (1.0, wilson(10, 10))]
    low, high = of_mean_of_shares(shares, np.zeros(100), np.arange(100))
    assert high == 1
    assert low == pytest.approx(1 - np.hypot(1 - wilson(90, 90)[0], 1 - wilson(10, 10)[0]) / 2)


def test_many_shares_without_errors_do_not_make_the_interval_narrow() -> None:
    random, covered = np.random.default_rng(0), []
    for _ in range(100):
        num_right = random.binomial(5, 0.9, size=60)  # of 60 classes with 5 photos each
        shares = [(number / 5, wilson(number, 5)) for number in num_right]
        is_right = np.arange(300) % 5 < np.repeat(num_right, 5)
        low, high = of_mean_of_shares(shares, is_right - np.repeat(num_right / 5, 5), np.arange(300))
        covered.append(low <= 0.9 <= high)
    assert np.mean(covered) > 0.9


def test_a_variance_that_rests_on_few_photos_is_known_less_well() -> None:
    influences = np.where(np.arange(1000) < 10, 1.0, 0.0) * np.tile([1.0, -1.0], 500)
    found = of_influences(0, influences, np.arange(1000))
    assert found is not None
    degrees = 2 * 1000 / (1000 / 10 - 1)
    expected = scipy.stats.t.ppf(0.975, degrees) * np.sqrt(10 * (degrees + 1) / degrees) / 1000
    assert found[1] == pytest.approx(expected, rel=1e-3)
