from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from headstart.probe.lbfgs import Objective, minimise

OPTIONS: dict[str, Any] = {
    "max_steps": 500,
    "num_pairs": 10,
    "gradient_tolerance": 1e-8,
    "decrease_tolerance": 0.0,
    "noise": 1e-15,
}


def logistic(dtype: type[np.floating[Any]] = np.float64) -> Objective:
    generator = np.random.default_rng(0)
    x = (generator.normal(size=(200, 30)) * np.geomspace(3, 0.03, 30)).astype(dtype)
    signs = np.where(generator.random(200) < 0.5, -1, 1).astype(dtype)

    def objective(w: np.ndarray) -> tuple[float, np.ndarray]:
        margins = (x @ w.astype(dtype)) * signs
        slopes = -signs / (1 + np.exp(margins))
        value = np.logaddexp(dtype(0), -margins).mean(dtype=dtype) + dtype(0.005) * dtype(w @ w)
        return float(value), (x.T @ slopes / dtype(200)).astype(np.float64) + 0.01 * w

    return objective


def quadratic(w: np.ndarray) -> tuple[float, np.ndarray]:
    scales = np.geomspace(0.01, 100, len(w))
    return float(scales @ (w - 1) ** 2) / 2, scales * (w - 1)


def softplus(w: np.ndarray) -> tuple[float, np.ndarray]:
    """Nearly flat where it begins, and a cliff after that: both extrapolation and bracketing are needed."""
    return float(np.logaddexp(0, 30 * w - 300).sum() - w.sum()), 30 / (1 + np.exp(300 - 30 * w)) - 1


@pytest.mark.parametrize(("objective", "size"), [(logistic(), 30), (quadratic, 12), (softplus, 1)])
def test_the_minimum_is_scipys(objective: Objective, size: int) -> None:
    with np.errstate(over="ignore"):
        found = minimise(objective, np.zeros(size), **OPTIONS)
        options = {"maxiter": 2000, "gtol": 1e-9, "ftol": 0}
        reference = minimize(objective, np.zeros(size), jac=True, method="L-BFGS-B", options=options)
    assert objective(found)[0] <= reference.fun + 1e-9
    np.testing.assert_allclose(found, reference.x, atol=1e-4)


def test_values_as_coarse_as_float32_do_not_stop_it_early() -> None:
    rough = minimise(
        logistic(np.float32), np.zeros(30), **(OPTIONS | {"noise": 1e-7, "decrease_tolerance": -1.0})
    )
    exact = minimise(logistic(), np.zeros(30), **OPTIONS)
    assert np.abs(logistic()(rough)[1]).max() < 1e-6
    np.testing.assert_allclose(rough, exact, atol=1e-4)


def test_it_takes_no_more_evaluations_than_scipy() -> None:
    counts = []
    for solve in ("ours", "scipy"):
        calls = []

        def counted(w: np.ndarray, calls: list[None] = calls) -> tuple[float, np.ndarray]:
            calls.append(None)
            return logistic()(w)

        if solve == "ours":
            minimise(counted, np.zeros(30), **(OPTIONS | {"gradient_tolerance": 1e-5}))
        else:
            minimize(counted, np.zeros(30), jac=True, method="L-BFGS-B", options={"gtol": 1e-5, "ftol": 0})
        counts.append(len(calls))
    assert counts[0] <= 1.1 * counts[1]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_ends_the_search_where_it_began(value: float) -> None:
    def broken(w: np.ndarray) -> tuple[float, np.ndarray]:
        return (1.0, np.ones(3)) if not w.any() else (value, np.full(3, value))

    np.testing.assert_array_equal(minimise(broken, np.zeros(3), **OPTIONS), np.zeros(3))


def test_a_problem_without_unknowns_is_solved() -> None:
    assert minimise(lambda w: (0.0, w), np.empty(0), **OPTIONS).shape == (0,)
