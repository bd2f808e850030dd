"""A tiny model file that tells red, green and blue photos apart."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.helper

from headstart.images.settings import Preprocessing
from headstart.inference.model_file import ModelInfo

INFO = ModelInfo(
    task="classification",
    backbone="colours",
    class_names=("red", "green", "blue"),
    preprocessing=Preprocessing(size_px=16, crop_fraction=1.0),
    versions={"onnxruntime": "0.1"},
)


def colours_model(operator: str = "Softmax") -> bytes:
    """A network whose logits are a photo's mean red, green and blue, in 0..5."""
    node, value = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    float32 = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [
            node("Cast", ["images"], ["floats"], to=float32),
            node("ReduceMean", ["floats"], ["means"], axes=[1, 2], keepdims=0),
            node("Div", ["means", "scale"], ["logits"]),
            node(operator, ["logits"], ["probabilities"]),
        ],
        "colours",
        [value("images", onnx.TensorProto.UINT8, ["N", 16, 16, 3])],
        [value("logits", float32, ["N", 3]), value("probabilities", float32, ["N", 3])],
        [onnx.numpy_helper.from_array(np.float32(51), "scale")],
    )
    opset = onnx.helper.make_opsetid("", 17)
    return onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString()
