"""Each photo's nearest neighbours by the cosine of centred features, without those of its group. Exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from headstart.inference.runtime import map_in_order

NUM_NEIGHBOURS: Final = 5
_NUM_KEPT: Final = 32  # neighbours that are remembered, so that a group seldom requires another search
_CELLS: Final = 2**23  # cosines at a time and thread, 32 MB


class Neighbours:
    """The neighbours of N photos, by brute force. Memory is 4 bytes per value and 256 bytes per photo."""

    def __init__(self, vectors: np.ndarray, workers: int | None = None) -> None:
        """
        Args:
            vectors: (N, D).
            workers: Number of threads, as in ``map_in_order``.
        """
        self._centred = vectors.astype(np.float32)
        self._centred -= (vectors.sum(0, dtype=np.float64) / max(len(vectors), 1)).astype(np.float32)
        for part in np.array_split(self._centred, max(len(vectors) // 1024, 1)):
            part /= np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12)
        self._nearest = np.full((len(vectors), min(_NUM_KEPT, len(vectors))), -1)  # the nearest first
        self._workers = workers

    def outside(
        self, units: np.ndarray, rows: np.ndarray, advance: Callable[[float], object] = lambda fraction: None
    ) -> np.ndarray:
        """Return the nearest neighbours of photos outside their groups, the nearest first.

        Args:
            units: (N,) ints, the group of each photo; groups may only grow from call to call.
            rows: (M,) ints, the photos.
            advance: Called with the fraction that is done, 0..1.

        Returns:
            (M, 5) rows, -1 where there are no others.
        """
        self._search(units, rows[self._is_outside(units, rows).sum(1) < NUM_NEIGHBOURS], advance)
        is_outside = self._is_outside(units, rows)
        found = np.full((len(rows), NUM_NEIGHBOURS), -1)
        row, place = np.nonzero(is_outside)
        rank = is_outside.cumsum(1)[row, place] - 1
        wanted = rank < NUM_NEIGHBOURS
        found[row[wanted], rank[wanted]] = self._nearest[rows[row], place][wanted]
        return found

    def _is_outside(self, units: np.ndarray, rows: np.ndarray) -> np.ndarray:
        nearest = self._nearest[rows]
        return np.asarray((nearest >= 0) & (units[nearest] != units[rows, None]))

    def _search(self, units: np.ndarray, rows: np.ndarray, advance: Callable[[float], object]) -> None:
        """Look for the neighbours of some photos outside their groups."""
        num, num_kept = self._nearest.shape
        num_rows = max(_CELLS // max(num, 1), 1)
        blocks = [rows[begin : begin + num_rows] for begin in range(0, len(rows), num_rows)]

        def nearest(block: np.ndarray) -> np.ndarray:
            cosine = self._centred[block] @ self._centred.T
            cosine[units[block, None] == units] = -2
            others = np.argpartition(cosine, num - num_kept, axis=1)[:, num - num_kept :]
            of_others = np.take_along_axis(cosine, others, 1)
            order = np.lexsort((others, -of_others))
            of_others = np.take_along_axis(of_others, order, 1)
            return np.where(of_others > -2, np.take_along_axis(others, order, 1), -1)

        for number, (block, found) in enumerate(
            zip(blocks, map_in_order(nearest, blocks, self._workers), strict=True)
        ):
            self._nearest[block] = found
            advance((number + 1) / len(blocks))
