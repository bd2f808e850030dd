"""The calibration error, and the part of it that is chance."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.tasks.calibration_error import calibration_error, error_by_chance


def test_the_error_is_the_difference_between_probabilities_and_frequencies() -> None:
    probabilities = np.array([0.9] * 10 + [0.5] * 10)
    happened = np.array([True] * 7 + [False] * 3 + [True] * 5 + [False] * 5)
    assert calibration_error(probabilities, happened) == pytest.approx(0.1)
    assert calibration_error(np.ones(3, np.float32), np.ones(3, bool)) == 0


@pytest.mark.parametrize("num", [50, 223, 2000])
def test_true_probabilities_show_the_error_that_chance_explains(num: int) -> None:
    generator = np.random.default_rng(1)
    probabilities = generator.beta(8, 1, num)
    drawn = [calibration_error(probabilities, generator.random(num) < probabilities) for _ in range(100)]
    by_chance = error_by_chance(probabilities)
    assert by_chance == pytest.approx(np.mean(drawn), rel=0.1)
    assert by_chance == error_by_chance(probabilities)
    assert calibration_error(probabilities, generator.random(num) < 0.6 * probabilities) > 2 * by_chance
