"""Model files contain only operators in forms that old and small runtimes read."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from headstart.frozen.own_graphs import own_backbone
from headstart.frozen.pooled import pooled_widths
from headstart.frozen.prefix import ACTIVATIONS
from headstart.inference.model_file import ModelInfo
from headstart.model.to_onnx import to_onnx
from headstart.probe.assemble import assemble
from headstart.probe.unknown import UnknownScore
from headstart.probe.unknown_graph import with_unknown
from headstart.products.fixed_shapes import with_fixed_shapes
from headstart.products.half import with_half_weights
from headstart.products.heat_map import with_heat_map
from headstart.products.mean_blocks import constants_of, run_on

SIZE_PX = 16


class Padded(nn.Module):
    """Pads as TensorFlow does, flattens, and subtracts a mean: what exporters write as computations."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.float().permute(0, 3, 1, 2)
        height, width = pixels.shape[-2:]
        pad = [max((-(-side // 2) - 1) * 2 + 3 - side, 0) for side in (height, width)]
        maps = self.conv(nn.functional.pad(pixels, (pad[1] // 2, pad[1] - pad[1] // 2, 0, pad[0])))
        flat = maps.flatten(2)
        return (flat - flat.mean(2)[:, :, None]).square().mean(2)


def exported(network: nn.Module) -> bytes:
    torch.manual_seed(0)
    return to_onnx(network, torch.zeros(2, SIZE_PX, SIZE_PX, 3, dtype=torch.uint8))


def photos(number: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (number, SIZE_PX, SIZE_PX, 3), np.uint8)


def test_shapes_become_constants_and_no_bit_changes() -> None:
    before = exported(Padded())
    after = with_fixed_shapes(before, SIZE_PX)
    operators = {node.op_type for node in onnx.load_from_string(before).graph.node}
    assert {"Shape", "Unsqueeze", "Pad"} <= operators
    assert not unusual(after)
    for number in (1, 2, 5):
        old, new = (
            run_on(onnx.load_from_string(each), ["output"], photos(number))[0] for each in (before, after)
        )
        assert old.shape == (number, 4)
        assert old.tobytes() == new.tobytes()
    assert with_fixed_shapes(after, SIZE_PX) == after


def test_what_depends_on_the_number_of_photos_stays() -> None:
    class Repeated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.arange(4.0).reshape(1, 4))

        def forward(self, images: Tensor) -> Tensor:
            return self.token.expand(images.shape[0], -1) * images.float().mean((1, 2, 3))[:, None]

    before = exported(Repeated())
    after = with_fixed_shapes(before, SIZE_PX)
    (found,) = run_on(onnx.load_from_string(after), ["output"], photos(7))
    (wanted,) = run_on(onnx.load_from_string(before), ["output"], photos(7))
    assert found.tobytes() == wanted.tobytes()


def test_a_constant_for_few_photos_only_is_noticed() -> None:
    """One is added to the output from three photos on, so a constant would be right for one and for two."""
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=onnx.TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["floats"], ["largest"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Shape", ["largest"], ["number"]),
        helper.make_node("Greater", ["number", "two"], ["are_many"]),
        helper.make_node("Cast", ["are_many"], ["more"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Add", ["largest", "more"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "counting",
        [helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, ["N", SIZE_PX, SIZE_PX, 3])],
        [helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, ["N"])],
        [numpy_helper.from_array(np.array([2]), "two")],
    )
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
    assert with_fixed_shapes(model, SIZE_PX) == model


@pytest.fixture(scope="module")
def default_model() -> bytes:
    """A probe of the default backbone that reads earlier stages, with all outputs."""
    backbone = own_backbone("timm/tf_efficientnet_lite0", "default", 64)
    assert backbone is not None
    stages = tuple(name for name, _ in backbone.earlier[:2])
    info = ModelInfo(
        "classification", backbone.name, ("a", "b", "c"), backbone.preprocessing, head="stages", stages=stages
    )
    rng = np.random.default_rng(0)
    num_features = sum(pooled_widths(backbone.graph, stages)) + 1280
    model = assemble(backbone, rng.normal(size=(3, num_features)), rng.normal(size=3), info)
    numbers = [rng.normal(size=shape).astype(np.float32) for shape in ((1280,), (4, 1280), (1280, 3), (3,))]
    score = UnknownScore(numbers[0], numbers[1], 1.0, numbers[2], numbers[3], 1.0, 0.0, 0.0, np.zeros(1))
    explained = with_heat_map(with_unknown(model, ACTIVATIONS, score), info)
    assert explained.size is not None
    return explained.model


def test_the_default_model_runs_in_old_runtimes(default_model: bytes) -> None:
    assert any(each.startswith("Shape") for each in unusual(default_model))
    model = with_fixed_shapes(default_model, 64)
    assert not unusual(model)
    outputs = [each.name for each in onnx.load_from_string(model).graph.output]
    assert outputs == ["logits", "probabilities", "unknown", "heat_map", "heat_map_share"]
    half = with_half_weights(model)
    assert not [each for each in unusual(half) if not each.startswith(("BatchNormalization", "Conv", "Gemm"))]


# Operators that OpenCV 4.10 and ONNX Runtime 1.20 run in `python -m benchmarks.runtimes`, with the numbers of
# the inputs that must be constants.
FORMS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("Add", "Mul", "Sub", "Div", "MatMul", "Abs", "Sqrt", "Log", "Sigmoid", "Softmax"), ()),
    **dict.fromkeys(("Cast", "Constant", "Concat", "Flatten", "GlobalAveragePool", "Identity", "Relu"), ()),
    **dict.fromkeys(("ArgMax", "Gather", "Transpose"), ()),
    **dict.fromkeys(("ReduceL2", "ReduceMax", "ReduceMean", "Reshape"), (1,)),
    **dict.fromkeys(("Clip", "Conv", "Gemm", "Pad"), (1, 2)),
    **dict.fromkeys(("BatchNormalization", "Slice"), (1, 2, 3, 4)),
}


def unusual(model: bytes) -> list[str]:
    """Name the nodes of a model that are not in one of the forms."""
    graph = onnx.load_from_string(model).graph
    constants = {"", *constants_of(graph)}
    return [
        f"{node.op_type} {node.name}"
        for node in graph.node
        if node.domain
        or node.op_type not in FORMS
        or any(node.input[at] not in constants for at in FORMS[node.op_type] if at < len(node.input))
    ]
