"""95 % confidence intervals of scores, over photos."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Final, TypeAlias

import numpy as np

from headstart.tasks.measures import Kind

Interval: TypeAlias = tuple[float, float]
"""The lower and the upper end."""

_Z: Final = NormalDist().inv_cdf(0.975)
_NUM_SAMPLES: Final = 2000
_AT_ONCE: Final = 200  # samples, to limit the memory
_FEWEST_DEGREES: Final = 4.0  # of freedom, from which on Student's quantile is precise enough
_FEW_DEGREES: Final[dict[float, float]] = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}
_LARGEST_STEP: Final = 500.0  # on a logarithmic scale, below what overflows


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
    # Without rounding: no photo right and all photos right are compatible with 0 and with 1.
    return (
        max(centre - half, 0.0) if num_right else 0.0,
        min(centre + half, 1.0) if num_right < num else 1.0,
    )


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


def of_influences(
    value: float, influences: np.ndarray, units: np.ndarray, kind: Kind | None = None
) -> Interval | None:
    """Return the interval of a score from the influences of photos: Student's t times the standard error.

    The degrees of freedom follow from the kurtosis of the influences: if a few photos, such as those of a
    rare class, account for most of the variance, it is known less well.

    A bounded score is transformed first, so that its interval stays within the bounds: by the logit in 0..1,
    by the logarithm above 0. The mix of classes counts as a sample, too: a bootstrap that is stratified by
    class covers less than 90 % where it is one (docs/measurements.md).

    Args:
        value: The score.
        influences: (N,), as in ``tasks.measures.Measure``.
        units: As for ``over_units``.
        kind: What is known about the score; None for the difference of two scores.

    Returns:
        The interval; None if the score is undefined or at its bound, or there are fewer than two units.

    Source: Davison and Hinkley 1997, Bootstrap Methods and their Application, section 2.7; degrees of freedom
    by the moments of the variance, as in Satterthwaite 1946, Biometrics Bulletin 2, 110-114.
    """
    _, unit_of = np.unique(np.asarray(units), return_inverse=True)
    squares = np.square(np.bincount(unit_of, influences))
    num, total = len(squares), float(squares.sum())
    if math.isnan(value) or num < 2:
        return None
    kurtosis = num * float(np.square(squares).sum()) / total**2 if total > 0 else 1.0
    degrees = min(num - 1, max(2 * num / (kurtosis - 1), _FEWEST_DEGREES)) if kurtosis > 1 else num - 1
    half = _student(degrees) * math.sqrt((degrees + 1) / degrees * total) / len(influences)
    if kind is None:
        return value - half, value + half
    if kind == "unit":
        if not 0 < value < 1:
            return None
        odds, step = math.log(value / (1 - value)), half / (value * (1 - value))
        return _expit(odds - step), _expit(odds + step)
    rest = 1 - value if kind == "r2" else value  # the part of the variance that is left; or an error
    if not rest > 0:
        return None
    factor = math.exp(min(half / rest, _LARGEST_STEP))
    return (1 - rest * factor, 1 - rest / factor) if kind == "r2" else (rest / factor, rest * factor)


def of_mean_of_shares(
    shares: Sequence[tuple[float, Interval]], influences: np.ndarray, units: np.ndarray
) -> Interval:
    """Return the interval of a mean of shares, such as the balanced accuracy: valid for few photos per share.

    It is the wider one, on each side, of two intervals: that of the influences, which is too narrow if a
    share of few photos is 0 or 1 by chance; and that of the intervals of the shares, which is too narrow on
    one side if many shares are.

    Args:
        shares: At least one share with its interval.
        influences: (N,), influences of the photos on the mean.
        units: As for ``over_units``.

    Source: Zou and Donner 2008, Statistics in Medicine 27, 1693-1702.
    """
    num = len(shares)
    mean = math.fsum(value for value, _ in shares) / num
    below = math.fsum((value - low) ** 2 for value, (low, _) in shares)
    above = math.fsum((high - value) ** 2 for value, (_, high) in shares)
    low, high = mean - math.sqrt(below) / num, mean + math.sqrt(above) / num
    if (other := of_influences(mean, influences, units, "unit")) is not None:
        low, high = min(low, other[0]), max(high, other[1])
    return max(low, 0.0), min(high, 1.0)


def mcnemar(differences: Sequence[float] | np.ndarray, units: Sequence[int] | np.ndarray) -> float:
    """Return the exact p value of McNemar's test: that two models are right equally often.

    Of units with several photos, the sign of their sum counts.

    Args:
        differences: (N,), for each photo 1 if only the first model is right, -1 if only the second is right,
            and 0 otherwise.
        units: As for ``over_units``.

    Returns:
        The two-sided p value in 0..1; 1 if the models are right on the same photos.

    Source: McNemar 1947, Psychometrika 12, 153-157; exact by the binomial distribution.
    """
    _, unit_of = np.unique(np.asarray(units), return_inverse=True)
    signs = np.sign(np.bincount(unit_of, np.asarray(differences, np.float64)))
    first, second = int((signs > 0).sum()), int((signs < 0).sum())
    num, fewer = first + second, min(first, second)
    logs = [math.lgamma(num + 1) - math.lgamma(k + 1) - math.lgamma(num - k + 1) for k in range(fewer + 1)]
    return min(2 * math.fsum(math.exp(each - num * math.log(2)) for each in logs), 1.0)


def _student(degrees: float) -> float:
    """Return the 97.5 % quantile of Student's t, to three digits from five degrees of freedom.

    Source: Abramowitz and Stegun 1964, 26.7.5.
    """
    if degrees in _FEW_DEGREES:
        return _FEW_DEGREES[degrees]
    z = _Z
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + math.fsum(term / degrees**power for power, term in enumerate(terms, 1))


def _expit(odds: float) -> float:
    return 1 / (1 + math.exp(-min(max(odds, -_LARGEST_STEP), _LARGEST_STEP)))


def _design_effect(values: np.ndarray, units: np.ndarray) -> float:
    """Return by how much dependence within units increases the variance of a mean, from 1 to N.

    With few units, their variance is itself uncertain, and it is multiplied as Student's t asks for. One
    unit alone counts as one photo.
    """
    _, unit_of = np.unique(units, return_inverse=True)
    num, num_units = len(values), int(unit_of.max()) + 1
    if num_units == 1:
        return float(num)
    deviations = values - values.mean()
    of_photos = float(np.square(deviations).sum())
    if not of_photos > 0:
        return num / num_units
    effect = float(np.square(np.bincount(unit_of, deviations)).sum()) / of_photos
    if num_units < num:
        effect *= num_units / (num_units - 1) * (_student(num_units - 1) / _Z) ** 2
    return min(max(effect, 1.0), float(num))


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
