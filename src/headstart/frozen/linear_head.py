"""Finds the linear head in the graph of a whole network, and the features of the last stage that it takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import onnx
from onnx import TensorProto, helper

from headstart.frozen.graph import function_hashes, part_of
from headstart.frozen.prefix import ACTIVATIONS

_SAME_FEATURES: Final = ("Identity", "Dropout", "Mul", "Add", "Sub", "Div")
"""Operators with constants that change no more than the scale of each feature or output."""

_FUNCTION: Final = "features"  # key in the metadata of a model file
_HASH: Final = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class LinearHead:
    """A linear layer from whose outputs an output of the graph follows by operators with constants.

    Attributes:
        layer: ``Gemm`` or ``MatMul``: features (N, D) and constant weights.
        after: The operators between the layer and the output, the last one first.
    """

    layer: onnx.NodeProto
    after: tuple[onnx.NodeProto, ...]

    @property
    def features(self) -> str:
        """Name of the features."""
        return str(self.layer.input[0])

    @property
    def weight(self) -> str:
        """Name of the weights, (D, K); of ``Gemm`` with ``transB``, (K, D)."""
        return str(self.layer.input[1])


def linear_head(model: onnx.ModelProto, output: str) -> LinearHead | None:
    """Return the linear layer that an output comes from; None if it is computed otherwise.

    Args:
        model: A graph with nodes in topological order.
        output: Name of the output.
    """
    return _Chains(model.graph).linear_head(output)


def head_input(model: onnx.ModelProto, output: str) -> str | None:
    """Return the tensor that the last linear layer takes.

    Of a head that reads several stages, which are concatenated, it is the part of the last one.

    Args:
        model: As for ``linear_head``.
        output: Likewise.

    Returns:
        Its name, or None if the output is computed otherwise, by a convolution for example.
    """
    chains = _Chains(model.graph)
    head = chains.linear_head(output)
    if head is None:
        return None
    joined = chains.made_by.get(chains.before(head.features)[0])
    return str(joined.input[-1]) if joined is not None and joined.op_type == "Concat" else head.features


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


def state_function(model: onnx.ModelProto) -> None:
    """State in the metadata of a model what computes its features, if it has a linear head and states none.

    Features are stored under this hash, and a graph that is simplified afterwards has another one.

    Args:
        model: A graph as it was trained, not sealed; its metadata are changed.
    """
    head = head_input(model, output_of_head([each.name for each in model.graph.output]))
    if head is not None and all(each.key != _FUNCTION for each in model.metadata_props):
        model.metadata_props.add(key=_FUNCTION, value=function_hashes(model)[head])


def stated_function(model: bytes) -> str | None:
    """Return what ``state_function`` has stated in a model file; None if there is no such statement."""
    stated = {each.key: each.value for each in onnx.load_from_string(model).metadata_props}
    function = stated.get(_FUNCTION, "")
    return function if _HASH.fullmatch(function) else None


def output_of_head(names: Sequence[str]) -> str:
    """Return which of the outputs of a model file the head computes: its logits, or else the first one."""
    return "logits" if "logits" in names else names[0]


class _Chains:
    """The nodes of a graph by their outputs, and the names of the tensors that depend on its input."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.made_by = {name: node for node in graph.node for name in node.output}
        self._varying = {each.name for each in graph.input}
        for node in graph.node:
            if not self._varying.isdisjoint(node.input):
                self._varying.update(node.output)

    def before(self, name: str) -> tuple[str, tuple[onnx.NodeProto, ...]]:
        """Return the tensor before the operators with constants that lead to one, and these, in reverse."""
        passed = []
        while (node := self.made_by.get(name)) is not None and node.op_type in _SAME_FEATURES:
            given = [each for each in node.input if each in self._varying]
            if len(given) != 1 or name != node.output[0]:
                break
            name = given[0]
            passed.append(node)
        return name, tuple(passed)

    def linear_head(self, output: str) -> LinearHead | None:
        name, after = self.before(output)
        layer = self.made_by.get(name)
        if layer is None or layer.op_type not in ("Gemm", "MatMul"):
            return None
        return None if self._varying.intersection(layer.input[1:]) else LinearHead(layer, after)
