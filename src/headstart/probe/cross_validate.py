"""Cross-validation: fits a head without each fold, and chooses the penalties with the best scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from headstart.probe.fit import FINAL, ROUGH, Accuracy, fit, outputs_of
from headstart.probe.losses import Loss
from headstart.probe.rotate import Rows, blocks


@dataclass(frozen=True, eq=False)
class RowsByFold:
    """Rows sorted by fold, so that all folds but one are two slices and need no copy.

    Attributes:
        x: (N, R) float32, on principal axes.
        targets: (N, ...), in the form that ``loss`` requires.
        edges: First row of each fold, and N.
        is_scored: (N,) bool, rows that are used to choose the penalty.
        loss: Loss of outputs and targets.
        start: (R + 1, K) float32, the initial head.
        num_penalties: G, number of penalties to choose: K, or one for all outputs.
        std: (K,), standard deviations of numbers, used only for the main score; None means one.
        num_pairs: Number of pairs of vectors that L-BFGS stores.
        num_at_once: Number of folds that are solved at the same time.
        threads: Thread pool that solves them.
    """

    x: Rows
    targets: np.ndarray
    edges: Sequence[int]
    is_scored: np.ndarray
    loss: Loss
    start: np.ndarray
    num_penalties: int
    std: np.ndarray | None
    num_pairs: int
    num_at_once: int
    threads: Executor

    @property
    def num_folds(self) -> int:
        """F, number of folds."""
        return len(self.edges) - 1

    def some(
        self, num_bytes: int, is_scored: Callable[[np.ndarray, Sequence[int]], np.ndarray]
    ) -> RowsByFold:
        """Return as many rows of each fold as fit into memory, chosen at random but always the same.

        Args:
            num_bytes: Memory for ``x``. If it holds all rows, the result is this object.
            is_scored: Function of targets and edges that returns the attribute of that name.
        """
        if self.x.nbytes <= num_bytes:
            return self
        share, generator = num_bytes / self.x.nbytes, np.random.default_rng(0)
        of_folds = [
            first + np.sort(generator.permutation(last - first)[: max(int(share * (last - first)), 1)])
            for first, last in pairwise(self.edges)
        ]
        rows, edges = np.concatenate(of_folds), np.cumsum([0, *map(len, of_folds)]).tolist()
        targets = self.targets[rows]
        x = self.x[rows]
        return replace(self, x=x, targets=targets, edges=edges, is_scored=is_scored(targets, edges))

    def fit_folds(
        self, starts: Sequence[np.ndarray], penalty: np.ndarray, accuracy: Accuracy
    ) -> list[np.ndarray]:
        """Return F heads (R + 1, K), each fitted without one fold."""
        found: list[np.ndarray] = []
        for first in range(0, self.num_folds, self.num_at_once):
            together = range(first, min(first + self.num_at_once, self.num_folds))
            found += self.threads.map(
                lambda number: self._fit_without(number, starts[number], penalty, accuracy), together
            )
        return found

    def _fit_without(
        self, number: int, start: np.ndarray, penalty: np.ndarray, accuracy: Accuracy
    ) -> np.ndarray:
        others = (slice(0, self.edges[number]), slice(self.edges[number + 1], len(self.x)))
        solution = fit(self.x, self.targets, others, start, penalty, self.loss, accuracy, self.num_pairs)
        return solution.astype(np.float32)

    def fit_all(self, start: np.ndarray, penalty: np.ndarray) -> np.ndarray:
        """Return the head (R + 1, K) float64 that is fitted to all rows."""
        everything = (slice(0, len(self.x)),)
        # In a thread that has solved folds, because its allocator reuses the memory that they have freed.
        solution = self.threads.submit(
            fit, self.x, self.targets, everything, start, penalty, self.loss, FINAL, self.num_pairs
        )
        return solution.result()

    def left_out(self, heads: Sequence[np.ndarray]) -> np.ndarray:
        """Return the out-of-fold outputs, (N, K) float32."""
        outputs = np.empty((len(self.x), self.start.shape[1]), np.float32)
        for head, (first, last) in zip(heads, pairwise(self.edges), strict=True):
            for part in blocks([slice(first, last)], sum(head.shape), self.x.size):
                outputs[part] = outputs_of(self.x[part], head)
        return outputs

    def scores(self, outputs: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the mean loss for each penalty, (G,), and the mean of the main score."""
        losses, headline = np.zeros(1), 0.0
        for part in blocks([slice(0, len(self.x))], self.start.shape[1], self.x.size):
            rows = np.flatnonzero(self.is_scored[part]) + part.start
            losses = losses + self.loss.losses(outputs[rows], self.targets[rows]).sum(0, dtype=np.float64)
            of_rows = self.loss.headline(outputs[rows], self.targets[rows])
            in_units = of_rows if self.std is None else of_rows * self.std
            headline += float(in_units.mean(1).sum(dtype=np.float64))
        num_scored = int(self.is_scored.sum())
        return losses / num_scored, headline / num_scored


def choose_penalties(
    rows: RowsByFold, strengths: Sequence[float], default: float
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Choose the penalties with the smallest out-of-fold loss.

    Args:
        rows: Rows in two or more folds.
        strengths: Penalties to try, strongest first.
        default: The penalty if no row can be scored.

    Returns:
        The penalties (G,), and approximate heads at these penalties, one without each fold.
    """
    penalty = np.full(rows.num_penalties, default)
    heads = best_heads = [rows.start] * rows.num_folds
    best_losses = np.full(rows.num_penalties, np.inf)
    for strength in strengths if rows.is_scored.any() else ():
        # Each begins where the one before it, a stronger, ended.
        heads = rows.fit_folds(heads, np.array([strength]), ROUGH)
        losses, _ = rows.scores(rows.left_out(heads))
        is_better = losses < best_losses
        penalty[is_better], best_losses[is_better] = strength, losses[is_better]
        if is_better.all():
            best_heads = heads
        elif is_better.any():
            best_heads = [np.where(is_better, new, old) for new, old in zip(heads, best_heads, strict=True)]
        elif (losses > 1.1 * best_losses).all():
            break
    return penalty, best_heads
