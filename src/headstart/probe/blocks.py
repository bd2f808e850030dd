"""Chooses the stages of a backbone that a head reads: the last one alone, or earlier ones beside it.

Earlier stages hold texture and colour, which the last stage has given up for objects. They help with photos
of the kind that is trained on and may harm with others. The choice is made by closed-form cross-validation of
ridge regression, which takes a fraction of the time of solving a head for each choice.
Source: Evci et al. 2022, arXiv 2201.03529 (heads that read all stages).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from headstart.blas import one_blas_thread

WEIGHTS: Final = (0.5, 0.7)
"""Standard deviations of the two stages before the last one, relative to that of the last one."""

_MOST_ROWS: Final = 1000  # more do not make the choice more certain, and take time with their cube
_STRENGTHS: Final = tuple(10 ** (half / 2) for half in range(2, -7, -1))  # relative to the mean eigenvalue


@dataclass(frozen=True)
class Block:
    """Columns of the features that come from one stage.

    Attributes:
        name: Name of the stage.
        first, last: Its columns are ``first`` to ``last`` - 1.
        weight: Standard deviation of the block after scaling, over all columns.
    """

    name: str
    first: int
    last: int
    weight: float = 1.0


@dataclass(frozen=True)
class Reading:
    """What a head reads.

    Attributes:
        stages: Names of the stages before the last one that it reads, in their order; empty for none.
        first: First column that it reads.
        scale: (D,) float32, factors of the columns from ``first`` on; None if they are not scaled.
        errors: Mean squared error of ridge regression for each choice that was compared, by the stages joined
            with "+"; empty if nothing was compared.
    """

    stages: tuple[str, ...]
    first: int
    scale: np.ndarray | None = None
    errors: dict[str, float] | None = None

    def summary(self) -> dict[str, Any]:
        """Return the entries for ``metrics.json``."""
        if not self.errors and not self.stages:
            return {}
        errors = {_short(name): round(error, 6) for name, error in (self.errors or {}).items()}
        return {"stages": [_short(stage) for stage in self.stages], "stage_errors": errors}


def blocks_of(earlier: Sequence[tuple[str, int]], num_features: int) -> tuple[Block, ...]:
    """Return the blocks of a row that holds the outputs of earlier stages before the features.

    Args:
        earlier: Name and number of columns of each stage before the last, at most two.
        num_features: Number of columns of the last stage.
    """
    names = [*(name for name, _ in earlier), "last"]
    ends = np.cumsum([0, *(width for _, width in earlier), num_features]).tolist()
    weights = [*WEIGHTS[len(WEIGHTS) - len(earlier) :], 1.0]
    return tuple(map(Block, names, ends[:-1], ends[1:], weights))


def choose_blocks(
    features: np.ndarray,
    blocks: Sequence[Block],
    targets: np.ndarray,
    units: np.ndarray,
    min_blocks: int = 1,
) -> Reading:
    """Choose the blocks that a head reads, from the last one back.

    Each choice is scored by the squared errors of ridge regression for units that were left out, at its best
    penalty. The choice with the fewest blocks is taken whose mean error is within one standard error of the
    best choice's. Rows of a class that only one unit has are not compared, because nothing can be learned of
    the class without them. If nothing can be compared, the last block alone is taken.

    Args:
        features: (N, D) float32, the blocks side by side in their order.
        blocks: At least one; the last is that of the last stage.
        targets: (N,) class indices; or (N, K), labels of 0 and 1 or standardised numbers.
        units: (N,) ints; rows of the same unit are left out together.
        min_blocks: Smallest number of blocks that may be chosen.
    """
    labels = targets
    if targets.ndim == 1:
        targets = np.eye(int(targets.max()) + 1, dtype=np.float32)[targets]
    choices = range(len(blocks) - min_blocks, -1, -1)  # first block of each, the simplest choice first
    rows = some_rows(labels, units)
    units = np.unique(units[rows], return_inverse=True)[1]
    is_compared = np.ones(len(rows), bool)
    if labels.ndim == 1:
        of_class = np.unique(np.stack([labels[rows], units]), axis=1)[0]
        is_compared = np.bincount(of_class, minlength=len(targets[0]))[labels[rows]] > 1
    if len(choices) == 1 or len(np.unique(units[is_compared])) < 2:
        return _reading(features, blocks, choices[0], None)
    y = targets[rows].astype(np.float32)
    y = y - y.mean(0)
    of_choice: dict[int, np.ndarray] = {}
    with one_blas_thread():  # its bits depend on the number of threads
        kernel = np.zeros((len(rows), len(rows)), np.float32)
        for number in range(len(blocks) - 1, -1, -1):
            block = _scaled(features[rows], blocks[number])
            kernel += block @ block.T
            if number in choices:
                of_choice[number] = _left_out_errors(kernel, y, units, is_compared)
    means = {number: float(errors.mean()) for number, errors in of_choice.items()}
    best = min(choices, key=means.__getitem__)
    units = np.unique(units[is_compared], return_inverse=True)[1]
    chosen = next(each for each in choices if _is_as_good(of_choice[each], of_choice[best], units))
    errors = {_name(blocks, number): mean for number, mean in means.items()}
    return _reading(features, blocks, chosen, errors)


def _reading(
    features: np.ndarray, blocks: Sequence[Block], chosen: int, errors: dict[str, float] | None
) -> Reading:
    first = blocks[chosen].first
    stages = tuple(block.name for block in blocks[chosen:-1])
    if not stages:
        return Reading((), first, None, errors)
    scale = np.empty(blocks[-1].last - first, np.float32)
    for block in blocks[chosen:]:
        scale[block.first - first : block.last - first] = _scale_of(features, block)
    return Reading(stages, first, scale, errors)


def _short(name: str) -> str:
    return name.replace("stage.", "")


def _name(blocks: Sequence[Block], number: int) -> str:
    return "+".join(block.name for block in blocks[number:])


def _scale_of(features: np.ndarray, block: Block) -> float:
    """Return the factor that gives a block its weight as standard deviation, over all of its columns."""
    total = float(features[:, block.first : block.last].var(0, dtype=np.float64).sum())
    return block.weight / np.sqrt(total) if total > 0 else 1.0


def _scaled(features: np.ndarray, block: Block) -> np.ndarray:
    columns = features[:, block.first : block.last]
    centred = columns - columns.mean(0, dtype=np.float64).astype(np.float32)
    return np.asarray(centred * np.float32(_scale_of(features, block)))


def some_rows(targets: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Return the rows that choose the blocks: all, or an affordable number, of all targets and units alike.

    Args:
        targets: As for ``choose_blocks``.
        units: Likewise.

    Returns:
        Their numbers, ascending.
    """
    if len(units) <= _MOST_ROWS:
        return np.arange(len(units))
    if targets.ndim == 2:
        targets = targets.argmax(1) if targets.shape[1] > 1 else targets[:, 0]
    order = np.lexsort((units, targets))
    return np.sort(order[np.linspace(0, len(order) - 1, _MOST_ROWS).astype(int)])


def _left_out_errors(
    kernel: np.ndarray, y: np.ndarray, units: np.ndarray, is_compared: np.ndarray
) -> np.ndarray:
    """Return the squared errors of ridge regression for rows whose unit was left out, at the best penalty.

    Args:
        kernel: (N, N) float32, inner products of centred features.
        y: (N, K) float32, centred.
        units: (N,) ints from 0.
        is_compared: (N,) bool, the rows whose errors count, M of them.

    Returns:
        (M,) float64.
    """
    values, vectors = np.linalg.eigh(kernel)
    values = np.maximum(values, 0)
    rotated = vectors.T @ y
    order = np.argsort(units, kind="stable")
    ends = np.cumsum(np.bincount(units))
    shared = [part for part in np.split(order, ends[:-1]) if len(part) > 1]
    squares = np.square(vectors)
    best: np.ndarray | None = None
    for strength in _STRENGTHS:
        inverse = 1 / (values + np.float32(strength) * values.mean())
        dual = vectors @ (inverse[:, None] * rotated)
        diagonal = squares @ inverse
        residuals = dual / diagonal[:, None]
        for part in shared:  # left out together: the block of the inverse in place of its diagonal
            block = (vectors[part] * inverse) @ vectors[part].T
            residuals[part] = np.linalg.solve(block, dual[part])
        errors = np.square(residuals[is_compared], dtype=np.float64).sum(1)
        if best is None or errors.mean() < best.mean():
            best = errors
    assert best is not None
    return best


def _is_as_good(errors: np.ndarray, best: np.ndarray, units: np.ndarray) -> bool:
    """Return whether mean errors differ from the best choice's by one standard error, over units, at most."""
    difference = errors - best
    sizes, sums = np.bincount(units), np.bincount(units, difference)
    mean = difference.mean()
    deviations = sums - sizes * mean
    number = len(sizes)
    standard_error = np.sqrt(np.square(deviations).sum() * number / (number - 1)) / len(errors)
    return bool(mean <= standard_error)
