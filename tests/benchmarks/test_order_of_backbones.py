"""The benchmark that compares the order of backbones with that of full runs."""

from __future__ import annotations

import pytest
from benchmarks.recommend import kendalls_tau


@pytest.mark.parametrize(
    ("other", "tau"),
    [([2, 3, 5, 9], 1.0), ([9, 5, 3, 2], -1.0), ([2, 5, 3, 9], 2 / 3), ([2, 2, 5, 9], 5 / 6)],
    ids=["same", "reversed", "one pair", "tie"],
)
def test_tau_counts_pairs_in_the_same_order(other: list[float], tau: float) -> None:
    assert kendalls_tau([1, 2, 3, 4], other) == pytest.approx(tau)
