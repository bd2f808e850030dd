"""The head, solved: multinomial logistic regression with L2, its strength chosen by cross-validation.

With the features at hand, training a linear head is a convex problem with one solution, found in less time
than a few epochs of stochastic steps take. What has to be chosen is the strength of the L2 penalty;
cross-validation on the training photos chooses it, so that the validation photos stay unseen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import log_softmax
from threadpoolctl import threadpool_limits
from torch import nn

from headstart.config import PhaseConfig
from headstart.data.records import Record
from headstart.errors import ConfigError
from headstart.model.stages import cut
from headstart.training.features import PhaseFeatures

STRENGTHS: Final = tuple(10.0**exponent for exponent in np.arange(0, -5.1, -0.5))
"""Penalties that are tried, strongest first, for features scaled to a mean variance of one."""

_NUM_FOLDS: Final = 5
_STEPS_PER_STRENGTH: Final = 15
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
    layers = [m for m in suffix.modules() if not list(m.children()) and not isinstance(m, nn.Dropout)]
    return layers[0] if len(layers) == 1 and isinstance(layers[0], nn.Linear) else None


def head_inputs(network: nn.Module) -> int | None:
    """Return how many inputs the network's head has if it can be solved, else None."""
    layer = linear_head(cut(network, "head")[1])
    return layer.in_features if layer else None


def refuse_impossible_phases(network: nn.Module, phases: Iterable[PhaseConfig]) -> None:
    """Check that each phase's stage exists, and that what it wants solved can be.

    Raises:
        UnknownBackboneError: There is no such stage.
        ConfigError: The exact optimiser is asked for more than one linear layer.
    """
    for phase in phases:
        _, suffix = cut(network, phase.unfreeze)
        if phase.optimizer == "exact" and linear_head(suffix) is None:
            raise ConfigError(
                [
                    f"phase {phase.name!r} has optimizer = 'exact', which solves one linear layer, and "
                    f"unfreezes {', '.join(suffix.names)}. Set unfreeze = 'head', or use adam or adamw."
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
    rows = np.stack(list(features.training.rows((records[i], view) for i, view in photos)))
    index = np.array([i for i, _ in photos])
    labels = np.array([record.label for record in records])[index]
    solved = solve_head(rows, labels, index, layer.out_features)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(solved.weight))
        if layer.bias is not None:
            layer.bias.copy_(torch.from_numpy(solved.bias))
    return solved


def solve_head(features: np.ndarray, labels: np.ndarray, photos: np.ndarray, num_classes: int) -> SolvedHead:
    """Find the linear head of least penalised cross entropy.

    Args:
        features: (N, D) float32, one row per photo and view.
        labels: (N,) class indices.
        photos: (N,) which photo a row is a view of; a photo's views stay in one fold.
        num_classes: K.
    """
    # In one thread: these products are too small to share, and bits must not depend on the number of cores.
    with threadpool_limits(1, "blas"):
        return _solve(features, labels, photos, num_classes)


def _solve(features: np.ndarray, labels: np.ndarray, photos: np.ndarray, num_classes: int) -> SolvedHead:
    mean = features.mean(0, dtype=np.float64)
    scale = 1 / np.sqrt(np.mean((features - mean) ** 2, dtype=np.float64) + 1e-12)
    rotated, to_features, variances = _rotate((features - mean) * scale)
    targets = np.eye(num_classes)[labels]
    folds = _folds(labels, photos)

    # All folds are solved at once, as one problem with a block of weights for each.
    problem = _Problem(rotated, targets, np.stack([folds != fold for fold in range(_NUM_FOLDS)]), variances)
    losses = []
    for strength in STRENGTHS:  # from strong to weak, each beginning where the last one ended
        problem.solve(strength, _STEPS_PER_STRENGTH)
        losses.append(problem.left_out_loss())
        if losses[-1] > 1.1 * min(losses):
            break
    best = int(np.argmin(losses))
    final = _Problem(rotated, targets, np.ones((1, len(labels)), bool), variances)
    final.solve(STRENGTHS[best], _STEPS_AT_THE_END)
    weight = (to_features @ final.weights[0]).T * scale
    bias = final.biases[0] - weight @ mean
    return SolvedHead(weight.astype(np.float32), bias.astype(np.float32), STRENGTHS[best], losses[best])


def _rotate(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Turn features onto their principal axes, so that the problem is small and well conditioned.

    Returns:
        The features there (N, R), R at most min(N, D); the rotation back (D, R); variances there (R,).
    """
    n, d = x.shape
    values, vectors = np.linalg.eigh(x @ x.T if n < d else x.T @ x)
    kept = values > values[-1] * 1e-9
    values, vectors = values[kept], vectors[:, kept]
    axes = (x.T @ vectors) / np.sqrt(values) if n < d else vectors
    return x @ axes, axes, values / n


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


class _Problem:
    """F logistic regressions on the same features, each on its own rows."""

    def __init__(self, x: np.ndarray, targets: np.ndarray, rows: np.ndarray, variances: np.ndarray) -> None:
        self.x, self.targets, self.variances = x, targets, variances
        self.rows = rows  # (F, N)
        self.row_weights = rows / rows.sum(1, keepdims=True)
        num_folds, num_classes = len(rows), targets.shape[1]
        self.weights = np.zeros((num_folds, x.shape[1], num_classes))
        self.biases = np.zeros((num_folds, num_classes))

    def solve(self, strength: float, max_steps: int) -> None:
        """Minimise from where the weights are now."""
        # The curvature along an axis is its variance times the mean of p(1 - p), plus the penalty: dividing
        # by its root makes all directions nearly alike.
        p = np.exp(self._log_probabilities(self.weights, self.biases))
        curvature = float(np.mean(p * (1 - p)))
        precondition = 1 / np.sqrt(curvature * self.variances + strength)[None, :, None]
        shape, split = self.weights.shape, self.weights.size

        def objective(z: np.ndarray) -> tuple[float, np.ndarray]:
            weights = z[:split].reshape(shape) * precondition
            biases = z[split:].reshape(self.biases.shape)
            log_p = self._log_probabilities(weights, biases)
            residuals = (np.exp(log_p) - self.targets) * self.row_weights[..., None]
            loss = -np.einsum("fnk,nk,fn->", log_p, self.targets, self.row_weights)
            loss += 0.5 * strength * np.sum(weights**2)
            gradient = np.tensordot(self.x, residuals, (0, 1)).transpose(1, 0, 2) + strength * weights
            return loss, np.concatenate([(gradient * precondition).ravel(), residuals.sum(1).ravel()])

        start = np.concatenate([(self.weights / precondition).ravel(), self.biases.ravel()])
        z = minimize(
            objective,
            start,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": max_steps, "gtol": 1e-6, "ftol": 1e-9},
        ).x
        self.weights = z[:split].reshape(shape) * precondition
        self.biases = z[split:].reshape(self.biases.shape)

    def left_out_loss(self) -> float:
        """Mean cross entropy of each photo under the regression that has not seen it."""
        log_p = self._log_probabilities(self.weights, self.biases)
        of_true_class = np.einsum("fnk,nk->fn", log_p, self.targets)
        return float(-of_true_class[~self.rows].mean())

    def _log_probabilities(self, weights: np.ndarray, biases: np.ndarray) -> np.ndarray:
        num_folds, _, num_classes = weights.shape
        stacked = weights.transpose(1, 0, 2).reshape(-1, num_folds * num_classes)
        logits = (self.x @ stacked).reshape(-1, num_folds, num_classes).transpose(1, 0, 2)  # (F, N, K)
        return np.asarray(log_softmax(logits + biases[:, None, :], axis=2))
