"""Scores of predictions with several labels per photo, with the part that each photo has in them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from headstart.tasks.label_scores import average_precision
from headstart.tasks.measures import Measure, Measures, f1, f1_of_class, mean, mean_of, roc_auc, share
from headstart.tasks.measures import average_precision as of_average_precision


def measure_labels(
    labels: np.ndarray,
    probabilities: np.ndarray,
    losses: np.ndarray,
    class_names: Sequence[str],
    thresholds: Sequence[float],
) -> Measures:
    """Return all scores; arguments are those of ``score_multilabel``.

    A photo counts as an error if one of its decisions at the thresholds is wrong.
    """
    said = probabilities >= np.asarray(thresholds)
    columns = list(zip(labels.T, said.T, probabilities.T, strict=True))
    parts = {name: _of_class(*column) for name, column in zip(class_names, columns, strict=True)}
    precisions = [part["average_precision"] for part in parts.values()]
    areas = [part["roc_auc"] for part in parts.values()]
    overall = {
        "accuracy": share((probabilities > 0.5) == labels),
        "map": mean_of(precisions),
        "f1": mean_of(_with_photos(labels, said)),
        "roc_auc": mean_of(areas),
        "loss": mean(losses, "positive"),
        "brier": mean(np.square(probabilities.astype(np.float64) - labels).mean(1), "positive"),
    }
    return Measures(overall, parts, (said != labels).any(1), probabilities.ravel(), labels.ravel())


def _of_class(has: np.ndarray, said: np.ndarray, probability: np.ndarray) -> dict[str, Measure]:
    return {
        "average_precision": of_average_precision(has, probability, average_precision(has, probability)),
        "precision": share(has, said),
        "recall": share(said, has),
        "f1": f1_of_class(has, said),
        "roc_auc": roc_auc(has, probability),
    }


def _with_photos(labels: np.ndarray, said: np.ndarray) -> Iterator[Measure]:
    """Yield the F1 of each class; undefined for those without photos, as in ``score_multilabel``."""
    for has, predicted in zip(labels.T, said.T, strict=True):
        yield f1(has, predicted) if has.any() else Measure(math.nan, np.zeros(len(has)), "unit")
