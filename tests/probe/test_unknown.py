"""The score of photos that are of none of the classes."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from headstart.probe.folds import deal_folds
from headstart.probe.unknown import (
    UNKNOWN,
    UnknownScore,
    fit_unknown,
    rejected_out_of_fold,
    rows_to_fit,
)
from headstart.probe.unknown_graph import with_unknown

D, K = 60, 3


def example(number: int, seed: int = 0, classes: int = K) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, classes, and logits of a head that knows the first three classes."""
    centres = 1 + np.random.default_rng(7).normal(size=(classes, D))
    generator = np.random.default_rng(seed)
    labels = np.arange(number) % classes
    features = 9 * (centres[labels] + 0.5 * generator.normal(size=(number, D)) * np.linspace(0.2, 1.5, D))
    logits = features @ (centres[:K] - centres[:K].mean(0)).T / 30
    return features.astype(np.float32), labels, logits.astype(np.float32)


def fitted(number: int = 300, **settings: int) -> UnknownScore | None:
    features, labels, logits = example(number)
    return fit_unknown(features, labels, logits, deal_folds(labels, np.arange(number)), **settings)


@pytest.mark.parametrize("rank", [8, 128])
def test_known_photos_are_rarely_rejected_and_foreign_ones_are(rank: int) -> None:
    score = fitted(rank=rank)
    assert score is not None
    assert score.directions.shape == (min(rank, D), D)
    assert (int((score.known > score.threshold).sum()), len(score.known)) == (5, 300)
    fold = deal_folds(example(300)[1], np.arange(300))
    assert 1 <= rejected_out_of_fold(score.known, fold).sum() <= 15
    features, _, logits = example(3000, 1)
    assert 0.005 < (score(features, logits) > score.threshold).mean() < 0.04
    features, labels, logits = example(400, 2, classes=4)
    new = labels == 3  # a class that training has not seen
    assert (score(features[new], logits[new]) > score.threshold).mean() > 0.9
    noise = np.random.default_rng(3).normal(size=(100, D)).astype(np.float32)
    assert (score(noise, logits[:100]) > score.threshold).mean() > 0.95


def in_graph(score: UnknownScore, opset: int, width: int) -> bytes:
    """A graph with the inputs "f" and "given", the logits, and the output of the score."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("Identity", ["given"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        "model",
        [value("f", TensorProto.FLOAT, ["n", width]), value("given", TensorProto.FLOAT, ["n", K])],
        [value(name, TensorProto.FLOAT, ["n", K]) for name in ("logits", "probabilities")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return with_unknown(model.SerializeToString(), "f", score)


@pytest.mark.parametrize("opset", [13, 17, 18])
def test_the_output_of_the_graph_is_the_score(opset: int) -> None:
    score = fitted(rank=16)
    assert score is not None
    made = in_graph(score, opset, D)
    onnx.checker.check_model(onnx.load_from_string(made), full_check=True)
    features, _, logits = example(50, 4)
    session = onnxruntime.InferenceSession(made)
    (found,) = session.run([UNKNOWN], {"f": features, "given": logits})
    assert found.shape == (50, 1)
    np.testing.assert_allclose(found[:, 0], score(features, logits), rtol=1e-3, atol=1e-3)
    operators = {node.op_type for node in onnx.load_from_string(made).graph.node}
    assert operators <= {
        "Identity",
        "Softmax",
        "ReduceL2",
        "ReduceMax",
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Gemm",
        "Log",
    }
    zeros = np.zeros((1, D), np.float32)
    assert np.isfinite(session.run([UNKNOWN], {"f": zeros, "given": logits[:1]})[0]).all()


def test_the_same_photos_give_the_same_bits() -> None:
    one, other = (fitted() for _ in range(2))
    assert one is not None
    assert other is not None
    for field in dataclasses.fields(UnknownScore):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))


def test_too_few_photos_or_folds_have_no_score() -> None:
    assert fitted(49) is None
    features, labels, logits = example(100)
    assert fit_unknown(features, labels, logits, np.zeros(100, int)) is None
    assert fit_unknown(features, labels, np.zeros_like(logits), np.arange(100) % 5) is None


def test_the_rows_to_fit_have_a_fold_and_are_spread_evenly() -> None:
    fold = np.arange(10_000) % 5 - 1
    labels = np.zeros(10_000, int)
    rows = rows_to_fit(fold, labels, 3000)
    assert len(rows) == 3000
    assert (fold[rows] >= 0).all()
    assert np.diff(rows).max() < 6
    np.testing.assert_array_equal(rows_to_fit(np.arange(5) - 1, labels[:5]), [1, 2, 3, 4])


def test_the_rows_to_fit_have_two_of_each_class_in_different_folds() -> None:
    labels = np.r_[np.zeros(9000, int), np.full(6, 1), [2]]
    fold = np.r_[np.arange(9000) % 5, [0, 1, 2, 0, 3, 4], [1]]
    rows = rows_to_fit(fold, labels, 100)
    assert np.bincount(labels[rows]).tolist() == [99, 2, 1]
    assert len(np.unique(fold[rows][labels[rows] == 1])) == 2


def test_features_of_low_rank_keep_their_score_in_float32() -> None:
    features, labels, logits = example(300)
    generator = np.random.default_rng(5)
    basis = generator.normal(size=(D, 1000))
    wide = (features @ basis + 1e-4 * generator.normal(size=(300, 1000))).astype(np.float32)
    score = fit_unknown(wide, labels, logits, deal_folds(labels, np.arange(300)))
    assert score is not None
    session = onnxruntime.InferenceSession(in_graph(score, 17, 1000))
    (found,) = session.run([UNKNOWN], {"f": wide, "given": logits})
    np.testing.assert_allclose(found[:, 0], score(wide, logits), atol=1e-3)
