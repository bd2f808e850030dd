"""L-BFGS for smooth convex functions whose values may have the rounding errors of float32.

Source: Nocedal and Wright, Numerical Optimization (2006), algorithms 7.4 and 7.5.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np

Objective: TypeAlias = Callable[[np.ndarray], tuple[float, np.ndarray]]
"""Function of a point (M,) that returns the value and the gradient, a new array (M,), float64."""

_ENOUGH_DECREASE: Final = 1e-4  # of what the slope promises (Armijo)
_FLAT_ENOUGH: Final = 0.9  # slope at the end of a step, relative to the slope at its beginning (Wolfe)
_MOST_TRIALS: Final = 20  # of one line search


def minimise(
    objective: Objective,
    start: np.ndarray,
    *,
    max_steps: int,
    num_pairs: int,
    gradient_tolerance: float,
    decrease_tolerance: float,
    noise: float,
) -> np.ndarray:
    """Return the point with the smallest value found.

    Args:
        objective: Convex and differentiable; scaled so that its second derivatives are about one.
        start: (M,) float64; not changed.
        max_steps: Largest number of steps.
        num_pairs: Number of latest pairs of vectors (M,) that approximate the second derivatives.
        gradient_tolerance: Stop if no component of the gradient is larger.
        decrease_tolerance: Stop if a step decreases the value by less than this, relative to the value or to
            one.
        noise: Rounding error of the values, relative to the value or to one. Differences of this size do not
            count as an increase.
    """
    point = start.copy()
    value, gradient = objective(point)
    pairs: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=num_pairs)
    for _ in range(max_steps):
        if np.abs(gradient).max(initial=0) <= gradient_tolerance:
            break
        direction = _direction(gradient, pairs)
        found = _search(objective, point, value, gradient, direction, noise)
        if found is None:
            if not pairs:
                break
            pairs.clear()  # they mislead: continue from the gradient alone
            continue
        step, new_value, new_gradient = found
        if len(pairs) == num_pairs:
            pairs.popleft()  # before the next pair is made, so that there is never one more
        direction *= step
        point += direction
        change = np.subtract(new_gradient, gradient, out=gradient)
        if direction @ change > np.finfo(float).eps * (change @ change):
            pairs.append((direction, change))
        decrease = value - new_value
        is_flat = decrease <= decrease_tolerance * max(abs(value), abs(new_value), 1)
        value, gradient = new_value, new_gradient
        if is_flat:
            break
    return point


def _direction(gradient: np.ndarray, pairs: deque[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return minus the gradient times the inverse Hessian that the pairs approximate."""
    direction = -gradient
    factors = []
    for moved, change in reversed(pairs):
        factors.append((moved @ direction) / (moved @ change))
        direction -= factors[-1] * change
    if pairs:
        moved, change = pairs[-1]
        direction *= (moved @ change) / (change @ change)
    for (moved, change), factor in zip(pairs, reversed(factors), strict=True):
        direction += (factor - (change @ direction) / (moved @ change)) * moved
    return direction


def _search(
    objective: Objective,
    point: np.ndarray,
    value: float,
    gradient: np.ndarray,
    direction: np.ndarray,
    noise: float,
) -> tuple[float, float, np.ndarray] | None:
    """Return a step that satisfies the strong Wolfe conditions, with the value and gradient at its end.

    The slope of a convex function along the direction only increases, so that slopes bracket the minimum.
    They are far less affected by rounding than differences of values.

    Returns:
        None if the direction is not a descent direction, within rounding errors.
    """
    slope = float(direction @ gradient)
    if not slope < 0:
        return None
    low, slope_at_low = 0.0, slope
    high, slope_at_high = np.inf, np.inf
    step = 1.0
    for _ in range(_MOST_TRIALS):
        new_value, new_gradient = objective(point + step * direction)
        new_slope = float(direction @ new_gradient)
        allowed = value + _ENOUGH_DECREASE * step * slope + noise * max(abs(value), 1)
        if not new_value <= allowed or new_slope > -_FLAT_ENOUGH * slope:
            high, slope_at_high = step, new_slope
        elif new_slope < _FLAT_ENOUGH * slope:
            low, slope_at_low = step, new_slope
        else:
            return step, new_value, new_gradient
        if np.isinf(high):
            step *= 4
        else:
            width = high - low
            share = -slope_at_low / (slope_at_high - slope_at_low) if slope_at_high > 0 else 0.5
            step = low + width * (min(max(share, 0.1), 0.9) if np.isfinite(share) else 0.1)
    return None
