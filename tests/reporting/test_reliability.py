"""The calibration error is that of its definition, and is compared with what chance alone would show."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.reporting.calibration import Calibration


def test_the_error_is_the_mean_distance_between_predicted_and_observed() -> None:
    shares = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    is_right = np.array([True, True, True, False, True, True])
    found = Calibration.of(shares, is_right)
    assert [rate.count for rate in found.rates] == [2, 4]
    assert [rate.observed for rate in found.rates] == [1.0, 0.75]
    assert found.error == pytest.approx((4 * 0.2 + 2 * 0.45) / 6)
    assert all(rate.interval[0] <= rate.observed <= rate.interval[1] for rate in found.rates)


def test_probabilities_of_one_belong_to_the_last_range() -> None:
    found = Calibration.of(np.array([1.0, 0.0]), np.array([True, False]))
    assert [(rate.predicted, rate.observed) for rate in found.rates] == [(0.0, 0.0), (1.0, 1.0)]
    assert found.error == 0


def test_a_calibrated_model_shows_the_error_that_chance_explains() -> None:
    random = np.random.default_rng(1)
    shares = random.uniform(0.3, 1, 400)
    errors = [Calibration.of(shares, random.random(400) < shares).error for _ in range(100)]
    assert Calibration.of(shares, random.random(400) < shares).by_chance == pytest.approx(
        np.mean(errors), rel=0.15
    )
