"""Temperatures for the logits of a finished model, so that its probabilities are calibrated in its file.

They are fitted on answers of models that have not seen the photos: out of fold if the model is a solved head,
otherwise on the validation photos. Those have also chosen the weights, so their numbers are optimistic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

from headstart import tasks
from headstart.data.split import Splits, unit_names
from headstart.data.targets import Scale, Targets
from headstart.inference.model_file import ModelInfo
from headstart.probe.folds import deal_folds, strata_of_labels
from headstart.probe.photos import OutOfFold
from headstart.records import Record
from headstart.tasks.calibration import best_temperature
from headstart.tasks.calibration_error import calibration_error, error_by_chance
from headstart.tasks.losses import binary_cross_entropy, cross_entropy, sigmoid
from headstart.tasks.task import softmax

FEWEST: Final = 20
"""Smallest number of photos that a temperature is fitted on."""

_LOGITS: Final = "logits"


@dataclass(frozen=True)
class Quality:
    """How good probabilities are.

    Attributes:
        loss: Mean log loss.
        error: Calibration error, 0..1, of the predicted class, or of all labels.
        by_chance: Calibration error that true probabilities would show for as many photos.
    """

    loss: float
    error: float
    by_chance: float


@dataclass(frozen=True)
class Calibration:
    """Temperatures by which the logits of a model are divided.

    Attributes:
        temperatures: One; or one per label, if a photo may have several. 1 where it does not help.
        fitted_on: The answers that they were fitted on.
        num_photos: Number of these photos.
        before, after: Quality for the validation photos without and with the temperatures. If photos were
            scored by folds: for the answers of the folds' models, each without and with its own temperatures.
        judged_on: The answers that ``before`` and ``after`` are about.
        is_in_weights: Whether the weights in ``model.safetensors`` are calibrated, too. In a network whose
            last layer is not known, only ``model.onnx`` is.
    """

    temperatures: tuple[float, ...]
    fitted_on: Literal["out-of-fold", "val"]
    num_photos: int
    before: Quality
    after: Quality
    is_in_weights: bool = True
    judged_on: Literal["val", "folds"] = "val"

    @property
    def is_needed(self) -> bool:
        """Whether any temperature is not 1."""
        return any(each != 1 for each in self.temperatures)

    def factors(self, info: ModelInfo) -> np.ndarray:
        """Return the factors of a network's outputs, (D,) float32."""
        found = np.ones(info.num_outputs, np.float32)
        found[-tasks.of(info.task).num_logits(len(info.class_names)) :] = 1 / np.array(self.temperatures)
        return found

    def summary(self) -> dict[str, Any]:
        """Return the entries for ``metrics.json``."""
        return {
            "temperatures": list(self.temperatures),
            "fitted_on": self.fitted_on,
            "num_photos": self.num_photos,
            "is_in_weights": self.is_in_weights,
            "loss_before": self.before.loss,
            "loss": self.after.loss,
            "error_before": self.before.error,
            "error": self.after.error,
            "error_by_chance": self.after.by_chance,
        }

    @property
    def sentence(self) -> str:
        """What was fitted, and what it changes, in words."""
        before, after, values = self.before, self.after, sorted(self.temperatures)
        judged = "validation photos" if self.judged_on == "val" else "answers of the folds' models"
        chance = f"(a perfectly calibrated model would show {after.by_chance:.3f})"
        if not self.is_needed:
            return (
                f"Calibration: not needed, because no temperature clearly lowers the log loss. Calibration "
                f"error of the {judged}: {after.error:.3f} {chance}"
            )
        several = f"s {values[0]:.2f} to {values[-1]:.2f}" if len(values) > 1 else f" {values[0]:.2f}"
        fitted = (
            "out-of-fold answers"
            if self.fitted_on == "out-of-fold"
            else "validation photos, which makes their numbers slightly optimistic"
        )
        return (
            f"Calibration: temperature{several}, fitted on {self.num_photos:,} {fitted}. Log loss of the "
            f"{judged} {before.loss:.3f} -> {after.loss:.3f}, calibration error {before.error:.3f} -> "
            f"{after.error:.3f} {chance}"
            + ("" if self.is_in_weights else ". The weights in model.safetensors are not calibrated")
        )


def calibrate(
    info: ModelInfo,
    splits: Splits,
    val_outputs: np.ndarray,
    out_of_fold: OutOfFold | None,
    *,
    tau: float = 0.0,
    by_folds: tuple[np.ndarray, np.ndarray] | None = None,
) -> Calibration | None:
    """Fit the temperatures of a model.

    Args:
        info: Description of the model.
        splits: The photos.
        val_outputs: (N, D), of the model for the validation photos, not calibrated.
        out_of_fold: Answers for the training photos by heads that were solved like the model's own; None for
            a model that was trained in steps.
        tau: How far the logits have been adjusted for the frequencies of the classes: see ``probe.adjust``.
            The loss gives classes the weights that adjusted probabilities assume.
        by_folds: Without validation photos: (N, D) each, answers of the folds' models for the training photos
            before and after calibration.

    Returns:
        The temperatures; None for a model without probabilities.
    """
    if by_folds is not None:
        return _calibrate_by_folds(info, splits.train, out_of_fold, tau, by_folds)
    found = _logits(splits.val, val_outputs, info)
    if found is None:
        return None
    val_logits, val_labels = found
    if out_of_fold is not None and (out_of_fold.fold >= 0).any():
        temperatures, num_photos = temperatures_out_of_fold(info, splits.train, out_of_fold, tau)
    else:
        units = np.unique(unit_names(splits.val), return_inverse=True)[1]
        fold = deal_folds(val_labels if val_labels.ndim == 1 else strata_of_labels(val_labels), units)
        temperatures, num_photos = _temperatures(val_logits, val_labels, fold, units, tau), len(splits.val)
        out_of_fold = None
    return Calibration(
        temperatures,
        "val" if out_of_fold is None else "out-of-fold",
        num_photos,
        _quality(val_logits, val_labels),
        _quality(val_logits / np.array(temperatures), val_labels),
    )


def temperatures_out_of_fold(
    info: ModelInfo, photos: Sequence[Record], out_of_fold: OutOfFold | None, tau: float = 0.0
) -> tuple[tuple[float, ...], int]:
    """Fit temperatures on answers of heads that were solved without the photo's fold.

    Args:
        info: Description of a model with logits.
        photos: N training photos.
        out_of_fold: Answers for them; None if there are none.
        tau: As for ``calibrate``.

    Returns:
        One temperature, or one per label, 1 where it does not help; and the number of photos.
    """
    rows = np.flatnonzero(out_of_fold.fold >= 0) if out_of_fold is not None else np.empty(0, int)
    if out_of_fold is None or not len(rows):
        num = len(info.class_names) if tasks.of(info.task).has_labels else 1
        return (1.0,) * num, 0
    answered = [photos[row] for row in rows.tolist()]
    fitted = _logits(answered, out_of_fold.outputs[rows], info)
    assert fitted is not None
    logits, labels = fitted
    units = np.unique(unit_names(answered), return_inverse=True)[1]
    return _temperatures(logits, labels, out_of_fold.fold[rows], units, tau), len(rows)


def _calibrate_by_folds(
    info: ModelInfo,
    photos: Sequence[Record],
    out_of_fold: OutOfFold | None,
    tau: float,
    by_folds: tuple[np.ndarray, np.ndarray],
) -> Calibration | None:
    before, after = (_logits(photos, outputs, info) for outputs in by_folds)
    if before is None or after is None:
        return None
    temperatures, num_photos = temperatures_out_of_fold(info, photos, out_of_fold, tau)
    return Calibration(
        temperatures, "out-of-fold", num_photos, _quality(*before), _quality(*after), judged_on="folds"
    )


def _temperatures(
    logits: np.ndarray, labels: np.ndarray, fold: np.ndarray, units: np.ndarray, tau: float
) -> tuple[float, ...]:
    if labels.ndim == 1:
        return (_temperature(logits, labels, fold, units, _weights(labels, tau)),)
    columns = [slice(k, k + 1) for k in range(logits.shape[1])]
    return tuple(_temperature(logits[:, k], labels[:, k], fold, units, None) for k in columns)


def with_temperatures(info: ModelInfo, calibration: Calibration | None) -> ModelInfo:
    """Return a description that states the temperatures, unless they are all 1."""
    if calibration is None or not calibration.is_needed:
        return info
    return replace(info, temperatures=calibration.temperatures)


def with_factors(model: bytes, factors: np.ndarray) -> bytes:
    """Multiply the logits of a model file by factors.

    Args:
        model: The content of a ``model.onnx`` with an output ``logits``, not sealed.
        factors: (K,) float32.

    Returns:
        The same graph with one multiplication before this output, so that the other nodes that take the
        logits, such as that of the probabilities, get the products.
    """
    loaded = onnx.load_from_string(model)
    nodes = loaded.graph.node
    index = next(i for i, node in enumerate(nodes) if _LOGITS in node.output)
    raw, name = f"{_LOGITS}.raw", f"{_LOGITS}.factors"
    nodes[index].output[list(nodes[index].output).index(_LOGITS)] = raw
    nodes.insert(index + 1, helper.make_node("Mul", [raw, name], [_LOGITS], name="calibration"))
    loaded.graph.initializer.append(numpy_helper.from_array(np.asarray(factors, np.float32), name))
    return bytes(loaded.SerializeToString(deterministic=True))


def _logits(
    photos: Sequence[Record], outputs: np.ndarray, info: ModelInfo
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the logits of photos, and their classes or labels; None if there are no logits."""
    task = tasks.of(info.task)
    if not task.num_logits(len(info.class_names)):
        return None
    targets = Targets(info.task, info.class_names, info.preprocessing, Scale(*info.scale))
    rows = np.stack([targets.row(photo) for photo in photos])
    return outputs[:, -task.num_logits(len(info.class_names)) :], task.of_logits(rows)


def _weights(labels: np.ndarray, tau: float) -> np.ndarray | None:
    """Return the weights of photos in the loss, (N,): the inverse frequency of their class, to the tau."""
    if not tau:
        return None
    weights = (np.bincount(labels) / len(labels))[labels] ** -tau
    return np.asarray(weights / weights.mean())


def _temperature(
    logits: np.ndarray, labels: np.ndarray, fold: np.ndarray, units: np.ndarray, weights: np.ndarray | None
) -> float:
    """Return the best temperature; 1 if it does not lower the loss of other photos by a standard error.

    Targets are smoothed as if one photo of N + 2 had a wrong answer (Platt), because the loss of logits that
    are right for every photo is lowest at a temperature of 0.
    """

    def fit(is_used: np.ndarray) -> float:
        return best_temperature(
            logits[is_used],
            labels[is_used],
            smoothing=1 / (int(is_used.sum()) + 2),
            weights=None if weights is None else weights[is_used],
        )

    if len(logits) < FEWEST or fold.max() == 0 or not np.isfinite(logits).all():
        return 1.0
    of_fold = np.array([fit(fold != each) for each in range(int(fold.max()) + 1)])
    change = _losses(logits / of_fold[fold][:, None], labels) - _losses(logits, labels)
    change = change if weights is None else change * weights
    sums = np.bincount(units, change - change.mean())
    error = math.sqrt(float(np.square(sums).sum())) / len(change)
    return fit(np.ones(len(labels), bool)) if change.mean() < -error else 1.0


def _losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the log loss of each photo, (N,) float64."""
    logits = logits.astype(np.float64)
    if labels.ndim == 1:
        return cross_entropy(logits, labels)
    return np.asarray(binary_cross_entropy(logits, labels).mean(1))


def _quality(logits: np.ndarray, labels: np.ndarray) -> Quality:
    if labels.ndim == 1:
        shares = softmax(logits.astype(np.float64))
        probabilities, happened = shares.max(1), shares.argmax(1) == labels
    else:
        probabilities, happened = sigmoid(logits).reshape(-1), labels.reshape(-1) > 0.5
    loss = float(_losses(logits, labels).mean())
    return Quality(loss, calibration_error(probabilities, happened), error_by_chance(probabilities))
