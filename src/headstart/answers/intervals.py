"""95 % confidence intervals of scores, over photos."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Final, TypeAlias

import numpy as np

Interval: TypeAlias = tuple[float, float]
"""The lower and the upper end."""

_Z: Final = NormalDist().inv_cdf(0.975)
_NUM_SAMPLES: Final = 2000
_AT_ONCE: Final = 200  # samples, to limit the memory


def wilson(num_right: float, num: float) -> Interval:
    """Return the interval of a proportion, such as the accuracy on a number of photos.

    Unlike mean ± 1.96 standard errors, it is valid for few photos and for proportions near 0 and 1.

    Args:
        num_right: Number of successes, 0..num. It may be a fraction, for example a mean over several seeds.
        num: Number of photos, at least 1; or the number of independent photos that say as much.

    Raises:
        ValueError: The counts are impossible.

    Source: Wilson 1927; method 3 of Newcombe 1998, Statistics in Medicine 17, 857-872.
    """
    if num < 1 or not 0 <= num_right <= num:
        raise ValueError(
            f"{num_right} of {num} photos: give at least one photo, and no more right than photos."
        )
    p, z2 = num_right / num, _Z**2
    centre = (p + z2 / (2 * num)) / (1 + z2 / num)
    half = _Z / (1 + z2 / num) * math.sqrt(p * (1 - p) / num + z2 / (4 * num**2))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def of_mean(values: Sequence[float] | np.ndarray) -> Interval:
    """Return the interval of a mean: 1.96 standard errors on either side, meant for 30 photos or more.

    Args:
        values: (N,), one value per photo, such as its loss or the difference of two losses; N at least 2.

    Raises:
        ValueError: There are fewer than two values.
    """
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        raise ValueError(f"{len(values)} values have no interval: give at least two.")
    half = _Z * float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()) - half, float(values.mean()) + half


def of_paired_proportions(
    differences: Sequence[float] | np.ndarray, units: Sequence[int] | np.ndarray | None = None
) -> Interval:
    """Return the interval of the difference between two accuracies on the same photos.

    One photo that only the first model gets right and one that only the second gets right are added, so that
    the interval has a width even if the models agree on all photos.

    Args:
        differences: (N,), for each photo 1 if only the first model is right, -1 if only the second is right,
            and 0 otherwise; or means of these over several seeds. N at least 1.
        units: As for ``over_units``; None if all photos are independent.

    Raises:
        ValueError: There are no differences, or one of them is outside -1..1.

    Source: Bonett and Price 2012, Journal of Educational and Behavioral Statistics 37, 479-488.
    """
    values = np.asarray(differences, np.float64)
    if not len(values) or not (np.abs(values) <= 1).all():
        raise ValueError("differences are from -1 to 1, one per photo, of at least one photo.")
    values = np.append(values, [1.0, -1.0])
    half = _Z * float(values.std()) / math.sqrt(len(values))
    if units is not None:
        half *= math.sqrt(_design_effect(values[:-2], np.asarray(units)))
    return max(float(values.mean()) - half, -1.0), min(float(values.mean()) + half, 1.0)


def of_proportion(is_right: Sequence[bool] | np.ndarray, units: Sequence[int] | np.ndarray) -> Interval:
    """Return the interval of an accuracy over photos that are independent only between units.

    It is Wilson's for the number of independent photos that would say as much.

    Args:
        is_right: (N,), N at least 1.
        units: As for ``over_units``.

    Source: Korn and Graubard 1998, Survey Methodology 24, 193-201.
    """
    values = np.asarray(is_right, np.float64)
    num = len(values) / _design_effect(values, np.asarray(units))
    return wilson(float(values.mean()) * num, num)


def _design_effect(values: np.ndarray, units: np.ndarray) -> float:
    """Return by how much dependence within units increases the variance of a mean, at least 1."""
    _, unit_of = np.unique(units, return_inverse=True)
    deviations = values - values.mean()
    of_photos = float(np.square(deviations).sum())
    if not of_photos > 0:
        return len(values) / (int(unit_of.max()) + 1)
    of_units = float(np.square(np.bincount(unit_of, deviations)).sum())
    return max(of_units / of_photos, 1.0)


def over_units(values: Sequence[float] | np.ndarray, units: Sequence[int] | np.ndarray) -> Interval:
    """Return the interval of a mean over photos that are independent only if they belong to different units.

    Whole units are drawn with replacement (cluster bootstrap), always the same samples of them.

    Args:
        values: (N,), one value per photo, such as its loss or the difference of two losses.
        units: (N,) ints: photos of one unit, for example of one patient, have the same number.

    Raises:
        ValueError: There are fewer than two units.

    Source: percentile method of Efron 1979; units as in Davison and Hinkley 1997, section 3.8.
    """
    _, unit_of = np.unique(np.asarray(units), return_inverse=True)
    sizes = np.bincount(unit_of)
    if len(sizes) < 2:
        raise ValueError(f"{len(sizes)} units have no interval: give at least two.")
    sums = np.bincount(unit_of, np.asarray(values, np.float64))
    random = np.random.default_rng(0)
    means: list[float] = []
    while len(means) < _NUM_SAMPLES:
        drawn = random.integers(len(sizes), size=(_AT_ONCE, len(sizes)))
        means += (sums[drawn].sum(1) / sizes[drawn].sum(1)).tolist()
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
