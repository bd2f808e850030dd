"""How foreign a photo is to a classifier: its energy, and its distance from the classes, in one score.

Distances find photos of other kinds, energies find new classes of the same kind; their sum finds both.
Source: Liu et al. 2020, arXiv 2010.03759 (energy); Lee et al. 2018, arXiv 1807.03888 (distance), here of
normalised features, with the shrinkage of Ledoit and Wolf 2004, Journal of Multivariate Analysis 88.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

from headstart.blas import one_blas_thread
from headstart.cores import num_cores
from headstart.probe.class_distances import Classes, distances_out_of_fold, fit_classes

UNKNOWN: Final = "unknown"
"""Name of the output with the scores of photos."""

RANK: Final = 128
"""Number of principal directions of the shared covariance that are kept; the others have one variance."""

FALSE_REJECTS: Final = 0.02
"""Share of photos of the known classes that are called unknown."""

FEWEST: Final = 50
"""Smallest number of photos for a threshold: with fewer, this share is less than one photo."""

MOST: Final = 4000
"""Number of photos above which the score is fitted on some of them, to limit time and memory."""

LEAST_NORM: Final = 1e-12
"""Added to the norms of features."""

_LEAST_SPREAD: Final = 1e-6


@dataclass(frozen=True, eq=False)
class UnknownScore:
    """The score of a photo with normalised features f and logits z, larger for stranger photos.

    With ``g = scale * (f - centre - directions.T @ directions @ (f - centre))``, which has a variance of one
    in every direction but for a common factor, it is
    ``offset - energy_weight * logsumexp(z) + |g|² - max(g @ classes + class_offsets)``. A difference of two
    projections of f would be the same number, but float32 loses it where features have little variance.

    Attributes:
        centre: (D,) float32.
        directions: (R, D) float32.
        scale: Standardises the distances.
        classes: (D, K) float32.
        class_offsets: (K,) float32.
        energy_weight, offset: Numbers by which both parts are standardised.
        threshold: Photos with a higher score are unknown.
        known: (N,) float64, out of fold, the scores of the photos that it was fitted on.
    """

    centre: np.ndarray
    directions: np.ndarray
    scale: float
    classes: np.ndarray
    class_offsets: np.ndarray
    energy_weight: float
    offset: float
    threshold: float
    known: np.ndarray

    def __call__(self, features: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Return the scores, (N,) float64, of features (N, D) and logits (N, K)."""
        rows = _normalised(features) - self.centre
        rows = self.scale * (rows - rows @ self.directions.T.astype(np.float64) @ self.directions)
        nearest = (rows @ self.classes + self.class_offsets).max(1)
        energies = self.energy_weight * _energy(logits)
        return np.asarray(self.offset + energies + np.square(rows).sum(1) - nearest)


def rows_to_fit(fold: np.ndarray, labels: np.ndarray, most: int = MOST) -> np.ndarray:
    """Return the rows that a score is fitted on: those that have a fold, or some of each class.

    Each class has its share of ``most`` rows, spread evenly over its rows, but at least two, of different
    folds if possible: with fewer, the other folds could not describe it.

    Args:
        fold: (N,) ints, folds; -1 for rows that are left out.
        labels: (N,) ints, classes.
        most: Number of rows above which some are chosen. With many small classes, more are returned.
    """
    rows = np.flatnonzero(fold >= 0)
    if len(rows) <= most:
        return rows
    chosen = []
    for label in np.unique(labels[rows]).tolist():
        of_class = rows[labels[rows] == label]
        number = min(max(len(of_class) * most // len(rows), 2), len(of_class))
        some = of_class[np.arange(number) * len(of_class) // number]
        others = of_class[fold[of_class] != fold[some[0]]]
        if len(others) and (fold[some] == fold[some[0]]).all():
            some[-1] = others[0]
        chosen.append(some)
    return np.sort(np.concatenate(chosen))


def fit_unknown(
    features: np.ndarray,
    labels: np.ndarray,
    logits: np.ndarray,
    fold: np.ndarray,
    *,
    share: float = FALSE_REJECTS,
    rank: int = RANK,
) -> UnknownScore | None:
    """Fit the score on photos that the features were not trained on.

    Distances are measured out of fold, from classes that the other folds describe, because photos are closer
    to classes that they helped to describe. The threshold is the smallest that rejects a new photo of the
    same distribution with at most this probability (split conformal prediction).

    Args:
        features: (N, D) float32, of the last stage.
        labels: (N,) ints, classes.
        logits: (N, K) float32, of a model that has not seen the photo, calibrated like those of the file.
        fold: (N,) ints, folds.
        share: Share of false rejects, 0..1.
        rank: Number of principal directions that are kept.

    Returns:
        The score; None if there are fewer than ``FEWEST`` photos, or one fold, or no spread.
    """
    if len(fold) < FEWEST or len(np.unique(fold)) < 2 or not np.isfinite(logits).all():
        return None
    known, energies = _normalised(features), _energy(logits)
    # BLAS in one thread: its bits depend on how many it has. The folds are what is done at the same time.
    with one_blas_thread(), ThreadPoolExecutor(num_cores()) as threads:
        whole = threads.submit(fit_classes, known, labels, rank)
        distances = distances_out_of_fold(known, labels, fold, rank, threads)
        classes = whole.result()
    if not (energies.std() > _LEAST_SPREAD and distances.std() > _LEAST_SPREAD):  # nor NaN
        return None
    scores = (energies - energies.mean()) / energies.std() + (distances - distances.mean()) / distances.std()
    return _weighted(classes, energies, distances, scores, share)


def rejected_out_of_fold(scores: np.ndarray, fold: np.ndarray, share: float = FALSE_REJECTS) -> np.ndarray:
    """Return whether each photo is rejected by the threshold that the other folds give, (N,) bool.

    Args:
        scores: (N,), such as ``UnknownScore.known``.
        fold: (N,) ints, at least two folds.
        share: Share of false rejects, 0..1.
    """
    rejected = np.zeros(len(scores), bool)
    for each in np.unique(fold):
        rejected[fold == each] = scores[fold == each] > _threshold(scores[fold != each], share)
    return rejected


def _threshold(scores: np.ndarray, share: float) -> float:
    """Return the smallest score that at most this share of further photos exceed, as float32."""
    place = min(math.ceil((len(scores) + 1) * (1 - share)), len(scores)) - 1
    return float(np.float32(np.sort(scores)[place]))


def _weighted(
    classes: Classes, energies: np.ndarray, distances: np.ndarray, scores: np.ndarray, share: float
) -> UnknownScore:
    """Return the sum of both parts, each standardised by its values for known photos."""
    scale = 1 / math.sqrt(classes.variance * distances.std())
    directions = np.sqrt(1 - np.sqrt(1 - classes.shares))[:, None] * classes.axes
    centre = classes.means.mean(0)
    means = classes.means - centre
    means = scale * (means - means @ directions.T @ directions)
    return UnknownScore(
        centre=centre.astype(np.float32),
        directions=directions.astype(np.float32),
        scale=float(np.float32(scale)),
        classes=np.ascontiguousarray(2 * means.T, np.float32),
        class_offsets=(-np.square(means).sum(1)).astype(np.float32),
        energy_weight=float(1 / energies.std()),
        offset=float(-energies.mean() / energies.std() - distances.mean() / distances.std()),
        threshold=_threshold(scores, share),
        known=scores,
    )


def _normalised(features: np.ndarray) -> np.ndarray:
    rows = features.astype(np.float64)
    return np.asarray(rows / (np.linalg.norm(rows, axis=1, keepdims=True) + LEAST_NORM))


def _energy(logits: np.ndarray) -> np.ndarray:
    """Return -logsumexp of (N, K) logits, (N,)."""
    values = logits.astype(np.float64)
    most = values.max(1)
    return np.asarray(-most - np.log(np.exp(values - most[:, None]).sum(1)))
