"""The best temperature is found, and the loss that it leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headstart.tasks.calibration import LIMITS, best_temperature, calibrated_loss
from headstart.tasks.losses import binary_cross_entropy, cross_entropy
from headstart.training.run.history import EpochRecord


def example(kind: str, seed: int, num_photos: int = 200) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (num_photos, 5)).astype(np.float32)
    if kind == "classes":
        noise = generator.gumbel(size=logits.shape)
        return logits, (logits + noise).argmax(1)
    return logits, generator.random(logits.shape) < 1 / (1 + np.exp(-logits))


def mean_loss(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    losses = cross_entropy if labels.ndim == 1 else binary_cross_entropy
    return float(losses(logits.astype(np.float64) / temperature, labels).mean())


@pytest.mark.parametrize("kind", ["classes", "labels"])
@pytest.mark.parametrize("factor", [0.2, 1.0, 7.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_best_temperature_is_found_at_any_scale(kind: str, factor: float, seed: int) -> None:
    logits, labels = example(kind, seed)
    temperature = best_temperature(factor * logits, labels)
    assert temperature == pytest.approx(factor, rel=0.35)  # the labels were drawn at a temperature of 1
    tried = factor * np.geomspace(0.5, 2, 2001)
    best = min(mean_loss(factor * logits, labels, each) for each in tried)
    assert calibrated_loss(factor * logits, labels) == pytest.approx(best, rel=1e-5)
    assert calibrated_loss(factor * logits, labels) == pytest.approx(
        calibrated_loss(logits, labels), rel=1e-5
    )


@pytest.mark.parametrize("kind", ["classes", "labels"])
def test_many_photos_are_computed_in_parts(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = example(kind, 0)
    whole = calibrated_loss(logits, labels)
    monkeypatch.setattr("headstart.tasks.calibration._VALUES_AT_ONCE", 35)
    assert calibrated_loss(logits, labels) == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize(
    ("logits", "labels", "temperature"),
    [
        ([[9.0, 0], [0, 9]], [0, 1], LIMITS[0]),  # always right
        ([[9.0, 0], [0, 9]], [1, 0], LIMITS[1]),  # always wrong
        ([[9.0, -9]], [[True, False]], LIMITS[0]),
        ([[3.0], [-2]], [0, 0], 1.0),  # a single class
        ([[2.0, 2], [1, 1]], [0, 1], 1.0),
        ([[np.nan, 2], [1, 1]], [0, 1], 1.0),
        ([[-np.inf, 2], [1, 1]], [1, 1], 1.0),
        ([[1e30, -1e30], [1, 0]], [0, 1], 20.0),
    ],
)
def test_a_temperature_is_always_returned(logits: Any, labels: Any, temperature: float) -> None:
    given = np.array(logits, np.float32), np.array(labels)
    assert best_temperature(*given) == pytest.approx(temperature)
    assert calibrated_loss(*given) >= 0 or np.isnan(logits).any()


@pytest.mark.parametrize("kind", ["classes", "labels"])
def test_smoothed_targets_bound_the_temperature_of_logits_that_are_always_right(kind: str) -> None:
    logits, _ = example(kind, 0)
    labels = logits.argmax(1) if kind == "classes" else logits > 0
    assert best_temperature(logits, labels) == LIMITS[0]
    few, many = (best_temperature(logits, labels, smoothing=share) for share in (0.05, 0.005))
    assert LIMITS[0] < many < few < 2
    assert best_temperature(7 * logits, labels, smoothing=0.05) == pytest.approx(7 * few, rel=1e-4)


def test_a_photo_of_weight_two_counts_twice() -> None:
    logits, labels = example("classes", 1)
    weights = np.where(labels == 0, 2.0, 1.0)
    twice = np.concatenate([np.arange(200), np.flatnonzero(labels == 0)])
    expected = best_temperature(logits[twice], labels[twice])
    assert best_temperature(logits, labels, weights=weights) == pytest.approx(expected, rel=1e-6)
    assert expected != pytest.approx(best_temperature(logits, labels), rel=1e-3)


def record(**val: float) -> EpochRecord:
    return EpochRecord("a", 1, {"loss": 0.1, "accuracy": 0.9}, val, 1e-3, 1.0)


@pytest.mark.parametrize(
    ("select", "better", "worse"),
    [
        ("val_calibrated_loss", {"loss": 0.5, "calibrated_loss": 0.2}, {"loss": 0.4, "calibrated_loss": 0.3}),
        ("val_calibrated_loss", {"loss": 0.3}, {"loss": 0.4}),  # numbers and boxes
        ("val_loss", {"loss": 0.4, "calibrated_loss": 0.3}, {"loss": 0.5, "calibrated_loss": 0.2}),
        (
            "val_balanced_accuracy",
            {"loss": 2, "balanced_accuracy": 0.8},
            {"loss": 1, "balanced_accuracy": 0.7},
        ),
        ("val_macro_f1", {"loss": 1, "macro_f1": 0.7}, {"loss": 2, "macro_f1": 0.7}),
    ],
)
def test_weights_are_selected_by_the_score(
    select: str, better: dict[str, float], worse: dict[str, float]
) -> None:
    assert record(**better).is_better_than(record(**worse), select)
    assert not record(**worse).is_better_than(record(**better), select)


@pytest.mark.parametrize(("headline", "floor", "worse"), [("accuracy", 0.8, 0.79), ("mae", 2.0, 2.1)])
def test_weights_with_a_worse_main_score_than_those_before_the_phase_are_not_kept(
    headline: str, floor: float, worse: float
) -> None:
    def scored(loss: float, score: float) -> EpochRecord:
        return EpochRecord("a", 1, {"loss": 0.1, headline: 0.9}, {"loss": loss, headline: score}, 1e-3, 1.0)

    before = scored(0.5, floor)
    assert scored(0.4, floor).is_better_than(before, "val_calibrated_loss", before)
    assert not scored(0.4, worse).is_better_than(before, "val_calibrated_loss", before)
    assert scored(0.4, worse).is_better_than(before, "val_loss", before)
    assert scored(0.4, worse).is_better_than(before, "val_calibrated_loss")


def test_a_line_of_progress_shows_the_score_that_selects() -> None:
    epoch = record(loss=0.5, accuracy=0.75, calibrated_loss=0.25, macro_f1=0.625, balanced_accuracy=0.5)
    assert "val loss 0.500 accuracy 0.750   lr" in epoch.text("val_loss")
    assert "val loss 0.500 accuracy 0.750 macro f1 0.625   lr" in epoch.text("val_macro_f1")
