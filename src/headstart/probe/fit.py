"""Fits a linear head at a given penalty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from headstart import recipe
from headstart.probe.lbfgs import minimise
from headstart.probe.losses import Loss
from headstart.probe.rotate import Precision, Rows, blocks


@dataclass(frozen=True)
class Accuracy:
    """Stopping criteria of a fit.

    Attributes:
        max_steps: Largest number of L-BFGS steps.
        decrease: Stop if a step decreases the mean loss by less than this, relative to the loss or to one.
        gradient: Stop if no component of the preconditioned gradient is larger.
        dtype: Precision of computations within a block of rows; sums over blocks are float64.
    """

    max_steps: int
    decrease: float
    gradient: float
    dtype: Precision


ROUGH: Final = Accuracy(10, 1e-6, 1e-6, np.float32)
"""Accuracy that is sufficient to compare penalties, each starting from the previous solution."""

FINE: Final = Accuracy(200, 1e-8, 1e-6, np.float32)
"""Accuracy of the final head: outputs are correct to three digits."""

FINAL: Final = Accuracy(300, 1e-9, 1e-6, np.float64)


def fit(
    x: Rows,
    targets: np.ndarray,
    parts: Sequence[slice],
    start: np.ndarray,
    penalty: np.ndarray,
    loss: Loss,
    accuracy: Accuracy,
    num_pairs: int,
) -> np.ndarray:
    """Return the head that minimises the mean loss plus half the penalty times its squared weights.

    Args:
        x: (N, R) float32, on principal axes.
        targets: (N, ...), in the form that ``loss`` requires.
        parts: The ranges of rows to use.
        start: (R + 1, K); not changed.
        penalty: (K,), one penalty per output, or (1,).
        loss: Loss of outputs and targets.
        accuracy: Stopping criteria.
        num_pairs: Number of pairs of vectors that L-BFGS stores.

    Returns:
        (R + 1, K) float64: weights and, in the last row, biases, which are not penalised.
    """
    n, shape, dtype = sum(part.stop - part.start for part in parts), start.shape, accuracy.dtype
    of_blocks, of_objective = _blocks(x, parts, shape, dtype)
    constant = loss.constant(np.concatenate([targets[part] for part in parts]), shape[1])
    start = _with_constants(start, constant)
    precondition = _preconditioner(x, of_blocks, start, penalty, loss, n, dtype)

    def objective(z: np.ndarray) -> tuple[float, np.ndarray]:
        head = z.reshape(shape) * precondition
        gradient = np.zeros(shape)
        total = 0.0
        for block in of_objective:
            rows = x[block].astype(dtype, copy=False)
            of_block, slopes = loss.slopes(outputs_of(rows, head), targets[block])
            total += of_block
            gradient[:-1] += (slopes.T @ rows).T
            gradient[-1] += slopes.sum(0, dtype=np.float64)
        gradient /= n
        gradient[:-1] += penalty * head[:-1]
        gradient[:, ~np.isnan(constant)] = 0
        gradient *= precondition
        squares = np.einsum("rk,rk->k", head[:-1], head[:-1])
        return total / n + 0.5 * float((penalty * squares).sum()), gradient.ravel()

    z = minimise(
        objective,
        (start / precondition).ravel(),
        max_steps=accuracy.max_steps,
        num_pairs=num_pairs,
        gradient_tolerance=accuracy.gradient,
        decrease_tolerance=accuracy.decrease,
        noise=float(np.finfo(dtype).eps),
    )
    return np.asarray(z.reshape(shape) * precondition)


def _blocks(
    x: Rows, parts: Sequence[slice], shape: tuple[int, ...], dtype: Precision
) -> tuple[list[slice], list[slice]]:
    """Return the blocks of rows for second derivatives, and those for the objective.

    Few rows in x's own precision are not copied, so that a block of the objective needs memory for its
    outputs alone. Many may be in a file; they have the same blocks in memory, because the last bits depend on
    these.
    """
    narrow = list(blocks(parts, sum(shape), x.size))
    has_few_rows = x.nbytes <= recipe.SOME_ROWS_BYTES and x.dtype == dtype
    return narrow, list(blocks(parts, shape[1], x.size)) if has_few_rows else narrow


def _with_constants(start: np.ndarray, constant: np.ndarray) -> np.ndarray:
    """Return a start in which each output with a constant target (not NaN) predicts that constant."""
    is_constant = ~np.isnan(constant)
    if is_constant.any():
        start = start.copy()
        start[:-1, is_constant] = 0
        start[-1, is_constant] = constant[is_constant]
    return start


def _preconditioner(
    x: Rows,
    of_blocks: Sequence[slice],
    head: np.ndarray,
    penalty: np.ndarray,
    loss: Loss,
    n: int,
    dtype: Precision,
) -> np.ndarray:
    """Return scales of weights and biases, (R + 1, K) float64, that improve the conditioning.

    They are the inverse square roots of the second derivatives along each direction, over n rows in blocks.
    """
    curvature = np.zeros(head.shape)
    for block in of_blocks:
        rows = x[block].astype(dtype, copy=False)
        of_outputs = loss.curvature(outputs_of(rows, head))
        curvature[:-1] += np.square(rows).T @ of_outputs
        curvature[-1] += of_outputs.sum(0, dtype=np.float64)
    curvature /= n
    curvature[:-1] += penalty
    curvature[-1] += 1e-3
    return np.asarray(1 / np.sqrt(curvature, out=curvature))


def outputs_of(x: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Return the outputs (N, K), in the precision of x."""
    outputs = x @ head[:-1].astype(x.dtype)
    outputs += head[-1].astype(x.dtype)
    return np.asarray(outputs)
