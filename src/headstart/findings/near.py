"""Finds near-duplicates: photos that show the same picture, or a part of it, in files that differ.

Candidates are each photo's nearest neighbours by the cosine of centred features, which are exact
(``neighbours.py``). Their thumbnails are then aligned and compared (``align.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from headstart.blas import one_blas_thread
from headstart.findings.align import likeness_of_pairs
from headstart.findings.neighbours import NUM_NEIGHBOURS, Neighbours
from headstart.inference.runtime import map_in_order

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
    compare: Compare,
    *,
    advance: Callable[[float], object] = lambda fraction: None,
    workers: int | None = None,
) -> list[Pair]:
    """Return pairs of photos that show the same picture.

    One may be a part of the other, mirrored, stretched, turned by about ten degrees, framed, grey, darker or
    brighter. Each photo is compared with its five nearest neighbours, the nearest first, but not with those
    that are known to be of the same group by then; if it has near-duplicates among them, it is compared again
    with its five nearest neighbours outside its group, until these are all different. So a group may have any
    size and is connected by the pairs, but not each two of its photos are a pair. Identical photos may occur,
    and are such pairs, too.

    The result does not depend on the number of threads. Beside the arguments, memory is 4 bytes per value of
    ``vectors`` and at most about 100 MB per thread.

    Args:
        vectors: (N, D) pooled features.
        compare: Compares pictures, for example ``by_thumbnails``. Several threads call it.
        advance: Called with the fraction that is done, 0..1.
        workers: Number of threads, as in ``map_in_order``.

    Returns:
        Each pair once, sorted by rows.
    """
    num = len(vectors)
    pairs: list[Pair] = []
    units = rows = np.arange(num)
    tried = np.zeros(0, np.int64)
    part = 0.5  # of the whole, for each of the first search and the first comparisons

    def searched(fraction: float) -> None:
        advance(part * fraction)

    # BLAS in one thread: its bits depend on how many it has. Blocks are what is computed at the same time.
    with one_blas_thread():
        neighbours = Neighbours(vectors, workers)
        while len(rows):
            nearest = neighbours.outside(units, rows, searched)
            before = np.bincount(units, minlength=num)[units]
            for rank, others in enumerate(nearest.T):
                candidates = np.setdiff1d(_across(units, rows, others), tried)
                tried = np.union1d(tried, candidates)
                for done, found in enumerate(_compared(compare, num, candidates, workers)):
                    pairs += found
                    of_rank = min((done + 1) * _PAIRS / len(candidates), 1)
                    advance(1 - part + part * (rank + of_rank) / NUM_NEIGHBOURS)
                units = groups_of(pairs, num)
            rows = np.flatnonzero(np.bincount(units, minlength=num)[units] > before)
            part = 0.0
    advance(1)
    return sorted(pairs)


def by_thumbnails(thumbnails: np.ndarray) -> Compare:
    """Return a function that compares photos by (N, 96, 96) uint8 thumbnails, all of them in memory."""

    def compare(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        rows, places = np.unique(np.concatenate([first, second]), return_inverse=True)
        return likeness_of_pairs(thumbnails[rows], places[: len(first)], places[len(first) :])

    return compare


def _across(units: np.ndarray, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return those pairs of rows that are of two groups, as first row * N + second row; -1 is no row."""
    is_pair = (others >= 0) & (units[rows] != units[others])
    one, other = rows[is_pair], others[is_pair]
    return np.asarray(np.minimum(one, other) * len(units) + np.maximum(one, other))


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


def _compared(
    compare: Compare, num: int, candidates: np.ndarray, workers: int | None
) -> Iterator[list[Pair]]:
    """Yield those pairs of ``num`` photos that show the same picture, for each block of candidates."""
    blocks = [candidates[begin : begin + _PAIRS] for begin in range(0, len(candidates), _PAIRS)]

    def pairs_of(block: np.ndarray) -> list[Pair]:
        first, second = np.divmod(block, num)
        similarity = compare(first, second)
        same = zip(first.tolist(), second.tolist(), similarity.tolist(), strict=True)
        return [Pair(*each) for each in same if each[2] > 0]

    yield from map_in_order(pairs_of, blocks, workers)
