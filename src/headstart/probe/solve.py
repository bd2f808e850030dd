"""Solves a linear head, and predicts each row with a head that was trained without it.

Given the features, training a linear head is a convex problem with one solution, found in less time than a
few epochs of stochastic steps take. Only the strength of the L2 penalty has to be chosen. Cross-validation on
the training photos chooses it, so that the validation photos remain unseen.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from headstart import recipe
from headstart.blas import one_blas_thread
from headstart.cores import num_cores
from headstart.probe.cross_validate import RowsByFold, choose_penalties
from headstart.probe.fit import FINE
from headstart.probe.folds import NUM_FOLDS, deal_folds, strata_of_labels, strata_of_numbers
from headstart.probe.losses import BinaryCrossEntropy, CrossEntropy, Loss, SquaredError
from headstart.probe.rotate import Rows, rotate

Kind: TypeAlias = Literal["classes", "labels", "numbers"]

STRENGTHS: Final = tuple(10 ** (-half / 2) for half in range(11))
"""Penalties to try, strongest first, for features scaled to a mean variance of one."""

STRONGER: Final = tuple(10 ** (half / 2) for half in range(4, 0, -1))
"""Stronger penalties to try first for labels and numbers, which may depend only weakly on the features."""

_OF_SINGLES: Final = 1e-4
"""Penalty where each class has only one photo: see docs/measurements.md, "Few photos"."""

_MOST_PAIRS: Final = 10  # of vectors that L-BFGS remembers
_LOSSES: Final[dict[Kind, Loss]] = {
    "classes": CrossEntropy(),
    "labels": BinaryCrossEntropy(),
    "numbers": SquaredError(),
}


@dataclass(frozen=True)
class SolvedHead:
    """A solved linear layer, with the results of cross-validation.

    Attributes:
        kind: What the head predicts: see ``solve_head``.
        weight: (K, D) float32.
        bias: (K,) float32.
        penalties: The chosen penalties: one for all classes, or one per label or number.
        cv_loss: Mean loss of the out-of-fold outputs: cross entropy, binary cross entropy or smooth L1. Rows
            of a class that occurs in only one fold are left out. None if no rows remain.
        cv_headline: Mean of the main score over the same rows, or None: accuracy (0..1) of classes or of
            single labels; mean absolute error of numbers, in their own units if ``std`` was given.
        outputs: (N, K) float32, out-of-fold outputs: logits or standardised numbers of the head that was
            trained at the chosen penalties without the fold of the row. None if there is only one fold.
        fold: (N,) int, the fold of each row, counted from 0, or None. It is -1 if no other fold has the class
            of the row, so that its outputs are meaningless.
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

    def shifted(self, offsets: np.ndarray) -> SolvedHead:
        """Return the head with (K,) numbers added to its outputs; ``cv_`` scores are not changed."""
        outputs = None if self.outputs is None else self.outputs + offsets
        return dataclasses.replace(self, bias=self.bias + offsets, outputs=outputs)

    def multiplied(self, factors: np.ndarray) -> SolvedHead:
        """Return the head with its outputs multiplied by (K,) numbers; ``cv_`` scores are not changed."""
        weight, bias = self.weight * factors[:, None], self.bias * factors
        outputs = None if self.outputs is None else self.outputs * factors
        return dataclasses.replace(self, weight=weight, bias=bias, outputs=outputs)

    def summary(self) -> dict[str, Any]:
        """Return the entries for ``metrics.json``."""
        penalty = (
            {"penalty": self.penalties[0]} if self.kind == "classes" else {"penalties": list(self.penalties)}
        )
        headline = "cv_mae" if self.kind == "numbers" else "cv_accuracy"
        return {**penalty, "cv_loss": self.cv_loss, headline: self.cv_headline}


def solve_head(
    features: Rows,
    targets: np.ndarray,
    units: np.ndarray,
    kind: Kind,
    num_outputs: int,
    *,
    std: np.ndarray | None = None,
    num_threads: int | None = None,
) -> SolvedHead:
    """Find the linear head with the smallest penalised loss.

    Takes at most about six times the memory of ``features``, including them, if there are at least about
    twenty rows per output; ``recipe.solving_bytes`` estimates it for any shape.

    Args:
        features: (N, D) float32, one row per photo and view; not changed. They may be in a file; the
            rows that are solved on are then in another one in the same folder. If N ≥ D, the result is the
            same.
        targets: By ``kind``. Classes: (N,) class indices. Labels: (N, K) of 0 and 1. Numbers: (N, K),
            standardised.
        units: (N,) ints; rows of the same unit stay in one fold: views of a photo, identical photos, a group.
        kind: "classes" is multinomial logistic regression, "labels" one logistic regression per label,
            "numbers" ridge regression.
        num_outputs: K, number of outputs.
        std: (K,), standard deviations of the numbers, used only for the scores.
        num_threads: Number of threads, by default one per core; the result does not depend on it.

    Raises:
        TrainingError: The features are not finite.
    """
    # BLAS in one thread: its bits depend on how many it has. The folds are what is done at the same time.
    with one_blas_thread(), ThreadPoolExecutor(num_threads or num_cores()) as threads:
        return _solve(features, targets, units, kind, num_outputs, std, threads, num_threads or num_cores())


def _solve(
    features: Rows,
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
    order = np.argsort(fold, kind="stable")
    x, back = rotate(features, order)
    num_folds = int(fold.max()) + 1
    targets = targets[order]
    edges = np.searchsorted(fold[order], range(num_folds + 1)).tolist()
    num_pairs, num_at_once = _affordable(x, num_outputs, num_threads)
    is_scored = _is_scored(targets, edges, kind)
    start = np.zeros((x.shape[1] + 1, num_outputs), np.float32)
    # Of classes, this overwrites a row of the start with the same number for all of them. That is as good a
    # start, and the last bits of solutions depend on it.
    num_penalties = loss.losses(start[:1], targets[:1]).shape[1]
    rows = RowsByFold(
        x, targets, edges, is_scored, loss, start, num_penalties, std, num_pairs, num_at_once, threads
    )
    penalty = np.full(num_penalties, STRENGTHS[0])
    answers = cv_loss = cv_headline = None
    if num_folds > 1:
        strengths = STRENGTHS if kind == "classes" else (*STRONGER, *STRENGTHS)
        some = rows.some(recipe.SOME_ROWS_BYTES, functools.partial(_is_scored, kind=kind))
        penalty, heads = choose_penalties(some, strengths, _OF_SINGLES if kind == "classes" else STRENGTHS[0])
        del some
        heads = rows.fit_folds(heads, penalty, FINE)
        start, answers = np.mean(heads, 0), rows.left_out(heads)
        del heads
        if is_scored.any():
            losses, cv_headline = rows.scores(answers)
            cv_loss = float(losses.mean())
        inverse = np.empty(len(order), int)
        inverse[order] = np.arange(len(order))
        answers = answers[inverse]
        fold[~is_scored[inverse]] = -1
    solution = rows.fit_all(start, penalty)
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


def scores_of_rows(
    outputs: np.ndarray, targets: np.ndarray, kind: Kind, std: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the loss and the main score of each row, (N,) each; their means are a head's ``cv_`` scores.

    Args:
        outputs: (N, K), outputs of a head for the rows.
        targets: As for ``solve_head``, like the others.
        kind: See there.
        std: See there.
    """
    loss = _LOSSES[kind]
    losses = loss.losses(outputs.copy(), targets).mean(1)
    headline = loss.headline(outputs.copy(), targets) * (1 if std is None else std)
    return np.asarray(losses), np.asarray(headline.mean(1))


def _strata(targets: np.ndarray, units: np.ndarray, kind: Kind) -> np.ndarray:
    """Return the strata by which folds are balanced."""
    match kind:
        case "classes":
            return targets
        case "labels":
            return strata_of_labels(targets)
        case "numbers":
            return strata_of_numbers(targets, len(np.unique(units)))


def _is_scored(targets: np.ndarray, edges: Sequence[int], kind: Kind) -> np.ndarray:
    """Return which rows are used to choose the penalty, (N,) bool.

    A class that occurs in only one fold cannot be predicted there, so its rows are left out.
    """
    if kind != "classes":
        return np.ones(len(targets), bool)
    in_all = np.bincount(targets)
    found = np.empty(len(targets), bool)
    for first, last in pairwise(edges):
        of_fold = targets[first:last]
        found[first:last] = (in_all - np.bincount(of_fold, minlength=len(in_all)))[of_fold] > 0
    return found


def _affordable(x: Rows, num_outputs: int, num_threads: int) -> tuple[int, int]:
    """Return the number of L-BFGS pairs, by the size of the features, and the number of folds at once.

    Only the former changes bits, so it does not depend on the number of threads.
    """
    num_bytes = 8 * (x.shape[1] + 1) * num_outputs  # of one vector
    allowed = min(max(x.nbytes // 2, 2**21), recipe.SOME_ROWS_BYTES // 2)
    num_pairs = min(max(allowed // (2 * num_bytes), 3), _MOST_PAIRS)
    num_at_once = 2 * allowed // ((2 * num_pairs + 20) * num_bytes)
    return num_pairs, min(max(num_at_once, 1), num_threads, NUM_FOLDS)
