"""Finds near-duplicates: photos that show the same picture, or a part of it, in files that differ.

Candidates are each photo's nearest neighbours by the cosine of centred features, which are exact. Their
thumbnails are then aligned and compared (``align.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from threadpoolctl import threadpool_limits

from headstart.findings.align import likeness
from headstart.inference.runtime import map_in_order

_NUM_NEIGHBOURS: Final = 5
_CELLS: Final = 2**23  # cosines at a time and thread, 32 MB
_PAIRS: Final = 128  # pairs that a thread compares at a time


class Pair(NamedTuple):
    """Two photos that show the same picture.

    Attributes:
        first, second: Their rows; the first is the smaller one.
        similarity: Correlation of their details where they overlap, 0.8..1.
    """

    first: int
    second: int
    similarity: float


Compare: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Returns how alike the pictures of pairs of rows are, (P,) float32 as by ``align.likeness``, for (P,) first
and (P,) second rows.
"""


def near_duplicates(
    vectors: np.ndarray,
    thumbnails: np.ndarray,
    *,
    compare: Compare | None = None,
    workers: int | None = None,
) -> list[Pair]:
    """Return pairs of photos that show the same picture.

    One may be a part of the other, mirrored, stretched, turned by about ten degrees, framed, grey, darker or
    brighter. Each photo is compared with its five nearest neighbours; if it has near-duplicates among them,
    it is compared again with its five nearest neighbours outside its group, until these are all different.
    So a group may have any size and is connected by the pairs, but not each two of its photos are a pair.
    Identical photos may occur, and are such pairs, too.

    The result does not depend on the number of threads. Beside the arguments, memory is 4 bytes per value of
    ``vectors`` and at most about 100 MB per thread.

    Args:
        vectors: (N, D) pooled features.
        thumbnails: (N, 96, 96) uint8, grey (``PhotoFacts.thumbnail``).
        compare: Compares pictures; by default their thumbnails. Several threads call it.
        workers: Number of threads, as in ``map_in_order``.

    Returns:
        Each pair once, sorted by rows.
    """
    if compare is None:

        def compare(first: np.ndarray, second: np.ndarray) -> np.ndarray:
            return likeness(thumbnails[first], thumbnails[second])

    num = len(vectors)
    centred = vectors.astype(np.float32)
    centred -= (centred.sum(0, dtype=np.float64) / max(num, 1)).astype(np.float32)
    centred /= np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    pairs: list[Pair] = []
    units = np.arange(num)
    rows = np.arange(num)
    tried = np.zeros(0, np.int64)
    # BLAS in one thread: its bits depend on how many it has. Blocks are what is computed at the same time.
    with threadpool_limits(1, "blas"):
        while len(rows):
            candidates = np.setdiff1d(_candidates(centred, units, rows, workers), tried)
            tried = np.union1d(tried, candidates)
            found = list(_compared(compare, num, candidates, workers))
            pairs += found
            before = np.bincount(units, minlength=num)[units]
            units = groups_of(pairs, num)
            rows = np.flatnonzero(np.bincount(units, minlength=num)[units] > before)
    return sorted(pairs)


def groups_of(pairs: Iterable[Sequence[float]], num: int) -> np.ndarray:
    """Return the group of each photo, (num,) ints: the smallest row of those that are connected with it.

    Args:
        pairs: Each begins with two rows.
        num: Number of photos.
    """
    parent = list(range(num))

    def first(row: int) -> int:
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    for pair in pairs:
        low, high = sorted((first(int(pair[0])), first(int(pair[1]))))
        parent[high] = low
    return np.array([first(row) for row in range(num)], np.intp)


def _candidates(centred: np.ndarray, units: np.ndarray, rows: np.ndarray, workers: int | None) -> np.ndarray:
    """Return pairs of photos and their nearest neighbours in other groups, as first row * N + second row.

    Args:
        centred: (N, D) float32, each of norm 1.
        units: (N,) group of each photo.
        rows: (M,) photos whose neighbours are wanted.
        workers: Number of threads.
    """
    num = len(centred)
    num_rows = max(_CELLS // max(num, 1), 1)
    blocks = [rows[begin : begin + num_rows] for begin in range(0, len(rows), num_rows)]

    def nearest(block: np.ndarray) -> np.ndarray:
        cosine = centred[block] @ centred.T
        cosine[units[block, None] == units] = -2
        num_taken = min(_NUM_NEIGHBOURS, num)
        others = np.argpartition(cosine, num - num_taken, axis=1)[:, num - num_taken :]
        here = np.broadcast_to(block[:, None], others.shape)
        is_other = np.take_along_axis(cosine, others, 1) > -2
        low, high = np.minimum(here, others)[is_other], np.maximum(here, others)[is_other]
        pairs: np.ndarray = low.astype(np.int64) * num + high
        return pairs

    found = np.concatenate([np.zeros(0, np.int64), *map_in_order(nearest, blocks, workers)])
    return np.unique(found)


def _compared(compare: Compare, num: int, candidates: np.ndarray, workers: int | None) -> Iterator[Pair]:
    """Yield those pairs of ``num`` photos that show the same picture."""
    blocks = [candidates[begin : begin + _PAIRS] for begin in range(0, len(candidates), _PAIRS)]

    def pairs_of(block: np.ndarray) -> list[Pair]:
        first, second = np.divmod(block, num)
        similarity = compare(first, second)
        same = zip(first.tolist(), second.tolist(), similarity.tolist(), strict=True)
        return [Pair(*each) for each in same if each[2] > 0]

    for pairs in map_in_order(pairs_of, blocks, workers):
        yield from pairs
