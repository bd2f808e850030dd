"""Finds in the graph of a model file which inputs of its linear head are means over the positions of maps.

It reads the graph only, so it works for assembled probes and for networks that PyTorch has exported.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from headstart.frozen.linear_head import linear_head
from headstart.inference.runtime import open_session

_SAME_VALUES: Final = {"Identity", "Cast", "Dropout", "Flatten", "Reshape", "Squeeze", "Unsqueeze"}
_FACTORS: Final = ("Mul", "Div")
_TOLERANCE: Final = 1e-3
_SPATIAL: Final = {(2, 3): True, (-2, -1): True, (1, 2): False}  # axes: whether channels come first


@dataclass(frozen=True)
class Block:
    """Columns of the head's input that come from one tensor.

    Attributes:
        source: Name of the tensor, with one value per column.
        width: Number of columns.
        map: Name of the tensor whose mean over positions it is; None if it is no such mean.
        shape: Shape of the map without the batch: (C, H, W), or (H, W, C).
        channels_first: Which of the two.
        norm: Gain and bias (width,) and epsilon of a layer norm between the mean and the head.
    """

    source: str
    width: int = 0
    map: str | None = None
    shape: tuple[int, ...] = ()
    channels_first: bool = True
    norm: tuple[np.ndarray, np.ndarray, float] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the map."""
        rows, columns = self.shape[1:] if self.channels_first else self.shape[:2]
        return rows, columns


@dataclass(frozen=True)
class HeadWeights:
    """What the logits of a model file are computed with.

    Attributes:
        features: Name of the head's input, (N, D).
        weight: Name of its weights, a constant.
        rows_are_classes: Whether they are (K, D), not (D, K).
        factors: Factors of the logits, (K,) or (1,).
        scale: Factors of the input, (D,) or (1,).
    """

    features: str
    weight: str
    rows_are_classes: bool
    factors: np.ndarray
    scale: np.ndarray


class NoMapError(Exception):
    """The head reads no mean of a map; the message is a clause that says what it reads instead."""


def head_weights(model: onnx.ModelProto) -> HeadWeights:
    """Return what the output ``logits`` is computed with.

    Raises:
        NoMapError: It does not come from a linear layer with constant weights.
    """
    constants, head = constants_of(model.graph), linear_head(model, "logits")
    if head is None or head.weight not in constants:
        raise NoMapError("its logits do not come from a linear layer")
    factors, layer = np.ones(1, np.float32), head.layer
    for node in head.after:
        factor = _factor(node, constants)
        if factor is None and node.op_type in _FACTORS:
            raise NoMapError("its logits are multiplied by what is not a constant")
        factors = factors if factor is None else factors * factor
    if _attribute(layer, "transA", 0) or _attribute(layer, "alpha", 1.0) != 1:
        raise NoMapError("its linear layer is of an unusual kind")
    features, scale = head.features, np.ones(1, np.float32)
    before = _makers(model.graph).get(features)
    if before is not None and (factor := _factor(before, constants)) is not None:
        features, scale = next(name for name in before.input if name not in constants), factor
    return HeadWeights(features, head.weight, bool(_attribute(layer, "transB", 0)), factors, scale)


def _factor(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]) -> np.ndarray | None:
    """Return what a node multiplies its other input by, (D,) or (1,); None if it does not do that."""
    fixed = [name for name in node.input if name in constants]
    if (
        node.op_type not in _FACTORS
        or len(fixed) != 1
        or (node.op_type == "Div" and fixed[0] != node.input[1])
    ):
        return None
    values = numpy_helper.to_array(constants[fixed[0]]).reshape(-1)
    return values if node.op_type == "Mul" else 1 / values


def mean_blocks(model: onnx.ModelProto, head: HeadWeights, example: np.ndarray) -> tuple[Block, ...]:
    """Return the blocks of a head's input, in the order of its columns; at least one has a map.

    Args:
        model: The model.
        head: Its head.
        example: Photos, (N, H, W, 3) uint8, that the graph is run on to find out the shapes.

    Raises:
        NoMapError: No block is the mean of a map with more than one position.
    """
    found = tuple(_blocks(model.graph, head.features))
    maps = [each.map for each in found if each.map]
    if not maps:
        raise NoMapError(_what_it_reads(model.graph, head.features))
    names = list(dict.fromkeys([*(each.source for each in found), *maps]))
    values = dict(zip(names, run_on(model, names, example), strict=True))
    blocks = tuple(_checked(each, values) for each in found)
    if not any(each.map for each in blocks):
        raise NoMapError("its head reads no mean over the positions of a map")
    return blocks


def run_on(model: onnx.ModelProto, names: Sequence[str], photos: np.ndarray) -> list[np.ndarray]:
    """Return tensors of a model, any that it computes, for photos (N, H, W, 3) uint8."""
    outputs = {each.name for each in model.graph.output}
    extended = onnx.ModelProto()
    extended.CopyFrom(model)
    extended.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in outputs)
    session = open_session(extended.SerializeToString(), is_trial=True)
    found: list[np.ndarray] = session.run(list(names), {"images": photos})
    return found


def _blocks(graph: onnx.GraphProto, features: str) -> Iterator[Block]:
    """Yield the blocks that a tensor is made of, without their shapes."""
    made, constants = _makers(graph), constants_of(graph)
    name = _before(made, features)
    node = made.get(name)
    if node is None:
        yield Block(features)
    elif node.op_type == "Concat" and _attribute(node, "axis") in (1, -1):
        for part in node.input:
            yield from _blocks(graph, part)
    elif node.op_type == "LayerNormalization" and _attribute(node, "axis", -1) == -1:
        inner = list(_blocks(graph, node.input[0]))
        gain, bias = (_array(constants, each) for each in (*node.input, "")[1:3])
        if len(inner) != 1 or gain is None:
            yield Block(features)
        else:
            norm = (gain, np.zeros_like(gain) if bias is None else bias, _attribute(node, "epsilon", 1e-5))
            yield replace(inner[0], norm=norm) if inner[0].map else Block(features)
    else:
        yield _mean(node, made, constants) or Block(features)


def _mean(
    node: onnx.NodeProto, made: Mapping[str, onnx.NodeProto], constants: Mapping[str, onnx.TensorProto]
) -> Block | None:
    """Return the block of a node that averages a map; None if it does something else."""
    if node.op_type == "GlobalAveragePool":
        return Block(node.output[0], map=node.input[0])
    if node.op_type != "ReduceMean":
        return None
    axes = _attribute(node, "axes")
    if axes is None and len(node.input) > 1:
        array = _array(constants, node.input[1])
        axes = None if array is None else array.tolist()
    axes = tuple(axes or ())
    if axes in _SPATIAL:
        return Block(node.output[0], map=node.input[0], channels_first=_SPATIAL[axes])
    reshaped = made.get(node.input[0])
    if axes in ((2,), (-1,)) and reshaped is not None and reshaped.op_type in _SAME_VALUES:
        return Block(node.output[0], map=_before(made, node.input[0]))  # a map with its positions in a row
    return None


def _checked(block: Block, values: Mapping[str, np.ndarray]) -> Block:
    """Return a block with its width and the shape of its map; without the map if it is not its mean."""
    of_source = values[block.source]
    width = of_source[0].size
    plain = Block(block.source, width)
    if block.map is None:
        return plain
    found = replace(block, width=width, shape=values[block.map].shape[1:])
    if len(found.shape) != 3 or found.size == (1, 1):
        return plain
    means = values[block.map].mean((2, 3) if block.channels_first else (1, 2), dtype=np.float64)
    of_source = of_source.reshape(len(of_source), -1)
    is_mean = means.shape == of_source.shape and np.allclose(means, of_source, _TOLERANCE, _TOLERANCE)
    return found if is_mean else plain


def _what_it_reads(graph: onnx.GraphProto, features: str) -> str:
    """Return a clause about a head that reads no mean of a map."""
    made = _makers(graph)
    node = made.get(_before(made, features))
    if node is not None and node.op_type in ("Gather", "Slice"):
        return "its head reads one token, and not the mean over the positions of a map"
    if node is not None and node.op_type not in ("GlobalAveragePool", "ReduceMean", "Scan"):
        return (
            f"its head reads the outputs of a layer ({node.op_type}), and not the mean over the positions of "
            f"a map"
        )
    return "its head reads no mean over the positions of a map"


def _before(made: Mapping[str, onnx.NodeProto], name: str) -> str:
    """Return the tensor with the same values before changes of shape and type."""
    while name in made and (made[name].op_type in _SAME_VALUES or _keeps_columns(made[name])):
        name = made[name].input[0]
    return name


def _keeps_columns(node: onnx.NodeProto) -> bool:
    """Return whether a node moves the channels of pooled features from one place of the shape to another."""
    return node.op_type == "Transpose" and _attribute(node, "perm") in ([0, 2, 3, 1], [0, 3, 1, 2])


def _makers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """Return the node of each tensor, but for constants."""
    constants = constants_of(graph)
    return {name: node for node in graph.node for name in node.output if name not in constants}


def constants_of(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Return the constant tensors of a graph by name: initializers, constants, and other names of them."""
    found = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            found[node.output[0]] = node.attribute[0].t
        elif node.op_type == "Identity" and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    return found


def _array(constants: Mapping[str, onnx.TensorProto], name: str) -> np.ndarray | None:
    return numpy_helper.to_array(constants[name]) if name in constants else None


def _attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    return next((helper.get_attribute_value(each) for each in node.attribute if each.name == name), default)
