from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from headstart.config import PhaseConfig
from headstart.data.targets import Targets
from headstart.images.settings import Preprocessing
from headstart.training.steps.criterion import criterion_of
from headstart.training.steps.mix import Mixed
from headstart.training.steps.objective import Objective, balanced_weights

CPU = torch.device("cpu")
COUNTS = torch.tensor([6, 1, 0, 3])
LOGITS = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 3, 0, 3])
OTHER = torch.tensor([1, 2, 4, 0, 3])  # a permutation
TASK = criterion_of(Targets("classification", ("a", "b", "c", "d"), Preprocessing(size_px=32)))


def objective(**settings: Any) -> Objective:
    return Objective(TASK, PhaseConfig(**settings), COUNTS, CPU)


def test_by_default_it_is_the_plain_cross_entropy_of_each_photo() -> None:
    assert torch.equal(objective()(LOGITS, LABELS), F.cross_entropy(LOGITS, LABELS, reduction="none"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_losses_are_float32_whatever_the_logits_are(dtype: torch.dtype) -> None:
    for class_weights in ("none", "balanced"):
        of = objective(class_weights=class_weights, label_smoothing=0.1)
        losses = of(LOGITS.to(dtype), LABELS)
        assert losses.dtype == torch.float32
        assert torch.equal(losses, of(LOGITS.to(dtype).float(), LABELS))


def test_smoothing_gives_a_share_of_the_target_to_all_classes() -> None:
    targets = 0.8 * F.one_hot(LABELS, 4) + 0.2 / 4
    expected = -(targets * LOGITS.log_softmax(1)).sum(1)
    torch.testing.assert_close(objective(label_smoothing=0.2)(LOGITS, LABELS), expected)


def test_a_photo_counts_more_the_rarer_its_class_smoothed_or_not() -> None:
    for smoothing in (0.0, 0.2):
        plain = objective(label_smoothing=smoothing)(LOGITS, LABELS)
        weighted = objective(label_smoothing=smoothing, class_weights="balanced")(LOGITS, LABELS)
        expected = torch.tensor([10 / (3 * 6), 10 / 3, 10 / 9, 10 / (3 * 6), 10 / 9])
        torch.testing.assert_close(weighted / plain, expected)


@given(st.lists(st.integers(0, 200), min_size=1, max_size=30).filter(any))
def test_balanced_weights_are_scikit_learns_and_1_on_average(counts: list[int]) -> None:
    weights = balanced_weights(torch.tensor(counts)).double().numpy()
    present = np.flatnonzero(counts)
    labels = np.repeat(np.arange(len(counts)), counts)
    reference = compute_class_weight("balanced", classes=present, y=labels)
    np.testing.assert_allclose(weights[present], reference, rtol=1e-6)
    assert np.average(weights, weights=counts) == pytest.approx(1, rel=1e-6)
    assert weights.sum() == pytest.approx(weights[present].sum())


def test_a_mixture_is_scored_by_both_labels_with_their_shares() -> None:
    share = torch.tensor([1.0, 0.0, 0.3, 0.3, 0.9])
    of = objective(class_weights="balanced", label_smoothing=0.1)
    losses = of(LOGITS, LABELS, Mixed(LOGITS, OTHER, share))
    of_other = of(LOGITS, LABELS[OTHER])
    torch.testing.assert_close(losses, share * of(LOGITS, LABELS) + (1 - share) * of_other)
    assert losses[0] == of(LOGITS, LABELS)[0]
    assert losses[1] == of_other[1]
    assert torch.equal(of(LOGITS, LABELS, Mixed(LOGITS)), of(LOGITS, LABELS))


def test_the_loss_of_a_mixture_is_the_cross_entropy_with_the_mixed_target() -> None:
    share = torch.full((5,), 0.3)
    targets = 0.3 * F.one_hot(LABELS, 4) + 0.7 * F.one_hot(LABELS[OTHER], 4)
    expected = -(targets * LOGITS.log_softmax(1)).sum(1)
    torch.testing.assert_close(objective()(LOGITS, LABELS, Mixed(LOGITS, OTHER, share)), expected)
