"""The head, solved: multinomial logistic regression with L2, its strength chosen by cross-validation.

With the features at hand, training a linear head is a convex problem with one solution, found in less time
than a few epochs of stochastic steps take. What has to be chosen is the strength of the L2 penalty;
cross-validation on the training photos chooses it, so that the validation photos stay unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeAlias, TypedDict, TypeGuard

import numpy as np
import torch
import torch.nn.functional as F
from scipy.linalg import eigh
from scipy.linalg.blas import dsyrk
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits
from torch import nn
from torch.func import functional_call

from headstart.config import PhaseConfig
from headstart.cores import num_cores
from headstart.data.records import Record
from headstart.data.split import unit_names
from headstart.errors import ConfigError, TrainingError, UnknownBackboneError
from headstart.model.stages import cut, holds_own_forward
from headstart.recipe import solving_bytes
from headstart.training.features import PhaseFeatures

STRENGTHS: Final = tuple(10 ** (-half / 2) for half in range(11))
"""Penalties that are tried, strongest first, for features scaled to a mean variance of one."""

NUM_FOLDS: Final = 5

_STEPS_PER_STRENGTH: Final = 10
_STEPS_AT_THE_END: Final = 300
_BLOCK_NUMBERS: Final = (2**16, 2**20)  # least and most; rows are taken in blocks, so that copies are small
_MOST_CORRECTIONS: Final = 10  # pairs of vectors that L-BFGS remembers, scipy's default


Precision: TypeAlias = type[np.float32] | type[np.float64]


class HeadSummary(TypedDict):
    """What ``metrics.json`` records of a solved head: see ``SolvedHead``."""

    penalty: float
    cv_loss: float | None
    cv_accuracy: float | None


@dataclass(frozen=True)
class SolvedHead:
    """A linear layer, and how it was found.

    Attributes:
        weight: (K, D) float32.
        bias: (K,) float32.
        strength: The penalty that was chosen.
        cv_loss: Mean cross entropy, at that penalty, of the rows of each fold under the head that was trained
            without them. Only rows of classes that other folds have too are scored; None if there are none.
        cv_accuracy: Fraction of the same rows that were classified correctly, 0..1, or None.
        num_folds: Number of folds; 1 if the photos cannot be divided.
    """

    weight: np.ndarray
    bias: np.ndarray
    strength: float
    cv_loss: float | None
    cv_accuracy: float | None
    num_folds: int

    def summary(self) -> HeadSummary:
        """Return what ``metrics.json`` records of it."""
        return {"penalty": self.strength, "cv_loss": self.cv_loss, "cv_accuracy": self.cv_accuracy}


def linear_head(suffix: nn.Module) -> nn.Linear | None:
    """Return the suffix's linear layer if that, behind dropout at most, is all it is."""
    if any(holds_own_forward(module) for module in suffix.modules()):
        return None  # which may do more than its layers say
    layers = [m for m in suffix.modules() if not list(m.children()) and not isinstance(m, nn.Dropout)]
    return layers[0] if len(layers) == 1 and _is_plain_linear(layers[0]) else None


def _is_plain_linear(layer: nn.Module) -> TypeGuard[nn.Linear]:
    """Tell whether a layer computes what its weight and bias say, and nothing else.

    Subclasses may normalise, hooks may scale; PyTorch's older weight_norm computes the weight in a hook.
    """
    if not isinstance(layer, nn.Linear) or layer._forward_hooks or layer._forward_pre_hooks:
        return False
    if type(layer) is nn.Linear:
        return "forward" not in vars(layer)
    # Other weights than its own, for those of a new head are zeros, which hide what is done with them.
    generator = torch.Generator().manual_seed(0)
    given = {
        name: torch.randn(each.shape, generator=generator).to(each)
        for name, each in layer.named_parameters()
        if name in ("weight", "bias")
    }
    inputs = torch.randn(2, layer.in_features, generator=generator).to(layer.weight)
    with torch.no_grad():
        expected = F.linear(inputs, given["weight"], given.get("bias"))
        try:
            return torch.allclose(functional_call(layer, given, (inputs,)), expected, rtol=1e-3, atol=1e-4)
        except Exception:  # whatever a layer of somebody's own raises
            return False


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
                    f"{', '.join(suffix.names)}. "
                    + (
                        "This network's head is not one plain nn.Linear: use adam, adamw or sgd."
                        if suffix.names == ["head"]
                        else "Set unfreeze = 'head', or use adam, adamw or sgd."
                    )
                ]
            )


def fit_head(suffix: nn.Module, features: PhaseFeatures, records: Sequence[Record]) -> SolvedHead:
    """Solve a phase's linear head on all its views and put the solution into the network.

    Photos of one group, identical photos and all views of a photo stay in one fold of the cross-validation.

    Args:
        suffix: The head, as ``linear_head`` accepts it; changed in place.
        features: Of the phase.
        records: The training photos.

    Raises:
        TrainingError: The memory does not suffice, or the features are too large for any solution.
        DataError: The features of some photos are not finite.
    """
    layer = linear_head(suffix)
    assert layer is not None  # the configuration has been checked
    photos = [(i, view) for view in features.views for i in range(len(records))]
    index = np.array([i for i, _ in photos])
    labels = np.array([record.label for record in records])[index]
    numbers: dict[str, int] = {}  # of the units that must not be divided, in the order of the photos
    units = np.array([numbers.setdefault(name, len(numbers)) for name in unit_names(records)])[index]
    try:
        inputs = np.empty((len(photos), layer.in_features), np.float32)  # filled in place: one copy
        rows = features.rows((records[i], view) for i, view in photos)
        for place, row in enumerate(rows):
            inputs[place] = row
        solved = solve_head(inputs, labels, units, layer.out_features)
    except MemoryError as error:
        num_bytes = solving_bytes(len(photos), layer.in_features, layer.out_features)
        raise TrainingError(
            f"Solving the head takes about {num_bytes / 1e9:.1f} GB of memory ({len(photos):,} rows of "
            f"{layer.in_features:,} features, {layer.out_features:,} classes), which are not available. "
            f"Train it in steps instead: a recipe file with optimizer = 'adam' in phase "
            f"{features.phase.name!r}."
        ) from error
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(solved.weight))
        if layer.bias is not None:
            layer.bias.copy_(torch.from_numpy(solved.bias))
    return solved


def solve_head(
    features: np.ndarray,
    labels: np.ndarray,
    units: np.ndarray,
    num_classes: int,
    *,
    num_threads: int | None = None,
) -> SolvedHead:
    """Find the linear head of least penalised cross entropy.

    Takes at most about six times the memory of ``features``, them included, as long as there are some twenty
    rows per class; ``recipe.solving_bytes`` estimates it for any shape.

    Args:
        features: (N, D) float32, one row per photo and view; not changed.
        labels: (N,) class indices.
        units: (N,) ints; rows of the same unit stay in one fold: views of a photo, identical photos, a group.
        num_classes: K.
        num_threads: By default one per core; the solution has the same bits with any number.

    Raises:
        TrainingError: The features are not finite.
    """
    # BLAS in one thread: its bits depend on how many it has. The folds are what is done at the same time.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(num_threads or num_cores()) as threads:
        return _solve(features, labels, units, num_classes, threads, num_threads or num_cores())


def deal_folds(labels: np.ndarray, units: np.ndarray, num_folds: int = NUM_FOLDS) -> np.ndarray:
    """Deal units to folds so that each fold has about the same number of rows of each class.

    The largest units come first, each to the fold that has the fewest rows of its classes, and of several
    such folds to the smallest. Where each unit is of one class and all are of one size, that deals the units
    of each class in turn.

    Args:
        labels: (N,) class indices.
        units: (N,) ints; rows of the same unit stay in one fold.
        num_folds: At most.

    Returns:
        (N,) folds, counted from 0; as many as there are units if these are fewer than ``num_folds``.
    """
    names, unit_of_row = np.unique(units, return_inverse=True)
    num_folds = max(1, min(num_folds, len(names)))
    sizes = np.bincount(unit_of_row)
    class_sizes = np.bincount(labels)
    pairs, counts = np.unique(np.stack([unit_of_row, labels], 1), axis=0, return_counts=True)
    classes_of: dict[int, list[tuple[int, int]]] = {}
    for (unit, label), number in zip(pairs.tolist(), counts.tolist(), strict=True):
        classes_of.setdefault(unit, []).append((label, number))
    in_fold = np.zeros((num_folds, len(class_sizes)), int).tolist()
    totals = [0] * num_folds
    fold_of = np.empty(len(names), int)
    for unit in np.argsort(-sizes, kind="stable").tolist():
        # What the squares of the counts grow by, relative to each class's size: a rare class counts as much.
        costs = [
            (sum(number * counts[label] / class_sizes[label] for label, number in classes_of[unit]), total)
            for counts, total in zip(in_fold, totals, strict=True)
        ]
        fold = min(range(num_folds), key=costs.__getitem__)
        fold_of[unit] = fold
        totals[fold] += int(sizes[unit])
        for label, number in classes_of[unit]:
            in_fold[fold][label] += number
    return fold_of[unit_of_row]


def _solve(
    features: np.ndarray,
    labels: np.ndarray,
    units: np.ndarray,
    num_classes: int,
    threads: Executor,
    num_threads: int,
) -> SolvedHead:
    folds = deal_folds(labels, units)
    # In the order of the folds, so that all folds but one are two slices, not a copy.
    order = np.argsort(folds, kind="stable")
    x, back = _rotate(features, order)
    labels, folds = labels[order], folds[order]
    n, num_folds = len(labels), int(folds[-1]) + 1
    edges = np.searchsorted(folds, range(num_folds + 1)).tolist()
    in_all = np.bincount(labels, minlength=num_classes)
    corrections, num_at_once = _affordable(x, num_classes, num_threads)

    # A class that no other fold has cannot be told there, so its rows say nothing about the penalty.
    scored = []
    for first, last in pairwise(edges):
        of_fold = labels[first:last]
        elsewhere = in_all - np.bincount(of_fold, minlength=num_classes)
        scored.append(first + np.flatnonzero(elsewhere[of_fold] > 0))
    folds_to_solve = [fold for fold in range(num_folds) if len(scored[fold])]
    num_scored = sum(map(len, scored))
    zeros = np.zeros((x.shape[1] + 1, num_classes), np.float32)
    solutions = [zeros] * len(folds_to_solve)

    def solve_without(fold: int, start: np.ndarray, strength: float) -> tuple[np.ndarray, float, int]:
        """The solution for all other folds; its cross entropy and number of right answers in this one."""
        first, last = edges[fold], edges[fold + 1]
        others = (slice(0, first), slice(last, n))
        # Choosing the penalty does not need the last digits: half as many take half the time.
        solution = _minimise(x, labels, others, start, strength, _STEPS_PER_STRENGTH, corrections)
        loss, num_right = 0.0, 0
        for part in _blocks([slice(0, len(scored[fold]))], sum(zeros.shape), x.size):
            rows = scored[fold][part]
            log_p = _log_probabilities(x[rows], solution)
            loss -= float(log_p[np.arange(len(rows)), labels[rows]].sum(dtype=np.float64))
            num_right += int((log_p.argmax(1) == labels[rows]).sum())
        return solution.astype(np.float32), loss, num_right

    best, start = STRENGTHS[0], zeros  # the strongest, where cross-validation is not possible
    losses: list[float] = []
    best_accuracy = None
    for strength in STRENGTHS if num_scored else ():  # each begins where the one before it, a stronger, ended
        found: list[tuple[np.ndarray, float, int]] = []
        for i in range(0, len(folds_to_solve), num_at_once):
            together = slice(i, i + num_at_once)
            starts = solutions[together]
            found += threads.map(solve_without, folds_to_solve[together], starts, [strength] * len(starts))
        solutions = [solution for solution, _, _ in found]
        losses.append(sum(loss for _, loss, _ in found) / num_scored)
        if losses[-1] == min(losses):
            best, start = strength, np.mean(solutions, 0)
            best_accuracy = sum(num_right for _, _, num_right in found) / num_scored
        elif losses[-1] > 1.1 * min(losses):
            break
    del solutions
    everything = (slice(0, n),)
    # In a thread that has solved folds, because its allocator reuses the memory that they have freed.
    solution = threads.submit(
        _minimise, x, labels, everything, start, best, _STEPS_AT_THE_END, corrections, np.float64
    ).result()
    weight = back.weights(solution[:-1]).T
    bias = solution[-1] - weight @ back.mean
    cv_loss = min(losses) if losses else None
    return SolvedHead(
        weight.astype(np.float32), bias.astype(np.float32), best, cv_loss, best_accuracy, num_folds
    )


def _affordable(x: np.ndarray, num_classes: int, num_threads: int) -> tuple[int, int]:
    """How much of L-BFGS' memory to use, by the size of the features alone, and how many folds at once.

    Only the former changes bits, so it does not depend on the number of threads.
    """
    num_bytes = 8 * (x.shape[1] + 1) * num_classes  # of one vector
    allowed = max(x.nbytes // 2, 2**21)
    corrections = min(max(allowed // (2 * num_bytes), 3), _MOST_CORRECTIONS)
    num_at_once = 2 * allowed // ((2 * corrections + 20) * num_bytes)
    return corrections, min(max(num_at_once, 1), num_threads, NUM_FOLDS)


@dataclass(frozen=True)
class _WayBack:
    """What turns weights (R, K) for rotated features into weights (D, K) for the features as they are."""

    mean: np.ndarray
    weights: Callable[[np.ndarray], np.ndarray]


def _rotate(features: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, _WayBack]:
    """Turn features onto their principal axes, so that the problem is small and well conditioned.

    No centred copy of the features is made: they are taken block by block.

    Args:
        features: (N, D) float32.
        order: (N,) in which the rows are wanted.

    Returns:
        The centred and scaled features there, (N, R) float32, R at most min(N, D), and the way back.

    Raises:
        TrainingError: Features are not finite.
    """
    n, d = features.shape
    mean = features.mean(0, dtype=np.float64)
    if not np.isfinite(mean).all():
        raise TrainingError(f"{np.sum(~np.isfinite(mean))} of {d} features are not finite (NaN or infinite).")
    is_wide = n < d
    products = np.zeros((min(n, d),) * 2, order="F")
    # Of wide features the columns, else the rows: (N, block) or (block, D) float64.
    for part in _blocks([slice(0, max(n, d))], min(n, d), features.size):
        centred = features[:, part] - mean[part] if is_wide else features[part] - mean
        # Adds centred @ centred.T (wide), or centred.T @ centred, to the lower triangle, in place.
        products = dsyrk(1.0, centred.T, beta=1.0, c=products, trans=is_wide, lower=True, overwrite_c=True)
    scale = 1 / np.sqrt(np.trace(products) / (n * d) + 1e-12)
    # The driver that needs no more memory than what it is given and what it returns.
    values, vectors = eigh(products, overwrite_a=True, check_finite=False, driver="evr")
    del products
    kept = int(np.searchsorted(values, values[-1] * 1e-9, side="right"))
    values, vectors = values[kept:], vectors[:, kept:]
    x = np.empty((n, len(values)), np.float32)
    if is_wide:  # the axes are centred.T @ vectors / lengths, and nobody needs them
        lengths = np.sqrt(values)
        for part in _blocks([slice(0, n)], len(values), x.size):
            x[part] = vectors[order[part]] * (lengths * scale)

        def to_wide(w: np.ndarray) -> np.ndarray:
            dual = vectors @ (w * (scale / lengths)[:, None])
            weights = np.empty((d, w.shape[1]))
            for part in _blocks([slice(0, d)], n, features.size):
                weights[part] = (features[:, part] - mean[part]).T @ dual
            return weights

        return x, _WayBack(mean, to_wide)
    for part in _blocks([slice(0, n)], d, features.size):
        np.multiply((features[order[part]] - mean) @ vectors, scale, out=x[part], casting="same_kind")
    return x, _WayBack(mean, lambda w: vectors @ (w * scale))


def _blocks(parts: Sequence[slice], width: int, total: int) -> Iterator[slice]:
    """Divide ranges of rows into blocks that are small beside the whole.

    Args:
        parts: The ranges.
        width: Numbers per row.
        total: Numbers in the whole.
    """
    least, most = _BLOCK_NUMBERS
    size = max(min(max(total // 8, least), most) // max(width, 1), 16)
    for part in parts:
        for first in range(part.start, part.stop, size):
            yield slice(first, min(first + size, part.stop))


def _minimise(
    x: np.ndarray,
    labels: np.ndarray,
    parts: Sequence[slice],
    start: np.ndarray,
    strength: float,
    max_steps: int,
    corrections: int,
    dtype: Precision = np.float32,
) -> np.ndarray:
    """Return the head of least penalised cross entropy: weights and, in the last row, biases.

    Args:
        x: (N, R) float32.
        labels: (N,) class indices.
        parts: The rows that count.
        start: (R + 1, K).
        strength: Penalty.
        max_steps: Of L-BFGS.
        corrections: Pairs of vectors that L-BFGS remembers.
        dtype: What the rows of a block are computed in; sums over blocks are float64.
    """
    n, shape = sum(part.stop - part.start for part in parts), start.shape
    blocks = list(_blocks(parts, sum(shape), x.size))

    # Dividing by the root of the second derivatives along each direction makes all of them nearly alike.
    curvature = np.zeros(shape)
    for block in blocks:
        rows = x[block].astype(dtype, copy=False)
        p = np.exp(_log_probabilities(rows, start))
        p *= 1 - p
        curvature[:-1] += (rows**2).T @ p
        curvature[-1] += p.sum(0, dtype=np.float64)
    curvature /= n
    curvature[:-1] += strength
    curvature[-1] += 1e-3
    precondition = 1 / np.sqrt(curvature, out=curvature)
    del curvature

    def objective(z: np.ndarray) -> tuple[float, np.ndarray]:
        head = z.reshape(shape) * precondition
        gradient = np.zeros(shape)
        loss = 0.0
        for block in blocks:
            rows, of_block = x[block].astype(dtype, copy=False), labels[block]
            log_p = _log_probabilities(rows, head)
            of_true_class = np.arange(len(rows)), of_block
            loss -= float(log_p[of_true_class].sum(dtype=np.float64))
            residuals = np.exp(log_p, out=log_p)
            residuals[of_true_class] -= 1
            gradient[:-1] += (residuals.T @ rows).T
            gradient[-1] += residuals.sum(0, dtype=np.float64)
        gradient /= n
        gradient[:-1] += strength * head[:-1]
        gradient *= precondition
        return loss / n + 0.5 * strength * float(np.vdot(head[:-1], head[:-1])), gradient.ravel()

    z = minimize(
        objective,
        (start / precondition).ravel(),
        jac=True,
        method="L-BFGS-B",
        options={
            "maxiter": max_steps,
            "maxcor": corrections,
            "gtol": 1e-6,
            "ftol": 1e-9 if dtype == np.float64 else 1e-6,
        },
    ).x
    return np.asarray(z.reshape(shape) * precondition)


def _log_probabilities(x: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Log of the softmax, (N, K), in x's precision."""
    logits = x @ head[:-1].astype(x.dtype) + head[-1].astype(x.dtype)
    logits -= logits.max(1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(1, keepdims=True))
    return np.asarray(logits)
