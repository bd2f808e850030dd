"""Neighbours are exact, outside of groups, and the nearest come first."""

from __future__ import annotations

import numpy as np

from headstart.findings.neighbours import NUM_NEIGHBOURS, Neighbours


def expected(vectors: np.ndarray, units: np.ndarray, rows: np.ndarray) -> np.ndarray:
    centred = vectors - vectors.mean(0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    cosine = np.where(units[rows, None] == units, -2, centred[rows] @ centred.T)
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :NUM_NEIGHBOURS]
    return np.where(np.take_along_axis(cosine, order, 1) > -2, order, -1)


def test_neighbours_are_those_of_brute_force_also_when_groups_have_grown() -> None:
    random = np.random.default_rng(0)
    vectors, rows = random.normal(size=(90, 12)), np.arange(90)
    units = rows.copy()
    neighbours = Neighbours(vectors)
    done: list[float] = []
    np.testing.assert_array_equal(
        neighbours.outside(units, rows, done.append), expected(vectors, units, rows)
    )
    assert done[-1] == 1
    done.clear()
    for size in (5, 20, 60, 88):  # a group larger than what is remembered requires another search
        units[:size] = 0
        some = np.arange(0, 90, 7)
        np.testing.assert_array_equal(
            neighbours.outside(units, some, done.append), expected(vectors, units, some)
        )
    assert done


def test_few_photos_have_few_neighbours() -> None:
    vectors = np.eye(3)
    assert (Neighbours(vectors).outside(np.arange(3), np.arange(3)) >= 0).sum(1).tolist() == [2, 2, 2]
    assert (Neighbours(vectors).outside(np.zeros(3, int), np.arange(3)) == -1).all()
    assert Neighbours(np.zeros((0, 4))).outside(np.arange(0), np.arange(0)).shape == (0, NUM_NEIGHBOURS)
