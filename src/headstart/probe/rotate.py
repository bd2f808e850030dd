"""Rotates features to their principal axes, for an equivalent problem that is small and well conditioned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeGuard

import numpy as np

from headstart.errors import TrainingError
from headstart.probe.file_rows import FileRows

Precision: TypeAlias = type[np.float32] | type[np.float64]

Rows: TypeAlias = np.ndarray | FileRows
"""(N, D) float32, read in blocks of rows."""

_BLOCK_NUMBERS: Final = (2**16, 2**20)  # least and most; rows are taken in blocks, so that copies are small

_LEAST_VARIANCE: Final = 1e-9  # relative to the largest direction's; what is below is rounding


@dataclass(frozen=True)
class WayBack:
    """Converts a head for rotated features into a head for the original features.

    Attributes:
        mean: (D,) float64, mean of the features.
        weights: Function from weights (R, K) to weights (D, K), float64.
    """

    mean: np.ndarray
    weights: Callable[[np.ndarray], np.ndarray]


def rotate(features: Rows, order: np.ndarray) -> tuple[Rows, WayBack]:
    """Centre features, scale them to a mean variance of one, and rotate them to their principal axes.

    The features are processed block by block, without a centred copy.

    Args:
        features: (N, D) float32.
        order: (N,), the order of the rows in the result.

    Returns:
        The rotated features, (N, R) float32, in a file if the features are, R at most min(N, D); and the way
        back.

    Raises:
        TrainingError: The features are not finite.
    """
    n, d = features.shape
    mean = np.zeros(d)
    for part in blocks([slice(0, n)], d, features.size):
        mean += features[part].sum(0, dtype=np.float64)
    mean /= n
    if not np.isfinite(mean).all():
        raise TrainingError(
            f"{np.sum(~np.isfinite(mean))} of {len(mean)} features are not finite (NaN or infinite)."
        )
    values, vectors, scale = _principal(features, mean)
    if isinstance(features, FileRows):
        x: Rows = features.empty((n, len(values)))
    else:
        x = np.empty((n, len(values)), np.float32)
    if _is_wide(features):
        # The axes are centred.T @ vectors / lengths, and nobody needs them.
        lengths = np.sqrt(values)
        for part in blocks([slice(0, n)], len(values), x.size):
            x[part] = vectors[order[part]] * (lengths * scale)

        def to_wide(w: np.ndarray) -> np.ndarray:
            dual = vectors @ (w * (scale / lengths)[:, None])
            weights = np.empty((d, w.shape[1]))
            for part in blocks([slice(0, d)], n, features.size):
                weights[part] = (features[:, part] - mean[part]).T @ dual
            return weights

        return x, WayBack(mean, to_wide)
    for part in blocks([slice(0, n)], d, features.size):
        x[part] = (features[order[part]] - mean) @ vectors * scale
    return x, WayBack(mean, lambda w: vectors @ (w * scale))


def _is_wide(features: Rows) -> TypeGuard[np.ndarray]:
    """Return whether there are more columns than rows; columns of a file cannot be read."""
    return isinstance(features, np.ndarray) and features.shape[0] < features.shape[1]


def _principal(features: Rows, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Decompose the Gram matrix (N, N) of wide centred features, or the scatter matrix (D, D) of others.

    Returns:
        The significant eigenvalues (R,), their eigenvectors (N or D, R), and the factor that scales the
        features to a mean variance of one.
    """
    n, d = features.shape
    long, short = (d, n) if _is_wide(features) else (n, d)
    products = np.zeros((short, short))
    of_block = np.empty_like(products)
    for part in blocks([slice(0, long)], short, features.size):
        centred = (features[:, part] - mean[part]).T if _is_wide(features) else features[part] - mean
        products += np.matmul(centred.T, centred, out=of_block)
    del of_block
    scale = 1 / np.sqrt(np.trace(products) / (n * d) + 1e-12)
    values, vectors = np.linalg.eigh(products)  # works in four times the memory of the products
    first = int(np.searchsorted(values, values[-1] * _LEAST_VARIANCE, side="right"))
    return values[first:], vectors[:, first:], float(scale)


def blocks(parts: Sequence[slice], width: int, total: int) -> Iterator[slice]:
    """Divide ranges of rows into blocks that are small compared with the whole.

    Args:
        parts: The ranges.
        width: Number of values per row.
        total: Number of values in the whole.
    """
    least, most = _BLOCK_NUMBERS
    size = max(min(max(total // 8, least), most) // max(width, 1), 16)
    for part in parts:
        for first in range(part.start, part.stop, size):
            yield slice(first, min(first + size, part.stop))
