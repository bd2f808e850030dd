"""Patterns that repeat: what is measured, and that different walls are different pictures."""

from __future__ import annotations

import numpy as np

from headstart.findings.align import _details, likeness
from headstart.findings.repetition import repetition

Y, X = np.mgrid[:96, :96]


def wall(seed: int) -> np.ndarray:
    """A wall of bricks with joints of one colour, at another place and with other noise for each seed."""
    random = np.random.default_rng(seed)
    height, y, x = random.integers(14, 20), *random.integers(0, 40, 2)
    is_joint = ((Y + y) % height < 2) | ((X + x + (Y + y) // height % 2 * 14) % 28 < 2)
    return np.clip(np.where(is_joint, 60, 190) + random.normal(0, 6, (96, 96)), 0, 255).astype(np.uint8)


def details(*pictures: np.ndarray) -> np.ndarray:
    small = np.stack(pictures).reshape(-1, 48, 2, 48, 2).mean((2, 4), dtype=np.float32)
    return _details(small)


def test_patterns_repeat_and_a_horizon_does_not() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 96))
    horizon = np.where(Y < 40, 200, np.where(Y < 44, 20, 110)) + noise // 16
    stripes = 128 + 70 * np.sign(np.sin(X / 3)) + noise // 16
    of_noise, of_horizon, of_stripes, of_wall = repetition(details(noise, horizon, stripes, wall(0)))
    assert max(of_noise, of_horizon) < 0.3
    assert min(of_stripes, of_wall) > 0.6


def test_walls_at_other_places_are_different_pictures_and_a_copy_is_not() -> None:
    walls = np.stack([wall(seed) for seed in range(12)])
    one, other = np.triu_indices(len(walls), 1)
    assert (likeness(walls[one], walls[other]) > 0).mean() <= 0.02
    noise = np.random.default_rng(9).integers(-2, 3, walls.shape)
    assert likeness(walls, np.clip(walls + noise, 0, 255).astype(np.uint8)).all()


def test_a_picture_without_details_does_not_repeat_itself() -> None:
    assert repetition(np.zeros((2, 48, 48), np.float32)).tolist() == [0, 0]
    assert repetition(np.zeros((0, 48, 48), np.float32)).shape == (0,)
