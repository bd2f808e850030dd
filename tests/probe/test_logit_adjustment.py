"""Logits are adjusted where a score by class asks for it, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.probe.adjust import TAUS, choose_adjustment
from headstart.probe.blocks import Block, choose_blocks
from headstart.probe.solve import solve_head


def example(shares: tuple[float, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the exact log odds of classes with these shares, and labels."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(len(shares), 2000, p=shares)
    seen = np.eye(len(shares))[labels] + generator.normal(0, 0.7, (2000, len(shares)))
    return (seen / 0.49 + np.log(shares)).astype(np.float32), labels


@pytest.mark.parametrize(
    ("select", "shares", "tau"),
    [
        ("val_balanced_accuracy", (0.9, 0.07, 0.03), 1.0),
        ("val_balanced_accuracy", (1 / 3, 1 / 3, 1 / 3), None),
        ("val_macro_f1", (0.9, 0.07, 0.03), 0.0),
        ("val_loss", (0.9, 0.07, 0.03), None),
        ("val_accuracy", (0.9, 0.07, 0.03), None),
        ("", (0.9, 0.07, 0.03), None),
    ],
)
def test_the_adjustment_follows_the_score(select: str, shares: tuple[float, ...], tau: float | None) -> None:
    logits, labels = example(shares)
    found = choose_adjustment(logits, labels, np.ones(len(labels), bool), select)
    if tau is None:
        assert found is None or np.ptp(found.offsets) < 0.2
        return
    assert found is not None
    assert found.tau == tau or select == "val_macro_f1"
    assert found.scores[found.tau] == max(found.scores.values())
    assert list(found.scores) == list(TAUS)
    counts = np.bincount(labels)
    np.testing.assert_allclose(found.offsets, -found.tau * np.log(counts / counts.sum()), rtol=1e-6)
    assert select.removeprefix("val_").split("_")[0] in found.sentence


def test_rows_without_usable_outputs_are_not_scored() -> None:
    logits, labels = example((0.9, 0.07, 0.03))
    wrong = logits.copy()
    wrong[1000:] = np.roll(wrong[1000:], 1, 1)
    is_scored = np.arange(2000) < 1000
    found, expected = (
        choose_adjustment(each, labels, is_scored, "val_balanced_accuracy") for each in (wrong, logits)
    )
    assert found is not None
    assert expected is not None
    assert found.scores == expected.scores
    assert choose_adjustment(logits, labels, ~is_scored & is_scored, "val_balanced_accuracy") is None


def test_one_photo_of_each_class_is_solved_at_a_weak_penalty_on_the_last_stage() -> None:
    generator = np.random.default_rng(0)
    features = generator.normal(size=(6, 12)).astype(np.float32)
    labels, units = np.arange(6), np.arange(6)
    solved = solve_head(features, labels, units, "classes", 6)
    assert solved.penalties == (1e-4,)
    assert solved.cv_loss is None
    blocks = (Block("stage.early", 0, 6, 0.5), Block("last", 6, 12))
    reading = choose_blocks(features, blocks, labels, units)
    assert reading.stages == ()
    assert reading.errors is None


def test_classes_of_one_photo_do_not_decide_about_stages() -> None:
    """Beside two classes that the early stage tells apart, there are 20 that it only disturbs."""
    generator = np.random.default_rng(0)
    labels = np.concatenate([np.arange(40) % 2, np.arange(2, 22)])
    features = generator.normal(size=(60, 20)).astype(np.float32)
    features[:40, :10] += 3 * labels[:40, None]
    features[40:, :10] *= 10
    blocks = (Block("stage.early", 0, 10, 0.7), Block("last", 10, 20))
    both = choose_blocks(features, blocks, labels, np.arange(60))
    assert both.stages == ("stage.early",)
    assert both.errors is not None
