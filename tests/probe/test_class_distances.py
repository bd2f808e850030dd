"""Distances from classes that other folds describe are those of a description of each fold alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from headstart.probe.class_distances import distances_out_of_fold, fit_classes

D, K = 60, 3


def example(number: int, width: int = D) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalised rows, classes, and folds of different sizes."""
    generator = np.random.default_rng(number)
    labels = np.arange(number) % K
    rows = generator.normal(size=(K, width))[labels] + generator.normal(size=(number, width))
    rows *= np.linspace(0.2, 1.5, width)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), labels, generator.integers(3, size=number)


def distances(rows: np.ndarray, labels: np.ndarray, fold: np.ndarray, rank: int) -> np.ndarray:
    with ThreadPoolExecutor(2) as threads:
        return distances_out_of_fold(rows, labels, fold, rank, threads)


@pytest.mark.parametrize("number", [40, 300])  # fewer photos than columns, and more
def test_with_all_directions_the_distance_is_that_of_ledoit_and_wolf(number: int) -> None:
    rows, labels, fold = example(number)
    found = distances(rows, labels, fold, D)
    for each in range(3):
        rest, apart = fold != each, fold == each
        means = np.stack([rows[rest & (labels == k)].mean(0) for k in range(K)])
        centred = (rows - means[labels])[rest] * np.sqrt(rest.sum() / (rest.sum() - K))
        precision = LedoitWolf(assume_centered=True).fit(centred).precision_
        differences = rows[apart][:, None] - means
        expected = np.einsum("nkd,de,nke->nk", differences, precision, differences).min(1)
        np.testing.assert_allclose(found[apart], expected, rtol=1e-3)


@pytest.mark.parametrize("number", [40, 300])
def test_the_distance_is_that_from_classes_that_were_fitted_without_the_fold(number: int) -> None:
    rows, labels, fold = example(number)
    found = distances(rows, labels, fold, 8)
    for each in range(3):
        classes = fit_classes(rows[fold != each], labels[fold != each], 8)
        differences = rows[fold == each][:, None] - classes.means
        squares = np.square(differences).sum(2) - np.square(
            differences @ (np.sqrt(classes.shares)[:, None] * classes.axes).T
        ).sum(2)
        np.testing.assert_allclose(found[fold == each], squares.min(1) / classes.variance, rtol=1e-9)


def test_a_class_that_is_in_one_fold_only_is_far_from_itself() -> None:
    rows, labels, fold = example(300)
    fold[labels == 2] = 1
    found = distances(rows, labels, fold, 8)
    assert np.median(found[labels == 2]) > 2 * np.median(found[labels != 2])


@pytest.mark.parametrize("number", [40, 300])
def test_rows_in_few_dimensions_have_no_further_directions(number: int) -> None:
    rows, labels, fold = example(number)
    rows[:, 5:] = 0
    assert fit_classes(rows, labels, 8).axes.shape == (5, D)
    assert np.isfinite(distances(rows, labels, fold, 8)).all()
