"""Classes of features that have one covariance, and the distances of photos from them.

Everything follows from inner products, which are computed once for all folds: those of photos if there are
fewer photos than values in a row, otherwise those of columns.
"""

from __future__ import annotations

import math
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True, eq=False)
class Classes:
    """Classes that have one covariance.

    Attributes:
        means: (K, D) float64, of the classes that have photos.
        axes: (R, D) float64, principal directions of the covariance.
        shares: (R,), 1 - (variance of other directions) / (variance along this one), 0..1.
        variance: Variance along all other directions.
    """

    means: np.ndarray
    axes: np.ndarray
    shares: np.ndarray
    variance: float


def fit_classes(rows: np.ndarray, labels: np.ndarray, rank: int) -> Classes:
    """Describe classes.

    Args:
        rows: (N, D) float64.
        labels: (N,) ints, classes.
        rank: Largest number of principal directions.
    """
    index = _classes_of(labels)
    means = _means(rows, index)
    centred = (rows - means[index]) / math.sqrt(_degrees(rows, means))
    is_wide = rows.shape[0] < rows.shape[1]
    spread = _Spread.of(
        centred @ centred.T if is_wide else centred.T @ centred,
        np.square(centred).sum(1),
        rows.shape[1],
        rank,
    )
    axes = spread.vectors.T
    if is_wide:
        axes = axes @ centred / np.sqrt(spread.values)[:, None]
    return Classes(means, axes, spread.shares, spread.variance)


def distances_out_of_fold(
    rows: np.ndarray, labels: np.ndarray, fold: np.ndarray, rank: int, threads: Executor
) -> np.ndarray:
    """Return the squared Mahalanobis distance of each photo from the nearest class, (N,).

    The classes are those that the other folds describe, because photos are closer to classes that they helped
    to describe.

    Args:
        rows: (N, D) float64.
        labels: (N,) ints, classes.
        fold: (N,) ints, at least two different ones.
        rank: Largest number of principal directions.
        threads: The folds are computed at the same time.
    """
    is_wide = rows.shape[0] < rows.shape[1]
    products = rows @ rows.T if is_wide else rows.T @ rows
    distances = np.empty(len(rows))

    def measure(each: int) -> None:
        rest, apart = np.flatnonzero(fold != each), np.flatnonzero(fold == each)
        if is_wide:
            distances[apart] = _by_products_of_photos(products, labels, rest, apart, rows.shape[1], rank)
        else:
            distances[apart] = _by_products_of_columns(products, rows, labels, rest, apart, rank)

    list(threads.map(measure, np.unique(fold).tolist()))
    return distances


def _by_products_of_columns(
    products: np.ndarray, rows: np.ndarray, labels: np.ndarray, rest: np.ndarray, apart: np.ndarray, rank: int
) -> np.ndarray:
    """Return the distances of some photos from the classes of the others, by the products of all columns."""
    known, others = rows[rest], rows[apart]
    index = _classes_of(labels[rest])
    means = _means(known, index)
    num_of_class = np.bincount(index)
    within = products - others.T @ others - (means.T * num_of_class) @ means
    norms = np.square(known).sum(1) - 2 * (known * means[index]).sum(1) + np.square(means).sum(1)[index]
    degrees = _degrees(known, means)
    spread = _Spread.of(within / degrees, norms / degrees, rows.shape[1], rank)
    whole = np.square(others).sum(1)[:, None] - 2 * others @ means.T + np.square(means).sum(1)
    return spread.nearest(whole, spread.vectors.T @ others.T, spread.vectors.T @ means.T)


def _by_products_of_photos(
    products: np.ndarray, labels: np.ndarray, rest: np.ndarray, apart: np.ndarray, width: int, rank: int
) -> np.ndarray:
    """Return the distances of some photos from the classes of the others, by the products of all photos."""
    index = _classes_of(labels[rest])
    known, others = products[np.ix_(rest, rest)], products[np.ix_(rest, apart)]
    by_mean, others_by_mean = _means(known, index), _means(others, index)  # (K, N), (K, M)
    of_means = _means(by_mean.T, index)  # (K, K)
    # Products of photos without the means of their classes: (a - m) (b - n) = ab - mb - na + mn.
    within = (known - by_mean[index]) - (by_mean.T - of_means[index])[:, index]
    degrees = _degrees(rest, of_means)
    spread = _Spread.of(within / degrees, within.diagonal() / degrees, width, rank)
    to_axes = spread.vectors.T / np.sqrt(spread.values * degrees)[:, None]
    whole = products[apart, apart][:, None] - 2 * others_by_mean.T + of_means.diagonal()
    others_inside = to_axes @ (others - others_by_mean[index])
    return spread.nearest(whole, others_inside, to_axes @ (by_mean.T - of_means[index]))


class _Spread(NamedTuple):
    """What one covariance is like.

    Attributes:
        values: (R,), its largest variances.
        vectors: (S, R), their eigenvectors in the matrix that was given.
        shares, variance: As in ``Classes``.
    """

    values: np.ndarray
    vectors: np.ndarray
    shares: np.ndarray
    variance: float

    @classmethod
    def of(cls, matrix: np.ndarray, norms: np.ndarray, width: int, rank: int) -> _Spread:
        """Describe a covariance.

        Args:
            matrix: (S, S), the covariance, or the products of the centred photos, which have the same
                eigenvalues but for zeros.
            norms: (N,), squared norms of the centred photos.
            width: D.
            rank: Largest number of directions.
        """
        values, vectors = np.linalg.eigh(matrix)
        values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
        kept = min(rank, int((values > 1e-9 * values[0]).sum()))
        shrinkage = _shrinkage(norms, values, width)
        rest = values[kept:].sum() / max(width - kept, 1)
        base = (1 - shrinkage) * rest + shrinkage * values.sum() / width
        along = (1 - shrinkage) * (values[:kept] - rest)
        return cls(values[:kept], vectors[:, :kept], np.maximum(along / (along + base), 0), float(base))

    def nearest(self, whole: np.ndarray, inside: np.ndarray, means: np.ndarray) -> np.ndarray:
        """Return the squared distances of photos from the nearest class, (M,).

        Args:
            whole: (M, K), their squared Euclidean distances from all classes.
            inside: (R, M), their positions along the directions.
            means: (R, K), those of the classes.
        """
        lengths = np.sqrt(self.shares)[:, None]
        inside, means = lengths * inside, lengths * means
        along = np.square(inside).sum(0)[:, None] - 2 * inside.T @ means + np.square(means).sum(0)
        return np.asarray((whole - along).min(1) / self.variance)


def _classes_of(labels: np.ndarray) -> np.ndarray:
    """Return the number of each photo's class among those that have photos, (N,)."""
    return np.asarray(np.unique(labels, return_inverse=True)[1])


def _means(rows: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Return the mean row of each class, (K, S)."""
    order = np.argsort(index, kind="stable")
    sizes = np.bincount(index)
    begin = np.cumsum(sizes) - sizes
    return np.asarray(np.add.reduceat(rows[order], begin) / sizes[:, None])


def _degrees(rows: np.ndarray, means: np.ndarray) -> int:
    """Return the degrees of freedom of the shared covariance."""
    return max(len(rows) - len(means), 1)


def _shrinkage(norms: np.ndarray, values: np.ndarray, width: int) -> float:
    """Return how far a covariance is to be shrunk towards one variance, 0..1 (Ledoit and Wolf).

    Args:
        norms: (N,), squared norms of centred photos; those of the photos sum up to the covariance.
        values: Its eigenvalues, but for zeros.
        width: D.
    """
    norm = float(np.square(values).sum())
    spread = float(np.square(norms).sum()) - norm / len(norms)
    apart = norm - float(values.sum()) ** 2 / width
    return float(np.clip(spread / apart, 0, 1)) if apart > 0 else 1.0
