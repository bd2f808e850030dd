"""Folds of a cross-validation, which are stratified and keep units together."""

from __future__ import annotations

from typing import Final

import numpy as np

NUM_FOLDS: Final = 5

_MOST_BINS: Final = 10  # parts of a number's range that are dealt each for itself


def deal_folds(strata: np.ndarray, units: np.ndarray, num_folds: int = NUM_FOLDS) -> np.ndarray:
    """Distribute units to folds so that each fold has about the same number of rows of each stratum.

    Units are processed from the largest to the smallest, and those of the same size from the rarest strata.
    Each is assigned to the fold with the fewest rows of its strata; of several such folds, to the smallest.
    If units have one class and one size, this distributes the units of each class in turn; if rows have
    several labels, it is iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011).

    Args:
        strata: (N,) class indices; or (N, S) bool, the strata of each row.
        units: (N,) ints; rows of the same unit stay in one fold.
        num_folds: Largest number of folds.

    Returns:
        (N,), the fold of each row, counted from 0. There are fewer folds if there are fewer units.
    """
    names, unit_of_row = np.unique(units, return_inverse=True)
    num_folds = max(1, min(num_folds, len(names)))
    rows, of_row = np.nonzero(strata) if strata.ndim == 2 else (np.arange(len(strata)), strata)
    sizes, stratum_sizes = np.bincount(unit_of_row), np.bincount(of_row)
    pairs, counts = np.unique(np.stack([unit_of_row[rows], of_row], 1), axis=0, return_counts=True)
    rarest = np.full(len(names), len(strata))
    if strata.ndim == 2:  # where there is one, the order of strata makes no difference
        np.minimum.at(rarest, pairs[:, 0], stratum_sizes[pairs[:, 1]])
    ends = np.searchsorted(pairs[:, 0], np.arange(len(names) + 1))  # of the pairs of each unit
    of_strata: list[int] = stratum_sizes.tolist()
    in_fold = np.zeros((num_folds, len(of_strata)), int).tolist()
    totals = [0] * num_folds
    fold_of = np.empty(len(names), int)
    for unit in np.lexsort((rarest, -sizes)):
        own = slice(ends[unit], ends[unit + 1])
        strata_of = [*zip(pairs[own, 1].tolist(), counts[own].tolist(), strict=True)]
        # What the squares of the counts grow by, relative to each stratum's size: a rare one counts as much.
        costs = [
            (sum(num * of_fold[stratum] / of_strata[stratum] for stratum, num in strata_of), total)
            for of_fold, total in zip(in_fold, totals, strict=True)
        ]
        fold = min(range(num_folds), key=costs.__getitem__)
        fold_of[unit] = fold
        totals[fold] += int(sizes[unit])
        for stratum, num in strata_of:
            in_fold[fold][stratum] += num
    return fold_of[unit_of_row]


def strata_of_labels(targets: np.ndarray) -> np.ndarray:
    """Return the strata of rows with labels, (N, K + 1) bool: each label, and no label at all."""
    has = targets > 0.5
    return np.concatenate([has, ~has.any(1, keepdims=True)], 1)


def strata_of_numbers(targets: np.ndarray, num_units: int, num_folds: int = NUM_FOLDS) -> np.ndarray:
    """Return the strata of rows with numbers, (N, K × bins) bool: the range that contains each number.

    Args:
        targets: (N, K) numbers.
        num_units: Number of units; each range contains about as many units as there are folds, or more.
        num_folds: Number of folds.
    """
    num_bins = min(max(num_units // num_folds, 1), _MOST_BINS)
    limits = np.quantile(targets, np.arange(1, num_bins) / num_bins, axis=0, method="lower")
    bins = (targets[:, None] >= limits[None]).sum(1)  # (N, K)
    return np.asarray(bins[:, :, None] == np.arange(num_bins)).reshape(len(targets), -1)
