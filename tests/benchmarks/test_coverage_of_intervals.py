"""Intervals contain the true score as often as they promise; ``benchmarks.intervals`` has all settings."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.intervals import MIXES, QUICK, World, margin_of, simulate, wilson_coverage


def test_the_interval_of_an_accuracy_covers_it() -> None:
    found = [
        wilson_coverage(num, accuracy)
        for num in (30, 100, 223, 2000)
        for accuracy in np.linspace(0.6, 0.99, 14).tolist()
    ]
    assert 0.94 < np.mean(found) < 0.96
    assert min(found) > 0.89


@pytest.mark.slow
@pytest.mark.parametrize("mix", ["2, 9 : 1", "4 equal"])
def test_intervals_of_f1_and_of_differences_cover_them(mix: str) -> None:
    world = World(MIXES[mix], margin_of(0.8, MIXES[mix]), gain=0.15)
    found = simulate(world, 223, 300, QUICK, bootstrap=False)
    assert found.keys() >= {"macro_f1", "f1 of a class", "Δ accuracy", "Δ macro_f1"}
    assert min(coverage for coverage, _ in found.values()) > 0.91
