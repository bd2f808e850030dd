"""The likeness of pairs of photos is computed once, and does not depend on the order of the data."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.findings import compared
from headstart.findings.align import likeness
from headstart.findings.compared import ComparedPairs
from headstart.frozen.cache import Room


def test_pairs_are_compared_once_and_in_the_order_of_their_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    whole = np.kron(generator.integers(0, 255, (12, 12)), np.ones((8, 8))).astype(np.uint8)
    thumbnails = np.stack([whole, whole[:, ::-1], generator.integers(0, 255, (96, 96)).astype(np.uint8)])
    sha256 = [f"{number:064x}" for number in (9, 4, 7)]
    first, second = np.array([0, 0]), np.array([1, 2])
    pairs = ComparedPairs(sha256, thumbnails.__getitem__, Room(print))
    found = pairs(first, second)
    pairs.close()
    assert found.tolist() == [likeness(thumbnails[[1]], thumbnails[[0]])[0], 0]
    assert found[0] >= 0.8
    again = ComparedPairs(
        sha256[::-1], thumbnails[::-1].__getitem__, Room(print)
    )  # the same photos in another order
    monkeypatch.setattr(
        compared, "likeness_of_pairs", lambda *_: pytest.fail("a stored pair is compared again")
    )
    assert again(np.array([2, 2]), np.array([1, 0])).tolist() == found.tolist()
    again.close()
