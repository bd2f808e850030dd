"""Simplifies the graph of a model file: what only the fixed size of its input decides becomes a constant.

Exporters write padding and changes of shape as computations from the shapes of tensors. ONNX Runtime does
them. OpenCV 4.10 cannot import some of them, takes shapes of one photo for those of any batch, and does an
Unsqueeze of a batch incorrectly.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from headstart.frozen.graph import bodies_of, leading_to
from headstart.frozen.linear_head import state_function
from headstart.products.mean_blocks import run_on

_MOST_VALUES: Final = 1024  # of a constant, so that no file becomes large
_CHANGES_OF_SHAPE: Final = ("Reshape", "Squeeze", "Unsqueeze")


def with_fixed_shapes(model: bytes, size_px: int) -> bytes:
    """Replace computations from shapes by constants, wherever they do not depend on the number of photos.

    A change of shape that depends on the number of photos becomes a Reshape to a constant shape with -1 in
    its place. No output changes in any bit: this is checked on noise, and otherwise the model is returned
    unchanged. Its metadata state the hash of what has computed its features: see ``state_function``.

    Args:
        model: The content of a ``model.onnx``, not sealed.
        size_px: Side of its input.

    Returns:
        The model, which accepts any number of photos as before.
    """
    whole = onnx.load_from_string(model)
    graph = whole.graph
    constant, computed = _tensors(graph)
    changes = _changes_of_shape(graph, {*constant, *computed})
    if not computed and not changes:
        return model
    names = [each.name for each in graph.output]
    noise = np.random.default_rng(0).integers(0, 256, (3, size_px, size_px, 3), np.uint8)
    before = run_on(whole, names, noise)
    state_function(whole)
    try:
        _simplify(whole, computed, changes, noise)
        after = run_on(whole, names, noise)
    except Exception:  # a network of the user's own may be anything, and runs as it is
        return model
    if any(a.tobytes() != b.tobytes() for a, b in zip(before, after, strict=True)):
        return model
    return bytes(whole.SerializeToString(deterministic=True))


def _simplify(
    model: onnx.ModelProto, computed: Sequence[str], changes: Sequence[onnx.NodeProto], photos: np.ndarray
) -> None:
    """Change a model in place, by what its tensors are for one photo and for two.

    Args:
        model: The model.
        computed: Names of tensors that follow from shapes.
        changes: Nodes that change the shape of other tensors.
        photos: At least two, (N, H, W, 3) uint8.
    """
    names = list(dict.fromkeys([*computed, *(node.output[0] for node in changes)]))
    for_one, for_two = (_values(model, names, photos[:number]) for number in (1, 2))
    constants = {
        name: for_one[name]
        for name in computed
        if for_one[name].size <= _MOST_VALUES and np.array_equal(for_one[name], for_two[name])
    }
    for node in changes:
        output = node.output[0]
        sides = _shape_for_any(for_one[output].shape, for_two[output].shape)
        if sides is not None:
            shape = f"{output}.shape"
            constants[shape] = np.array(sides, np.int64)
            reshape = helper.make_node("Reshape", [node.input[0], shape], [output], name=node.name)
            node.CopyFrom(reshape)
    _set_constants(model.graph, constants)


def _tensors(graph: onnx.GraphProto) -> tuple[set[str], list[str]]:
    """Return the names of all constants, and of all tensors that are computed from shapes and constants."""
    constant = {each.name for each in graph.initializer} | {""}
    found: dict[str, None] = {}
    for node in graph.node:
        if any(bodies_of(attribute) for attribute in node.attribute):
            continue  # a body may read any tensor
        if node.op_type == "Shape":
            found |= dict.fromkeys(node.output)
        elif all(name in constant for name in node.input):
            constant.update(node.output)
        elif all(name in constant or name in found for name in node.input):
            found |= dict.fromkeys(node.output)
    return constant, [name for name in found if name]


def _changes_of_shape(graph: onnx.GraphProto, fixed: Collection[str]) -> list[onnx.NodeProto]:
    """Return the nodes that change shapes, other than those of ``fixed``, to what is not a constant yet."""
    initial = {each.name for each in graph.initializer}
    initial.update(node.output[0] for node in graph.node if node.op_type == "Constant")
    return [
        node
        for node in graph.node
        if node.op_type in _CHANGES_OF_SHAPE
        and node.output[0] not in fixed
        and not (node.op_type == "Reshape" and node.input[1] in initial)
    ]


def _values(model: onnx.ModelProto, names: Sequence[str], photos: np.ndarray) -> dict[str, np.ndarray]:
    return dict(zip(names, run_on(model, names, photos), strict=True))


def _shape_for_any(for_one: tuple[int, ...], for_two: tuple[int, ...]) -> list[int] | None:
    """Return a shape that fits any number of photos; None if more than one side depends on it."""
    if len(for_one) != len(for_two):
        return None
    sides = [one if one == two else -1 for one, two in zip(for_one, for_two, strict=True)]
    return sides if sides.count(-1) == 1 else None


def _set_constants(graph: onnx.GraphProto, constants: Mapping[str, np.ndarray]) -> None:
    """Store tensors as constants, and delete the nodes and weights that no output needs any more."""
    kept = [node for node in graph.node if not constants.keys() >= set(node.output)]
    del graph.node[:]
    graph.node.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(each, name) for name, each in constants.items())
    nodes, used = leading_to(graph, [each.name for each in graph.output])
    weights = [each for each in graph.initializer if each.name in used]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(weights)
