"""How foreign a photo is to a classifier: its energy, and its distance from the classes, in one score.

Distances find photos of other kinds, energies find new classes of the same kind; their sum finds both.
Source: Liu et al. 2020, arXiv 2010.03759 (energy); Lee et al. 2018, arXiv 1807.03888 (distance), here of
normalised features, with the shrinkage of Ledoit and Wolf 2004, Journal of Multivariate Analysis 88.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from threadpoolctl import threadpool_limits

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
"""Largest number of photos that the score is fitted on, to limit time and memory."""

_LEAST_NORM: Final = 1e-12
_LEAST_SPREAD: Final = 1e-6


@dataclass(frozen=True, eq=False)
class UnknownScore:
    """The score of a photo with normalised features f and logits z, larger for stranger photos.

    It is ``offset - energy_weight * logsumexp(z) - |directions @ f|² - max(f @ classes + class_offsets)``.

    Attributes:
        directions: (R, D) float32.
        classes: (D, K) float32.
        class_offsets: (K,) float32.
        energy_weight, offset: Numbers by which both parts are standardised.
        threshold: Photos with a higher score are unknown.
        num_rejected, num_photos: Photos above the threshold, and all photos that it was chosen on.
    """

    directions: np.ndarray
    classes: np.ndarray
    class_offsets: np.ndarray
    energy_weight: float
    offset: float
    threshold: float = math.inf
    num_rejected: int = 0
    num_photos: int = 0

    def __call__(self, features: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """Return the scores, (N,) float64, of features (N, D) and logits (N, K)."""
        rows = _normalised(features)
        inside = np.square(rows @ self.directions.T).sum(1)
        nearest = (rows @ self.classes + self.class_offsets).max(1)
        return np.asarray(self.offset + self.energy_weight * _energy(logits) - inside - nearest)


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
        logits: (N, K) float32, out of fold, calibrated like those of the model.
        fold: (N,) ints, folds; -1 for rows that are left out.
        share: Share of false rejects, 0..1.
        rank: Number of principal directions that are kept.

    Returns:
        The score; None if there are fewer than ``FEWEST`` photos, or one fold, or no spread.
    """
    rows = np.flatnonzero(fold >= 0)
    rows = rows[:: max(math.ceil(len(rows) / MOST), 1)]
    labels, logits, fold = labels[rows], logits[rows], fold[rows]
    if len(rows) < FEWEST or len(np.unique(fold)) < 2 or not np.isfinite(logits).all():
        return None
    known, energies = _normalised(features[rows]), _energy(logits)
    # BLAS in one thread: its bits depend on how many it has. The folds are what is done at the same time.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(num_cores()) as threads:
        whole = threads.submit(fit_classes, known, labels, rank)
        distances = distances_out_of_fold(known, labels, fold, rank, threads)
        classes = whole.result()
    if not (energies.std() > _LEAST_SPREAD and distances.std() > _LEAST_SPREAD):  # nor NaN
        return None
    scores = (energies - energies.mean()) / energies.std() + (distances - distances.mean()) / distances.std()
    place = min(math.ceil((len(rows) + 1) * (1 - share)), len(rows)) - 1
    threshold = float(np.float32(np.sort(scores)[place]))
    found = _weighted(classes, energies, distances)
    num_rejected = int((scores > threshold).sum())
    return replace(found, threshold=threshold, num_rejected=num_rejected, num_photos=len(rows))


def _weighted(classes: Classes, energies: np.ndarray, distances: np.ndarray) -> UnknownScore:
    """Return the sum of both parts, each standardised by its values for known photos."""
    factor = 1 / (classes.variance * distances.std())
    inside = classes.inside
    pulled = classes.means - (classes.means @ inside.T) @ inside
    means = energies.mean() / energies.std() + distances.mean() / distances.std()
    return UnknownScore(
        directions=(math.sqrt(factor) * inside).astype(np.float32),
        classes=np.ascontiguousarray(2 * factor * pulled.T, np.float32),
        class_offsets=(-factor * (classes.means * pulled).sum(1)).astype(np.float32),
        energy_weight=float(1 / energies.std()),
        offset=float(factor - means),
    )


def with_unknown(model: bytes, features: str, score: UnknownScore) -> bytes:
    """Add the score to a model file as the output ``unknown``, (N, 1) float32.

    Args:
        model: The content of a ``model.onnx`` with outputs ``logits`` and ``probabilities``, not sealed.
        features: Name of the tensor with the features of the last stage, (N, D).
        score: The score.
    """
    loaded = onnx.load_from_string(model)
    graph = loaded.graph
    (opset,) = (each.version for each in loaded.opset_import if each.domain in ("", "ai.onnx"))
    constants = {
        "least": np.array([_LEAST_NORM], np.float32),
        "directions": np.ascontiguousarray(score.directions.T),
        "classes": score.classes,
        "class_offsets": score.class_offsets,
        "energy_weight": np.array([score.energy_weight], np.float32),
        "offset": np.array([score.offset], np.float32),
    }
    if opset >= 18:  # before that, axes are an attribute
        constants["axes"] = np.array([1], np.int64)
    graph.initializer.extend(
        numpy_helper.from_array(values, _named(name)) for name, values in constants.items()
    )

    def add(operator: str, inputs: list[str], name: str) -> None:
        node = helper.make_node(operator, inputs, [_named(name)], name=_named(name))
        if operator.startswith("Reduce"):
            if opset >= 18:
                node.input.append(_named("axes"))
            else:
                node.attribute.append(helper.make_attribute("axes", [1]))
        graph.node.append(node)

    def of(*names: str) -> list[str]:
        return [_named(name) for name in names]

    add("ReduceL2", [features], "norm")
    add("Add", of("norm", "least"), "length")
    add("Div", [features, _named("length")], "normalised")
    add("Gemm", of("normalised", "directions"), "projected")
    add("ReduceL2", of("projected"), "inside")
    add("Mul", of("inside", "inside"), "inside_squared")
    add("Gemm", of("normalised", "classes", "class_offsets"), "by_class")
    add("ReduceMax", of("by_class"), "nearest")
    add("ReduceMax", ["logits"], "largest")
    add("ReduceMax", ["probabilities"], "probability")
    add("Log", of("probability"), "logarithm")
    add("Sub", of("logarithm", "largest"), "energy")  # -logsumexp(logits)
    add("Mul", of("energy", "energy_weight"), "weighted")
    add("Add", of("weighted", "offset"), "shifted")
    add("Sub", of("shifted", "inside_squared"), "outside")
    graph.node.append(helper.make_node("Sub", of("outside", "nearest"), [UNKNOWN], name=UNKNOWN))
    graph.output.append(helper.make_tensor_value_info(UNKNOWN, TensorProto.FLOAT, ["batch", 1]))
    return bytes(loaded.SerializeToString(deterministic=True))


def _normalised(features: np.ndarray) -> np.ndarray:
    rows = features.astype(np.float64)
    return np.asarray(rows / (np.linalg.norm(rows, axis=1, keepdims=True) + _LEAST_NORM))


def _energy(logits: np.ndarray) -> np.ndarray:
    """Return -logsumexp of (N, K) logits, (N,)."""
    values = logits.astype(np.float64)
    most = values.max(1)
    return np.asarray(-most - np.log(np.exp(values - most[:, None]).sum(1)))


def _named(name: str) -> str:
    return f"{UNKNOWN}.{name}"
