"""The head, solved: multinomial logistic regression with L2, its strength chosen by cross-validation.

With the features at hand, training a linear head is a convex problem with one solution, found in less time
than a few epochs of stochastic steps take. What has to be chosen is the strength of the L2 penalty;
cross-validation on the training photos chooses it, so that the validation photos stay unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits
from torch import nn

from headstart.config import PhaseConfig
from headstart.cores import num_cores
from headstart.data.records import Record
from headstart.errors import ConfigError, UnknownBackboneError
from headstart.model.stages import cut, holds_own_forward
from headstart.training.features import PhaseFeatures

STRENGTHS: Final = tuple(10.0**exponent for exponent in np.arange(0, -5.1, -0.5))
"""Penalties that are tried, strongest first, for features scaled to a mean variance of one."""

_NUM_FOLDS: Final = 5
_STEPS_PER_STRENGTH: Final = 10
_STEPS_AT_THE_END: Final = 300


@dataclass(frozen=True)
class SolvedHead:
    """A linear layer, and how it was found.

    Attributes:
        weight: (K, D) float32.
        bias: (K,) float32.
        strength: The penalty that was chosen.
        cv_loss: Mean cross entropy of photos that were left out, at that strength.
    """

    weight: np.ndarray
    bias: np.ndarray
    strength: float
    cv_loss: float


def linear_head(suffix: nn.Module) -> nn.Linear | None:
    """Return the suffix's linear layer if that, behind dropout at most, is all it is."""
    if any(holds_own_forward(module) for module in suffix.modules()):
        return None  # which may do more than its layers say
    layers = [m for m in suffix.modules() if not list(m.children()) and not isinstance(m, nn.Dropout)]
    return layers[0] if len(layers) == 1 and isinstance(layers[0], nn.Linear) else None


def head_inputs(network: nn.Module) -> int | None:
    """Return how many inputs the network's head has if it can be solved, else None."""
    layer = linear_head(cut(network, "head")[1])
    return layer.in_features if layer else None


def refuse_impossible_phases(network: nn.Module, phases: Iterable[PhaseConfig], source: str = "") -> None:
    """Check that each phase's stage exists, and that what it wants solved can be.

    Args:
        network: With its new head.
        phases: Of the run.
        source: The recipe file that they come from, if they come from one.

    Raises:
        UnknownBackboneError: There is no such stage.
        ConfigError: The exact optimiser is asked for more than one linear layer.
    """
    for phase in phases:
        where = f"{source}: phase {phase.name!r}" if source else f"Phase {phase.name!r}"
        try:
            _, suffix = cut(network, phase.unfreeze)
        except UnknownBackboneError as error:
            raise UnknownBackboneError(f"{where} (unfreeze): {error}") from error
        if phase.optimizer == "exact" and linear_head(suffix) is None:
            raise ConfigError(
                [
                    f"{where} has optimizer = 'exact', which solves one linear layer, and unfreezes "
                    f"{', '.join(suffix.names)}. Set unfreeze = 'head', or use adam, adamw or sgd."
                ]
            )


def fit_head(suffix: nn.Module, features: PhaseFeatures, records: Sequence[Record]) -> SolvedHead:
    """Solve a phase's linear head on all its views and put the solution into the network.

    Args:
        suffix: The head, as ``linear_head`` accepts it; changed in place.
        features: Of the phase.
        records: The training photos.
    """
    layer = linear_head(suffix)
    assert layer is not None  # the configuration has been checked
    photos = [(i, view) for view in features.views for i in range(len(records))]
    rows = np.stack(list(features.rows((records[i], view) for i, view in photos)))
    index = np.array([i for i, _ in photos])
    labels = np.array([record.label for record in records])[index]
    solved = solve_head(rows, labels, index, layer.out_features)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(solved.weight))
        if layer.bias is not None:
            layer.bias.copy_(torch.from_numpy(solved.bias))
    return solved


def solve_head(
    features: np.ndarray,
    labels: np.ndarray,
    photos: np.ndarray,
    num_classes: int,
    *,
    num_threads: int | None = None,
) -> SolvedHead:
    """Find the linear head of least penalised cross entropy.

    Args:
        features: (N, D) float32, one row per photo and view.
        labels: (N,) class indices.
        photos: (N,) which photo a row is a view of; a photo's views stay in one fold.
        num_classes: K.
        num_threads: By default one per core; the solution has the same bits with any number.
    """
    # BLAS in one thread: its bits depend on how many it has. The folds are what is done at the same time.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(num_threads or num_cores()) as threads:
        return _solve(features, labels, photos, num_classes, threads)


def _solve(
    features: np.ndarray, labels: np.ndarray, photos: np.ndarray, num_classes: int, threads: Executor
) -> SolvedHead:
    mean = features.mean(0, dtype=np.float64)
    centred = features - mean
    scale = 1 / np.sqrt(np.mean(centred**2) + 1e-12)
    centred *= scale
    rotated, rotate_back = _rotate(centred)
    folds = _folds(labels, photos)

    # Choosing the strength does not need the last digits: half as many take half the time.
    x = rotated.astype(np.float32)
    solutions = [np.zeros((x.shape[1] + 1, num_classes))] * _NUM_FOLDS

    def solve_without(fold: int, start: np.ndarray, strength: float) -> tuple[np.ndarray, float]:
        """The solution for all other folds, and the cross entropy that it leaves in this one."""
        seen = folds != fold
        solution = _minimise(x[seen], labels[seen], start, strength, _STEPS_PER_STRENGTH)
        of_true_class = _log_probabilities(x[~seen], solution)[np.arange(sum(~seen)), labels[~seen]]
        return solution, -float(of_true_class.sum(dtype=np.float64))

    losses: list[float] = []
    for strength in STRENGTHS:  # from strong to weak, each beginning where the last one ended
        of_folds = threads.map(solve_without, range(_NUM_FOLDS), solutions, [strength] * _NUM_FOLDS)
        solutions, left_out = map(list, zip(*of_folds, strict=True))
        losses.append(sum(left_out) / len(labels))
        if losses[-1] == min(losses):
            best, start = strength, np.mean(solutions, 0)
        elif losses[-1] > 1.1 * min(losses):
            break
    solution = _minimise(rotated, labels, start, best, _STEPS_AT_THE_END)
    weight = rotate_back(solution[:-1]).T * scale
    bias = solution[-1] - weight @ mean
    return SolvedHead(weight.astype(np.float32), bias.astype(np.float32), best, min(losses))


def _rotate(x: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Turn features onto their principal axes, so that the problem is small and well conditioned.

    Returns:
        The features there (N, R), R at most min(N, D); what turns weights (R, K) back to (D, K).
    """
    n, d = x.shape
    values, vectors = np.linalg.eigh(x @ x.T if n < d else x.T @ x)
    kept = values > values[-1] * 1e-9
    values, vectors = values[kept], vectors[:, kept]
    if n < d:  # the axes are x.T @ vectors / lengths, and nobody needs them
        lengths = np.sqrt(values)
        return vectors * lengths, lambda w: x.T @ (vectors @ (w / lengths[:, None]))
    return x @ vectors, lambda w: vectors @ w


def _folds(labels: np.ndarray, photos: np.ndarray) -> np.ndarray:
    """Deal the photos of each class to the folds in turn; the same photos, the same folds."""
    folds = np.empty(len(labels), int)
    dealt: dict[int, int] = {}
    count = dict.fromkeys(labels.tolist(), 0)
    for i, (label, photo) in enumerate(zip(labels.tolist(), photos.tolist(), strict=True)):
        if photo not in dealt:
            dealt[photo] = count[label] % _NUM_FOLDS
            count[label] += 1
        folds[i] = dealt[photo]
    return folds


def _minimise(
    x: np.ndarray, labels: np.ndarray, start: np.ndarray, strength: float, max_steps: int
) -> np.ndarray:
    """Return the head of least penalised cross entropy: weights and, in the last row, biases.

    Args:
        x: (N, R) float32 or float64, in which it is then computed.
        labels: (N,) class indices.
        start: (R + 1, K) float64.
        strength: Penalty.
        max_steps: After so many, what has been found is good enough.
    """
    n, shape = len(x), start.shape
    targets = np.eye(shape[1], dtype=x.dtype)[labels]

    # Dividing by the root of the second derivatives along each direction makes all of them nearly alike.
    p = np.exp(_log_probabilities(x, start))
    spread = p * (1 - p)
    curvature = np.vstack([(x**2).T @ spread / n + strength, spread.mean(0) + 1e-3])
    precondition = 1 / np.sqrt(curvature)

    def objective(z: np.ndarray) -> tuple[float, np.ndarray]:
        head = z.reshape(shape) * precondition
        log_p = _log_probabilities(x, head)
        residuals = np.exp(log_p) - targets
        loss = -np.sum(log_p * targets, dtype=np.float64) / n + 0.5 * strength * np.sum(head[:-1] ** 2)
        gradient = np.empty(shape)
        gradient[:-1] = (residuals.T @ x).T / n + strength * head[:-1]
        gradient[-1] = residuals.mean(0)
        return float(loss), (gradient * precondition).ravel()

    z = minimize(
        objective,
        (start / precondition).ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": max_steps, "gtol": 1e-6, "ftol": 1e-9 if x.dtype == np.float64 else 1e-6},
    ).x
    return np.asarray(z.reshape(shape) * precondition)


def _log_probabilities(x: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Log of the softmax, (N, K), in x's precision."""
    logits = x @ head[:-1].astype(x.dtype) + head[-1].astype(x.dtype)
    logits -= logits.max(1, keepdims=True)
    return np.asarray(logits - np.log(np.exp(logits).sum(1, keepdims=True)))
