from __future__ import annotations

import numpy as np
import pytest

from headstart.answers.intervals import of_mean, of_paired_proportions, wilson


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
