"""Hashes what an ONNX graph computes: the operations and weights that lead to each of its tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import onnx
import onnx.helper
import onnx.numpy_helper


def function_hashes(model: onnx.ModelProto) -> dict[str, str]:
    """Hash the operations, attributes, weights and inputs that lead to each tensor of a graph.

    Names and unrelated parts of the graph have no influence, so that a part of a network has the same hash in
    a graph of its own and in the graph of the whole network. Equal hashes mean equal functions. The reverse
    is not always true, because a function can be written in several ways.

    Args:
        model: A model that contains all its weights, with nodes in topological order.

    Returns:
        64 hexadecimal digits for each input, initializer and node output, by name.
    """
    versions = sorted((each.domain, each.version) for each in model.opset_import)
    shared = [repr(versions).encode(), *(_bytes(function) for function in model.functions)]
    hashes = {"": _hash([b"nothing"])}  # an optional input that is left out
    for tensor in model.graph.initializer:
        hashes[tensor.name] = _tensor_hash(tensor)
    for tensor in model.graph.input:
        if tensor.name not in hashes:
            hashes[tensor.name] = _hash([b"input", tensor.name.encode(), _shape(tensor.type.tensor_type)])
    for node in model.graph.node:
        if node.op_type == "Identity":
            hashes[node.output[0]] = hashes[node.input[0]]
            continue
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            hashes[node.output[0]] = _tensor_hash(node.attribute[0].t)
            continue
        parts = [*shared, node.domain.encode(), node.op_type.encode()]
        parts += [hashes[name].encode() for name in node.input]
        parts += _attributes(node.attribute, hashes)
        parts.append(str(len(node.output)).encode())  # Split: how many parts there are
        for number, name in enumerate(node.output):
            hashes[name] = _hash([*parts, str(number).encode()])
    return hashes


def function_hash(model: bytes, output: str) -> str:
    """Return the hash of one tensor of a serialised model; see ``function_hashes``."""
    return function_hashes(onnx.load_from_string(model))[output]


def part_of(model: onnx.ModelProto, name: str, outputs: Sequence[str]) -> bytes:
    """Extract a part of a graph as a separate model.

    Args:
        model: The whole model.
        name: Tensor at which the part begins: an input or any inner float32 tensor.
        outputs: Names of outputs of the whole model.

    Returns:
        The serialised model, whose only input is ``name``.

    Raises:
        ValueError: The outputs need other tensors too, such as the shape of the whole model's input.
    """
    whole = model.graph
    nodes, wanted = leading_to(whole, outputs, after=name)
    computed = {output for node in whole.node for output in node.output} | {each.name for each in whole.input}
    begun = {name}.union(*(node.output for node in nodes))
    if missing := (wanted & computed) - begun:
        raise ValueError(f"{', '.join(outputs)} need {', '.join(sorted(missing))} beside {name}")
    begins = [each for each in whole.input if each.name == name]
    part = onnx.ModelProto()
    part.CopyFrom(model)
    part.graph.Clear()
    part.graph.name = whole.name
    part.graph.node.extend(nodes)
    part.graph.initializer.extend(each for each in whole.initializer if each.name in wanted)
    part.graph.input.extend(
        begins or [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)]
    )
    part.graph.output.extend(each for each in whole.output if each.name in outputs)
    return bytes(part.SerializeToString())


def leading_to(
    graph: onnx.GraphProto, outputs: Iterable[str], after: str | None = None
) -> tuple[list[onnx.NodeProto], set[str]]:
    """Find the nodes that lead to some tensors of a graph.

    Args:
        graph: A graph with nodes in topological order.
        outputs: Names of any tensors of the graph.
        after: A tensor that is given, so that nodes before it are left out.

    Returns:
        The nodes, in their order, and the names of all tensors that they and ``outputs`` use.
    """
    wanted, nodes = set(outputs), []
    for node in reversed(graph.node):
        if after not in node.output and not wanted.isdisjoint(node.output):
            nodes.append(node)
            wanted.update(node.input, *(_names_used(body) for body in _bodies(node)))
            wanted.discard("")  # what is optional and left out
    return nodes[::-1], wanted


def bodies_of(attribute: onnx.AttributeProto) -> list[onnx.GraphProto]:
    """Return the graphs inside an attribute: bodies of If, Loop and Scan."""
    return [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]


def _attributes(attributes: Iterable[onnx.AttributeProto], hashes: Mapping[str, str]) -> list[bytes]:
    parts = []
    for attribute in sorted(attributes, key=lambda each: each.name):
        parts += [attribute.name.encode(), str(attribute.type).encode()]
        if attribute.type == onnx.AttributeProto.TENSOR:
            parts.append(_tensor_hash(attribute.t).encode())
            continue
        parts.append(_bytes(attribute))
        for graph in bodies_of(attribute):  # they see the tensors around them
            parts += [hashes[name].encode() for name in _names_used(graph) if name in hashes]
    return parts


def _bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """Return the graphs inside a node, such as If and Loop."""
    return [graph for attribute in node.attribute for graph in bodies_of(attribute)]


def _names_used(graph: onnx.GraphProto) -> list[str]:
    """Return the names that a body uses, in order, possibly including its own."""
    names = [each.name for each in graph.output]
    for node in graph.node:
        names += node.input
        for body in _bodies(node):
            names += _names_used(body)
    return names


def _tensor_hash(tensor: onnx.TensorProto) -> str:
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise ValueError(f"The weights {tensor.name!r} are in another file.")
    values = onnx.numpy_helper.to_array(tensor)
    return _hash([b"tensor", str(tensor.data_type).encode(), repr(values.shape).encode(), values.tobytes()])


def _shape(tensor: onnx.TypeProto.Tensor) -> bytes:
    sides = [side.dim_value if side.HasField("dim_value") else "?" for side in tensor.shape.dim]
    return repr((tensor.elem_type, sides)).encode()


def _bytes(message: onnx.AttributeProto | onnx.FunctionProto) -> bytes:
    return bytes(message.SerializeToString(deterministic=True))


def _hash(parts: Iterable[bytes]) -> str:
    sha256 = hashlib.sha256()
    for part in parts:
        sha256.update(len(part).to_bytes(8, "big"))  # so that no two lists of parts give the same bytes
        sha256.update(part)
    return sha256.hexdigest()
