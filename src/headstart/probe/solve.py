"""A linear head, solved, and what it answers of rows that it was not trained on.

With the features at hand, training a linear head is a convex problem with one solution, found in less time
than a few epochs of stochastic steps take. What has to be chosen is the strength of the L2 penalty;
cross-validation on the training photos chooses it, so that the validation photos stay unseen.
"""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from threadpoolctl import threadpool_limits

from headstart.cores import num_cores
from headstart.probe.fit import FINAL, FINE, ROUGH, Accuracy, fit, outputs_of
from headstart.probe.folds import NUM_FOLDS, deal_folds, strata_of_labels, strata_of_numbers
from headstart.probe.losses import BinaryCrossEntropy, CrossEntropy, Loss, SquaredError
from headstart.probe.rotate import blocks, rotate

Kind: TypeAlias = Literal["classes", "labels", "numbers"]

STRENGTHS: Final = tuple(10 ** (-half / 2) for half in range(11))
"""Penalties that are tried, strongest first, for features scaled to a mean variance of one."""

STRONGER: Final = tuple(10 ** (half / 2) for half in range(4, 0, -1))
"""Penalties that are tried before these for labels and numbers, which features may say little about."""

_MOST_PAIRS: Final = 10  # of vectors that L-BFGS remembers
_LOSSES: Final[dict[Kind, Loss]] = {
    "classes": CrossEntropy(),
    "labels": BinaryCrossEntropy(),
    "numbers": SquaredError(),
}


@dataclass(frozen=True)
class SolvedHead:
    """A linear layer, and how it was found.

    Attributes:
        kind: What it learned.
        weight: (K, D) float32.
        bias: (K,) float32.
        penalties: The penalties that were chosen: one for all classes, or one per label or number.
        cv_loss: Mean loss of the out-of-fold outputs: cross entropy, binary cross entropy or smooth L1. Of
            classes, only rows of those that other folds have too are scored. None if there are none.
        cv_headline: Mean of the same rows' headline, or None: accuracy (0..1) of classes or of single
            labels; mean absolute error of numbers, in their own units if ``std`` was given.
        outputs: (N, K) float32, of each row: logits or standardised numbers by the head that was trained at
            the chosen penalties without the row's fold. None if there is only one fold.
        fold: (N,) int, the fold of each row, counted from 0, or None. -1 where no other fold has the row's
            class: no head could have answered it, so its outputs mean nothing.
        num_folds: Number of folds; 1 if the rows cannot be divided.
    """

    kind: Kind
    weight: np.ndarray
    bias: np.ndarray
    penalties: tuple[float, ...]
    cv_loss: float | None
    cv_headline: float | None
    outputs: np.ndarray | None
    fold: np.ndarray | None
    num_folds: int

    def summary(self) -> dict[str, Any]:
        """Return what ``metrics.json`` records of it."""
        penalty = (
            {"penalty": self.penalties[0]} if self.kind == "classes" else {"penalties": list(self.penalties)}
        )
        headline = "cv_mae" if self.kind == "numbers" else "cv_accuracy"
        return {**penalty, "cv_loss": self.cv_loss, headline: self.cv_headline}


def solve_head(
    features: np.ndarray,
    targets: np.ndarray,
    units: np.ndarray,
    kind: Kind,
    num_outputs: int,
    *,
    std: np.ndarray | None = None,
    num_threads: int | None = None,
) -> SolvedHead:
    """Find the linear head of least penalised loss.

    Takes at most about six times the memory of ``features``, them included, as long as there are some twenty
    rows per output; ``recipe.solving_bytes`` estimates it for any shape.

    Args:
        features: (N, D) float32, one row per photo and view; not changed.
        targets: By ``kind``. Classes: (N,) class indices. Labels: (N, K) of 0 and 1. Numbers: (N, K),
            standardised.
        units: (N,) ints; rows of the same unit stay in one fold: views of a photo, identical photos, a group.
        kind: "classes" is multinomial logistic regression, "labels" one logistic regression per label,
            "numbers" ridge regression.
        num_outputs: K.
        std: (K,), standard deviations of the numbers, for the scores alone.
        num_threads: By default one per core; the solution has the same bits with any number.

    Raises:
        TrainingError: The features are not finite.
    """
    # BLAS in one thread: its bits depend on how many it has. The folds are what is done at the same time.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(num_threads or num_cores()) as threads:
        return _solve(features, targets, units, kind, num_outputs, std, threads, num_threads or num_cores())


def _solve(
    features: np.ndarray,
    targets: np.ndarray,
    units: np.ndarray,
    kind: Kind,
    num_outputs: int,
    std: np.ndarray | None,
    threads: Executor,
    num_threads: int,
) -> SolvedHead:
    loss = _LOSSES[kind]
    if kind != "classes":
        targets = targets.astype(np.float32, copy=False)
    fold = deal_folds(_strata(targets, units, kind), units)
    # In the order of the folds, so that all folds but one are two slices, not a copy.
    order = np.argsort(fold, kind="stable")
    x, back = rotate(features, order)
    n, num_folds = len(order), int(fold.max()) + 1
    targets = targets[order]
    edges = np.searchsorted(fold[order], range(num_folds + 1)).tolist()
    num_pairs, num_at_once = _affordable(x, num_outputs, num_threads)
    is_scored = _is_scored(targets, edges, kind)
    zeros = np.zeros((x.shape[1] + 1, num_outputs), np.float32)

    def fit_without(number: int, start: np.ndarray, penalty: np.ndarray, accuracy: Accuracy) -> np.ndarray:
        """Return the solution for all folds but one."""
        others = (slice(0, edges[number]), slice(edges[number + 1], n))
        solution = fit(x, targets, others, start, penalty, loss, accuracy, num_pairs)
        return solution.astype(np.float32)

    def fit_folds(starts: list[np.ndarray], penalty: np.ndarray, accuracy: Accuracy) -> list[np.ndarray]:
        found: list[np.ndarray] = []
        for first in range(0, num_folds, num_at_once):
            together = range(first, min(first + num_at_once, num_folds))
            found += threads.map(
                lambda number: fit_without(number, starts[number], penalty, accuracy), together
            )
        return found

    def left_out(heads: list[np.ndarray]) -> np.ndarray:
        """Return (N, K) float32, of each row the output of the head that was trained without its fold."""
        outputs = np.empty((n, num_outputs), np.float32)
        for head, (first, last) in zip(heads, pairwise(edges), strict=True):
            for part in blocks([slice(first, last)], sum(zeros.shape), x.size):
                outputs[part] = outputs_of(x[part], head)
        return outputs

    def scores(outputs: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the mean loss by penalty, (G,), and the mean headline."""
        losses, headline = np.zeros(1), 0.0
        for part in blocks([slice(0, n)], num_outputs, x.size):
            rows = np.flatnonzero(is_scored[part]) + part.start
            losses = losses + loss.losses(outputs[rows], targets[rows]).sum(0, dtype=np.float64)
            of_rows = loss.headline(outputs[rows], targets[rows])
            headline += float((of_rows if std is None else of_rows * std).mean(1).sum(dtype=np.float64))
        num_scored = int(is_scored.sum())
        return losses / num_scored, headline / num_scored

    num_penalties = loss.losses(zeros[:1], targets[:1]).shape[1]
    penalty = np.full(num_penalties, STRENGTHS[0])
    cv_loss = cv_headline = answers = None
    start = zeros
    if num_folds > 1:
        heads = best_heads = [zeros] * num_folds
        best_losses = np.full(num_penalties, np.inf)
        strengths = STRENGTHS if kind == "classes" else (*STRONGER, *STRENGTHS)
        for strength in strengths if is_scored.any() else ():
            # Each begins where the one before it, a stronger, ended.
            heads = fit_folds(heads, np.array([strength]), ROUGH)
            losses, _ = scores(left_out(heads))
            is_better = losses < best_losses
            penalty[is_better], best_losses[is_better] = strength, losses[is_better]
            if is_better.all():
                best_heads = heads
            elif is_better.any():
                best_heads = [
                    np.where(is_better, new, old) for new, old in zip(heads, best_heads, strict=True)
                ]
            elif (losses > 1.1 * best_losses).all():
                break
        del heads
        best_heads = fit_folds(best_heads, penalty, FINE)
        start = np.mean(best_heads, 0)
        answers = left_out(best_heads)
        del best_heads
        if is_scored.any():
            losses, cv_headline = scores(answers)
            cv_loss = float(losses.mean())
        inverse = np.empty(n, int)
        inverse[order] = np.arange(n)
        answers = answers[inverse]
        fold[~is_scored[inverse]] = -1
    everything = (slice(0, n),)
    # In a thread that has solved folds, because its allocator reuses the memory that they have freed.
    solution = threads.submit(fit, x, targets, everything, start, penalty, loss, FINAL, num_pairs).result()
    weight = back.weights(solution[:-1]).T
    bias = solution[-1] - weight @ back.mean
    return SolvedHead(
        kind,
        weight.astype(np.float32),
        bias.astype(np.float32),
        tuple(penalty.tolist()),
        cv_loss,
        cv_headline,
        answers,
        fold if num_folds > 1 else None,
        num_folds,
    )


def _strata(targets: np.ndarray, units: np.ndarray, kind: Kind) -> np.ndarray:
    """Return what folds are to be alike in."""
    match kind:
        case "classes":
            return targets
        case "labels":
            return strata_of_labels(targets)
        case "numbers":
            return strata_of_numbers(targets, len(np.unique(units)))


def _is_scored(targets: np.ndarray, edges: list[int], kind: Kind) -> np.ndarray:
    """Return (N,) bool, which rows say something about the penalty.

    A class that is in no other fold cannot be predicted, so its rows do not.
    """
    if kind != "classes":
        return np.ones(len(targets), bool)
    in_all = np.bincount(targets)
    found = np.empty(len(targets), bool)
    for first, last in pairwise(edges):
        of_fold = targets[first:last]
        found[first:last] = (in_all - np.bincount(of_fold, minlength=len(in_all)))[of_fold] > 0
    return found


def _affordable(x: np.ndarray, num_outputs: int, num_threads: int) -> tuple[int, int]:
    """How much of L-BFGS' memory to use, by the size of the features alone, and how many folds at once.

    Only the former changes bits, so it does not depend on the number of threads.
    """
    num_bytes = 8 * (x.shape[1] + 1) * num_outputs  # of one vector
    allowed = max(x.nbytes // 2, 2**21)
    num_pairs = min(max(allowed // (2 * num_bytes), 3), _MOST_PAIRS)
    num_at_once = 2 * allowed // ((2 * num_pairs + 20) * num_bytes)
    return num_pairs, min(max(num_at_once, 1), num_threads, NUM_FOLDS)
