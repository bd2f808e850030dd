"""Finds the features of the last stage in the graph of a whole network: what its last linear layer takes."""

from __future__ import annotations

from typing import Final

import onnx
from onnx import TensorProto, helper

from headstart.frozen.graph import part_of
from headstart.frozen.prefix import ACTIVATIONS

_SAME_FEATURES: Final = ("Identity", "Dropout", "Mul", "Add", "Sub", "Div")
"""Operators with constants that change no more than the scale of each feature or output."""


def head_input(model: onnx.ModelProto, output: str) -> str | None:
    """Return the tensor that the last linear layer takes.

    Of a head that reads several stages, which are concatenated, it is the part of the last one.

    Args:
        model: A graph with nodes in topological order.
        output: Name of an output that a linear layer computes.

    Returns:
        Its name, or None if the output is computed otherwise, by a convolution for example.
    """
    made_by = {name: node for node in model.graph.node for name in node.output}
    varying = {each.name for each in model.graph.input}
    for node in model.graph.node:
        if not varying.isdisjoint(node.input):
            varying.update(node.output)

    def behind(name: str, *operators: str) -> str:
        """Return what the operators before a tensor take, as far as they take one tensor that varies."""
        while (node := made_by.get(name)) is not None and node.op_type in operators:
            given = [each for each in node.input if each in varying]
            if len(given) != 1 or name != node.output[0]:
                break
            name = given[0]
        return name

    layer = made_by.get(behind(output, *_SAME_FEATURES))
    if layer is None or layer.op_type != "Gemm" or varying.intersection(layer.input[1:]):
        return None
    found: str = layer.input[0]
    joined = made_by.get(behind(found, *_SAME_FEATURES))
    if joined is not None and joined.op_type == "Concat":
        found = joined.input[-1]
    return found


def with_output(model: onnx.ModelProto, name: str) -> bytes:
    """Return the same graph with one more output, of float32 rows."""
    added = onnx.ModelProto()
    added.CopyFrom(model)
    added.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", None]))
    return bytes(added.SerializeToString())


def up_to_head(model: bytes, output: str) -> bytes | None:
    """Return the part of a model file that computes the features before the head, as ``activations``.

    Args:
        model: The content of a ``model.onnx``.
        output: As for ``head_input``.

    Returns:
        The graph, for ``OnnxPrefix``; None as for ``head_input``.
    """
    loaded = onnx.load_from_string(model)
    tensor = head_input(loaded, output)
    if tensor is None:
        return None
    if tensor != ACTIVATIONS:
        loaded.graph.node.append(helper.make_node("Identity", [tensor], [ACTIVATIONS]))
    return part_of(onnx.load_from_string(with_output(loaded, ACTIVATIONS)), "images", [ACTIVATIONS])
