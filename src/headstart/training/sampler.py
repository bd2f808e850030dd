"""The order of the training photos: a pure function of (seed, phase, epoch)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


def key(*parts: object) -> int:
    """Return a 63-bit number that depends on every part: the seed of a generator that is used once."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def epoch_order(num_photos: int, seed: int, phase: str, epoch: int) -> np.ndarray:
    """Return a permutation of ``range(num_photos)``, the same on every process."""
    generator = np.random.Generator(np.random.Philox(key("order", seed, phase, epoch)))
    return generator.permutation(num_photos)


@dataclass(frozen=True)
class Shard:
    """One process's part of one training step.

    Attributes:
        indices: Which photos; never empty, as every process takes part in every step.
        weights: 1 for each photo; 0 for the stand-in of a process that the step has no photo for.
        step_size: Photos in the whole step, over all processes.
    """

    indices: np.ndarray
    weights: np.ndarray
    step_size: int


def shards(
    order: Sequence[int] | np.ndarray, batch_size: int, rank: int, num_processes: int
) -> Iterator[Shard]:
    """Split an order into steps of ``batch_size`` photos, and each step among the processes.

    Nothing is padded or dropped: the last step is as large as it is, and a photo is used once.
    """
    for start in range(0, len(order), batch_size):
        step = np.asarray(order[start : start + batch_size])
        own = step[rank::num_processes]
        weights = np.ones(len(own), np.float32)
        if not len(own):
            own, weights = step[:1], np.zeros(1, np.float32)
        yield Shard(own, weights, len(step))
