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


def epoch_order(
    labels: Sequence[int] | np.ndarray, sampling: str, seed: int, phase: str, epoch: int
) -> np.ndarray:
    """Return which photos an epoch takes, in order; the same on every process.

    Args:
        labels: (N,), the class of each photo.
        sampling: ``"shuffled"`` takes each photo once, ``"balanced"`` each class as often as any other: see
            ``balanced_order``.
        seed: Of the run.
        phase: Its name.
        epoch: Its number.

    Returns:
        (N,) indices of photos.
    """
    if sampling == "balanced":
        return balanced_order(labels, seed, phase, epoch)
    return _generator("order", seed, phase, epoch).permutation(len(labels))


def balanced_order(labels: Sequence[int] | np.ndarray, seed: int, phase: str, epoch: int) -> np.ndarray:
    """Return as many photos as there are, each class as often as any other.

    Classes differ by one photo at most, and so do the photos of a class: a rare class's are repeated, and of
    a frequent one each epoch draws others.

    Args:
        labels: (N,), the class of each photo; classes without photos are no trouble.
        seed: Of the run.
        phase: Its name.
        epoch: Its number.

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
