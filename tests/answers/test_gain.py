"""What one model gains over another, from their answers for the same photos."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from headstart.answers.gain import Gain, gain
from headstart.answers.table import Answers

CLASSES = ("cat", "dog")


def answers_of(margins: Sequence[float], groups: Sequence[str] | None = None) -> Answers:
    """Return answers for photos of cats and dogs in turn, whose right class is ahead by ``margins``."""
    num = len(margins)
    labels = np.arange(num) % 2
    logits = np.zeros((num, 2), np.float32)
    logits[np.arange(num), labels] = margins
    return Answers(
        path=[f"{row}.jpg" for row in range(num)],
        sha256=[f"hash {row}" for row in range(num)],
        split=["val"] * num,
        group=[""] * num if groups is None else list(groups),
        alike=[""] * num,
        fold=np.full(num, -1, np.int32),
        source=["val"] * num,
        label=[CLASSES[label] for label in labels],
        prediction=[CLASSES[row.argmax()] for row in logits],
        loss=np.log1p(np.exp(-np.asarray(margins, float))).astype(np.float32),
        outputs=logits,
        output_names=tuple(f"logit:{name}" for name in CLASSES),
    )


def test_a_better_model_has_a_lower_loss_and_a_higher_accuracy() -> None:
    old = answers_of([2.0, -1.0, 1.0, -2.0] * 50)
    new = answers_of([2.0, 1.0, 1.0, -2.0] * 50)
    found = gain(new, old, "classification")
    assert found.accuracy == pytest.approx(0.25)
    assert found.accuracy_interval is not None
    assert 0 < found.accuracy_interval[0] < 0.25 < found.accuracy_interval[1]
    assert found.loss < found.loss_interval[1] < 0
    assert found.is_clear
    back = gain(old, new, "classification")
    assert (back.loss, back.accuracy) == (pytest.approx(-found.loss), -0.25)
    assert not back.is_clear


def test_confidence_alone_is_no_gain() -> None:
    margins = [2.0, -1.0, 1.0, 3.0] * 10
    found = gain(answers_of([3 * each for each in margins]), answers_of(margins), "classification")
    assert found.loss == pytest.approx(0, abs=1e-6)
    assert found.accuracy == 0


def test_only_photos_of_both_tables_count_in_any_order() -> None:
    old = answers_of([2.0, -1.0, 1.0, -2.0] * 5)
    new = answers_of([2.0, 1.0, 1.0, -2.0] * 6)[np.arange(23, -1, -1)]
    assert gain(new, old, "classification").accuracy == pytest.approx(0.25)
    with pytest.raises(ValueError, match="two"):
        gain(new[:1], old, "classification")


def test_photos_of_one_group_count_as_dependent() -> None:
    rng = np.random.default_rng(0)
    by_group = np.repeat(rng.normal(0, 1, 8), 8)
    old, new = np.full(64, 0.5), 0.5 + by_group
    groups = [f"group {row // 8}" for row in range(64)]
    alone = gain(answers_of(new), answers_of(old), "classification")
    together = gain(answers_of(new, groups), answers_of(old, groups), "classification")
    assert together.loss == alone.loss

    def width(found: Gain) -> float:
        return found.loss_interval[1] - found.loss_interval[0]

    assert width(together) > 1.5 * width(alone)


def test_other_tasks_compare_their_losses() -> None:
    found = gain(answers_of([2.0] * 9), answers_of([1.0] * 9), "multilabel")
    assert found.accuracy is None
    assert found.loss == pytest.approx(np.log1p(np.exp(-2)) - np.log1p(np.exp(-1)))
    assert str(found).startswith("loss -0.186 (95 % -0.186 to -0.186)")
