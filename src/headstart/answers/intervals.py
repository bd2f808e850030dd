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


def wilson(num_right: float, num: int) -> Interval:
    """Return the interval of a proportion, such as the accuracy on a number of photos.

    Unlike mean ± 1.96 standard errors, it is valid for few photos and for proportions near 0 and 1.

    Args:
        num_right: Number of successes, 0..num. It may be a fraction, for example a mean over several seeds.
        num: Number of photos, at least 1.

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


def of_paired_proportions(differences: Sequence[float] | np.ndarray) -> Interval:
    """Return the interval of the difference between two accuracies on the same photos.

    One photo that only the first model gets right and one that only the second gets right are added, so that
    the interval has a width even if the models agree on all photos.

    Args:
        differences: (N,), for each photo 1 if only the first model is right, -1 if only the second is right,
            and 0 otherwise; or means of these over several seeds. N at least 1.

    Raises:
        ValueError: There are no differences, or one of them is outside -1..1.

    Source: Bonett and Price 2012, Journal of Educational and Behavioral Statistics 37, 479-488.
    """
    values = np.asarray(differences, np.float64)
    if not len(values) or not (np.abs(values) <= 1).all():
        raise ValueError("differences are from -1 to 1, one per photo, of at least one photo.")
    values = np.append(values, [1.0, -1.0])
    half = _Z * float(values.std()) / math.sqrt(len(values))
    return max(float(values.mean()) - half, -1.0), min(float(values.mean()) + half, 1.0)
