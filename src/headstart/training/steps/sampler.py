"""The order of the training photos: a pure function of (seed, phase, epoch)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


def key(*parts: object) -> int:
    """Return a 63-bit number that depends on all parts: the seed of a generator that is used once."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def epoch_order(
    labels: Sequence[int] | np.ndarray, sampling: str, seed: int, phase: str, epoch: int
) -> np.ndarray:
    """Return the photos of an epoch in order, the same in every process.

    Args:
        labels: (N,), the class of each photo.
        sampling: ``"shuffled"``: each photo once; ``"balanced"``: each class equally often, see
            ``balanced_order``.
        seed: Seed of the run.
        phase: Name of the phase.
        epoch: Number of the epoch.

    Returns:
        (N,) indices of photos.
    """
    if sampling == "balanced":
        return balanced_order(labels, seed, phase, epoch)
    return _generator("order", seed, phase, epoch).permutation(len(labels))


def balanced_order(labels: Sequence[int] | np.ndarray, seed: int, phase: str, epoch: int) -> np.ndarray:
    """Return an order with the same number of photos, in which each class is equally frequent.

    The numbers of photos per class differ by at most one, and so do the numbers of repetitions within a
    class. Photos of rare classes are repeated; from frequent classes, each epoch draws other photos.

    Args:
        labels: (N,), the class of each photo; classes may have no photos.
        seed: Seed of the run.
        phase: Name of the phase.
        epoch: Number of the epoch.

    Returns:
        (N,) indices of photos.
    """
    generator = _generator("balanced", seed, phase, epoch)
    labels = np.asarray(labels)
    of_class = [np.flatnonzero(labels == each) for each in np.unique(labels)]
    drawn = []
    for place, number in enumerate(generator.permutation(len(of_class)).tolist()):
        # The classes that come first get one photo more where the split does not come out even.
        count = (len(labels) - place - 1) // len(of_class) + 1
        photos = generator.permutation(of_class[number])
        drawn.append(np.resize(photos, count))
    return generator.permutation(np.concatenate(drawn))


def _generator(*parts: object) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key(*parts)))


@dataclass(frozen=True)
class Shard:
    """One process's part of one training step.

    Attributes:
        indices: Indices of photos; never empty, because every process takes part in every step.
        weights: 1 for each photo; 0 for the dummy photo of a process without a photo in the step.
        step_size: Number of photos in the whole step, in all processes together.
    """

    indices: np.ndarray
    weights: np.ndarray
    step_size: int


def shards(
    order: Sequence[int] | np.ndarray, batch_size: int, rank: int, num_processes: int
) -> Iterator[Shard]:
    """Divide an order into steps of ``batch_size`` photos, and each step over the processes.

    Nothing is padded or dropped: the last step may be smaller, and each photo is used once.
    """
    for start in range(0, len(order), batch_size):
        step = np.asarray(order[start : start + batch_size])
        own = step[rank::num_processes]
        weights = np.ones(len(own), np.float32)
        if not len(own):
            own, weights = step[:1], np.zeros(1, np.float32)
        yield Shard(own, weights, len(step))
