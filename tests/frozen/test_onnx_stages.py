"""Other outputs of a user's ONNX file, which a head may read as earlier stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.frozen.test_onnx_file import HALF, PHOTOS, SIDE, expected, features_of, saved
from tests.labelled import in_metrics

import headstart as hs
from headstart.config import TrainConfig
from headstart.frozen.onnx_backbone import OnnxBackbone
from headstart.frozen.onnx_file.open import open_backbone
from headstart.frozen.own_graphs import own_backbone
from headstart.frozen.pooled import with_pooled
from headstart.inference.runtime import open_session
from headstart.training.tools.extractor import open_extractor

FLOAT, HALF_FLOAT = TensorProto.FLOAT, TensorProto.FLOAT16
NODES: dict[str, tuple[str, list[str], dict[str, Any]]] = {
    "early": ("Conv", ["x", "w0"], {"strides": [2, 2]}),
    "middle": ("Conv", ["early", "w1"], {"strides": [2, 2]}),
    "branch": ("GlobalAveragePool", ["middle"], {}),
    "vector": ("Flatten", ["branch"], {"axis": 1}),
    "scaled": ("Mul", ["vector", "factor"], {}),
    "late": ("Conv", ["middle", "w2"], {}),
    "late_last": ("Transpose", ["late"], {"perm": [0, 2, 3, 1]}),
    "middle_last": ("Transpose", ["middle"], {"perm": [0, 2, 3, 1]}),
    "tokens": ("Reshape", ["late", "shape"], {}),
    "pooled": ("GlobalAveragePool", ["late"], {}),
    "in_batch": ("ReduceMax", ["middle"], {"axes": [0]}),
    "others": ("Sub", ["middle", "in_batch"], {}),
    "integers": ("ArgMax", ["vector"], {"axis": 1, "keepdims": 1}),
    "logits": ("Mul", ["vector", "vector"], {}),
    "text": ("Identity", ["ids"], {}),
    "features": ("Flatten", ["pooled"], {"axis": 1}),
    "after": ("Mul", ["features", "features"], {}),
}
"""A network of three convolutions, with much that a file may have as outputs besides ``features``."""


def file_with(*outputs: str, kind: int = FLOAT, batch: Any = "n", cube: bool = False) -> onnx.ModelProto:
    widths = (3, 4, 3 if cube else 6, 6, 5)
    random = np.random.default_rng(0)
    dtype = np.float16 if kind == HALF_FLOAT else np.float32
    weights = {f"w{i}": random.normal(0, 0.3, (widths[i + 1], widths[i], 3, 3)) for i in range(2)}
    weights["w2"] = random.normal(0, 0.3, (5, widths[2], 2, 2))
    arrays = {name: values.astype(dtype) for name, values in weights.items()}
    arrays |= {"shape": np.array([0, 4, 5]), "factor": np.array([2], dtype)}
    inputs = [helper.make_tensor_value_info("x", kind, [batch, 3, SIDE, SIDE])]
    if "text" in outputs:
        inputs.append(helper.make_tensor_value_info("ids", kind, ["batch", "n"]))
    graph = helper.make_graph(
        [
            helper.make_node(operator, names, [name], **attributes)
            for name, (operator, names, attributes) in NODES.items()
            if name != "text" or "text" in outputs
        ],
        "net",
        inputs,
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(values, name) for name, values in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def opened(model: onnx.ModelProto, folder: Path) -> tuple[OnnxBackbone, str]:
    said: list[str] = []
    path = saved(model, folder)
    return open_backbone(path, output_name="features", say=said.append, **HALF), " ".join(said)


def pooled_of(values: np.ndarray) -> np.ndarray:
    if values.ndim == 2:
        return values
    axes = (2, 3) if values.shape[2] == values.shape[3] else (1, 2)
    return np.concatenate([values.mean(axes), values.std(axes)], 1)


@pytest.mark.parametrize(
    ("outputs", "read", "kind"),
    [
        (("middle", "features"), ("middle",), FLOAT),
        (("features", "middle", "early"), ("early", "middle"), FLOAT),
        (("early", "middle", "vector", "features"), ("middle", "vector"), HALF_FLOAT),
        (("early", "scaled", "middle_last", "features"), ("scaled", "middle_last"), FLOAT),
    ],
    ids=["a map", "in the order of the graph", "a vector, in half precision", "channels last"],
)
def test_the_last_two_outputs_before_the_features_are_earlier_stages(
    outputs: tuple[str, ...], read: tuple[str, ...], kind: int, tmp_path: Path
) -> None:
    model = file_with(*outputs, kind=kind)
    backbone, said = opened(model, tmp_path)
    assert f"A head may read {' and '.join(read)} of net.onnx too" in said
    assert backbone.stages == tuple(f"stage.{name}" for name in read)
    wanted = [pooled_of(expected(model, "NCHW", kind, name)) for name in read]
    assert backbone.earlier == tuple(
        (stage, values.shape[1]) for stage, values in zip(backbone.stages, wanted, strict=True)
    )
    session = open_session(with_pooled(backbone.graph, backbone.stages))
    features, pooled = session.run(None, {"images": PHOTOS})
    tolerance = 4e-3 if kind == HALF_FLOAT else 1e-5
    np.testing.assert_allclose(pooled, np.concatenate(wanted, 1), atol=tolerance)
    alone, _ = opened(file_with("features", kind=kind), tmp_path)
    assert backbone.function == alone.function  # so that stored rows are of use to both
    assert features.tobytes() == features_of(alone.graph).tobytes()


@pytest.mark.parametrize(
    ("outputs", "told"),
    [
        (("tokens", "features"), "tokens is (N, 4, 5), neither a map nor a vector"),
        (("integers", "features"), "integers is int64"),
        (("others", "features"), "others depends on the other photos of a batch"),
        (("late", "features"), "late has the features themselves"),
        (("late_last", "features"), "late_last has the features themselves"),
        (("logits", "features"), ""),
        (("text", "features"), ""),
        (("features", "after"), ""),
        (("features",), ""),
    ],
    ids=lambda each: each[0] if isinstance(each, tuple) else "",
)
def test_an_output_of_which_this_is_not_known_is_left_out(
    outputs: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    backbone, said = opened(file_with(*outputs), tmp_path)
    assert backbone.stages == backbone.earlier == ()
    assert f"does not read as earlier stages: {told}" in said if told else "earlier stages" not in said
    assert backbone == opened(file_with("features"), tmp_path)[0]


def test_a_map_as_wide_as_it_is_deep_is_left_out(tmp_path: Path) -> None:
    backbone, said = opened(file_with("middle", "features", cube=True), tmp_path)
    assert "middle is (N, 3, 3, 3), whose axis of channels is not known" in said
    assert backbone.stages == ()


def test_a_file_that_takes_one_photo_at_a_time_has_no_earlier_stages(tmp_path: Path) -> None:
    model = file_with("middle", "features", batch=1)
    (node,) = (each for each in model.graph.node if each.output[0] == "features")
    node.CopyFrom(helper.make_node("Reshape", ["pooled", "one"], ["features"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 5]), "one"))
    backbone, said = opened(model, tmp_path)
    assert "A head reads features of net.onnx alone" in said
    assert backbone.stages == ()
    assert features_of(backbone.graph).shape == (5, 5)


def test_a_backbone_cut_at_its_stages_has_the_stages_of_our_own(tmp_path: Path) -> None:
    own = own_backbone("timm/tf_efficientnet_lite0", "default", 64)
    assert own is not None
    model = onnx.load_from_string(own.graph)
    stages = [name for name, _ in own.earlier]
    for name in (*stages, own.stages[-1]):
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    photos = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    backbone = open_backbone(saved(model, tmp_path), say=lambda _: None)
    found, wanted = (
        open_session(with_pooled(graph, names)).run(None, {"images": photos})
        for graph, names in ((backbone.graph, backbone.stages), (own.graph, stages))
    )
    assert [width for _, width in backbone.earlier] == [width for _, width in own.earlier]
    for values, others in zip(found, wanted, strict=True):
        np.testing.assert_allclose(values, others, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("head", "num_inputs"), [("stages", 12 + 6 + 5), ("linear", 5)])
def test_a_model_file_has_only_what_its_head_reads(
    head: str, num_inputs: int, photos: Path, tmp_path: Path
) -> None:
    path = saved(file_with("early", "middle", "scaled", "features"), tmp_path)
    run = hs.train(photos, tmp_path / "run", backbone=str(path), output_name="features", head=head, **HALF)
    assert run.metrics["head"]["kind"] == head
    assert set(run.predictor.info.stages) <= {"stage.middle", "stage.scaled"}
    graph = onnx.load(run.path / "model.onnx").graph
    sizes = {each.name: tuple(each.dims) for each in graph.initializer}
    if head == "linear":
        assert sizes["head.weight"] == (3, num_inputs)
        assert "factor" not in sizes
    else:
        assert sizes["head.weight"] in {(3, num_inputs), (3, 6 + 5)}
    outputs = ["logits", "probabilities", "heat_map", "heat_map_share"]
    assert [each.name for each in graph.output] == outputs
    used = {name for node in graph.node for name in node.input} | {each.name for each in graph.output}
    assert {name for node in graph.node for name in node.output} | sizes.keys() <= used
    assert in_metrics(hs.evaluate(run.path, photos / "test")) == run.metrics["test"]


def test_features_without_a_head_say_nothing_of_stages(photos: Path, tmp_path: Path) -> None:
    path, said = saved(file_with("early", "tokens", "features"), tmp_path), list[str]()
    config = TrainConfig(photos, backbone=str(path), output_name="features", **HALF)
    file = open_extractor(config, "classification", said.append).file
    assert file is not None
    assert file.stages == ()
    assert not [text for text in said if "stages" in text]
