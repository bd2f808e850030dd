"""The output ``heat_map`` of model files: where in a photo the most probable class comes from.

A linear head on means over the positions of a map can be applied to each position instead: the mean of the
results is what these features contribute to the logit. Of a softmax, only differences between logits matter,
so the contribution is to the difference from the mean of all logits.
Source: Zhou et al. 2016, arXiv 1512.04150 (class activation maps).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from headstart import tasks
from headstart.inference.heat_map import HEAT_MAP, HEAT_MAP_SHARE
from headstart.inference.model_file import ModelInfo
from headstart.products.mean_blocks import (
    Block,
    HeadWeights,
    NoMapError,
    constants_of,
    head_weights,
    mean_blocks,
    run_on,
)

_LEAST: Final = 1e-12


@dataclass(frozen=True)
class HeatMapOutput:
    """A model file with a heat map, or the reason why it has none.

    Attributes:
        model: The file, not sealed.
        size: Rows and columns of the map; None if there is none.
        missing: Why there is none, as a clause; empty if the task has no heat maps.
    """

    model: bytes
    size: tuple[int, int] | None = None
    missing: str = ""

    def summary(self) -> dict[str, Any]:
        """Return the entries for ``metrics.json``; empty for tasks without heat maps."""
        if self.size is not None:
            return {"size": list(self.size)}
        return {"missing": self.missing} if self.missing else {}

    @property
    def sentence(self) -> str:
        """What is missing, in words; empty if nothing is."""
        return f"The model file has no heat maps: {self.missing}" if self.missing else ""


def with_heat_map(model: bytes, info: ModelInfo) -> HeatMapOutput:
    """Add heat maps to a model file, if its head reads means of maps.

    The outputs are ``heat_map`` (N, h, w) float32, what each position contributes to the logit of the most
    probable class (of one class per photo, to its difference from the mean of all logits), and
    ``heat_map_share`` (N, 1) float32: the mean of the map as a fraction of it and the rest, both without
    sign. The rest comes from features that are not means of a map. The part of the graph that leads to the
    other outputs is not changed. This is checked on noise: there is no heat map if another output changes in
    any bit.

    Args:
        model: The content of a ``model.onnx``, calibrated, not sealed.
        info: Description of the model.
    """
    task = tasks.of(info.task)
    if not task.activation:
        return HeatMapOutput(model)
    size_px = info.preprocessing.size_px
    photos = np.random.default_rng(0).integers(0, 256, (2, size_px, size_px, 3), np.uint8)
    whole = onnx.load_from_string(model)
    try:
        head = head_weights(whole)
        blocks = mean_blocks(whole, head, photos[:1])
        size = _extend(whole, head, blocks, is_softmax=task.activation == "softmax")
        _check(model, whole, photos)
    except NoMapError as error:
        return HeatMapOutput(model, missing=str(error))
    except Exception as error:  # a network of the user's own may be anything, and is worth more than this
        return HeatMapOutput(model, missing=f"the graph cannot be read ({type(error).__name__}: {error})")
    return HeatMapOutput(bytes(whole.SerializeToString(deterministic=True)), size)


class _Nodes:
    """Appends nodes and constants to a graph, under names that begin with ``heat_map.``.

    Only operators that are old and common are used, and but for Slice, their inputs are the same in every
    version of ONNX since 7. OpenCV 4.10 runs them, too.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._opset = max(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
        self._number = 0

    def add(self, operator: str, *inputs: str | np.ndarray, output: str | None = None, **of: Any) -> str:
        """Append a node with tensors and constants as inputs, and return the name of its output."""
        names = [self._constant(each) if isinstance(each, np.ndarray) else each for each in inputs]
        name = output or self._name()
        self._graph.node.append(helper.make_node(operator, names, [name], name=name, **of))
        return name

    def reshaped(self, tensor: str, *shape: int, output: str | None = None) -> str:
        """Append a change of shape."""
        return self.add("Reshape", tensor, np.array(shape, np.int64), output=output)

    def columns(self, tensor: str, first: int, last: int) -> str:
        """Append a selection of the columns ``first`` to ``last`` - 1 of (N, D)."""
        if self._opset < 10:  # from which on they are inputs
            return self.add("Slice", tensor, starts=[first], ends=[last], axes=[1])
        return self.add("Slice", tensor, *(np.array([each], np.int64) for each in (first, last, 1)))

    def _constant(self, values: np.ndarray) -> str:
        name = self._name()
        self._graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def _name(self) -> str:
        self._number += 1
        return f"{HEAT_MAP}.{self._number}"


def _extend(
    model: onnx.ModelProto, head: HeadWeights, blocks: Sequence[Block], *, is_softmax: bool
) -> tuple[int, int]:
    """Append both outputs to a model, and return rows and columns of the map."""
    nodes = _Nodes(model)
    rows = _rows_of_best(nodes, model, head, is_softmax)
    size = next(each for each in reversed(blocks) if each.map).size  # the coarsest, that of the last stage
    ends = np.cumsum([each.width for each in blocks]).tolist()
    maps, constant = [], np.zeros(ends[-1], np.float32)
    for block, end in zip(blocks, ends, strict=True):
        first = end - block.width
        if block.norm is not None and block.map:
            constant[first:end] = block.norm[1]
        if block.map:
            part = rows
            if len(blocks) > 1:
                part = nodes.columns(rows, first, end)
            maps.append(_map_of(nodes, part, block, size))
    whole = maps[0]
    for each in maps[1:]:
        whole = nodes.add("Add", whole, each)
    nodes.reshaped(whole, -1, *size, output=HEAT_MAP)
    features = nodes.reshaped(head.features, -1, ends[-1], 1)
    if constant.any():
        features = nodes.add("Sub", features, constant.reshape(1, -1, 1))
    total = nodes.add("MatMul", nodes.reshaped(rows, -1, 1, ends[-1]), features)  # (N, 1, 1)
    _add_share(nodes, size, nodes.reshaped(total, -1, 1))
    rows_and_columns: list[tuple[str, tuple[int, ...]]] = [(HEAT_MAP, size), (HEAT_MAP_SHARE, (1,))]
    for name, shape in rows_and_columns:
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
        model.graph.output.append(value)
    return size


def _add_share(nodes: _Nodes, size: tuple[int, int], total: str) -> None:
    """Append ``heat_map_share``: |mean of the map| / (|mean of the map| + |rest|)."""
    positions = int(np.prod(size))
    flat = nodes.reshaped(HEAT_MAP, -1, positions)
    mean = nodes.add("MatMul", flat, np.full((positions, 1), 1 / positions, np.float32))
    size_of_mean = nodes.add("Abs", mean)
    size_of_rest = nodes.add("Abs", nodes.add("Sub", total, mean))
    both = nodes.add("Add", nodes.add("Add", size_of_mean, size_of_rest), np.array([_LEAST], np.float32))
    nodes.add("Div", size_of_mean, both, output=HEAT_MAP_SHARE)


def _rows_of_best(nodes: _Nodes, model: onnx.ModelProto, head: HeadWeights, is_softmax: bool) -> str:
    """Append the weights of the most probable class, (N, D); of a softmax, minus their mean over classes.

    The weights of the head are not copied, so that many classes do not make the file larger.
    """
    constants = constants_of(model.graph)
    best = nodes.add("ArgMax", "probabilities", axis=1, keepdims=0)
    rows = nodes.add("Gather", head.weight, best, axis=0 if head.rows_are_classes else 1)
    if not head.rows_are_classes:
        rows = nodes.add("Transpose", rows, perm=[1, 0])
    weight = numpy_helper.to_array(constants[head.weight]).astype(np.float64)
    weight = weight if head.rows_are_classes else weight.T
    if (head.factors != 1).any():
        factors = np.broadcast_to(head.factors, len(weight))  # one for all classes, or one for each
        of_best = nodes.add("Gather", factors, best, axis=0)
        rows = nodes.add("Mul", rows, nodes.reshaped(of_best, -1, 1))
        weight = weight * factors[:, None]
    if (head.scale != 1).any():
        scale = head.scale.reshape(1, -1)
        rows, weight = nodes.add("Mul", rows, scale), weight * scale
    return nodes.add("Sub", rows, weight.mean(0, keepdims=True).astype(np.float32)) if is_softmax else rows


def _map_of(nodes: _Nodes, weights: str, block: Block, size: tuple[int, int]) -> str:
    """Append the contributions of a map's positions, (N, h, w), for weights (N, C) of its mean."""
    assert block.map is not None
    width, (rows, columns) = block.width, block.size
    if block.norm is not None:
        weights = _through_norm(nodes, weights, block)
    if block.channels_first:
        flat = nodes.reshaped(block.map, -1, width, rows * columns)
        found = nodes.add("MatMul", nodes.reshaped(weights, -1, 1, width), flat)
    else:
        flat = nodes.reshaped(block.map, -1, rows * columns, width)
        found = nodes.add("MatMul", flat, nodes.reshaped(weights, -1, width, 1))
    if (rows, columns) == size:
        return nodes.reshaped(found, -1, rows, columns)
    # Along one side after the other, as products with matrices: an average over areas, with the same mean.
    found = nodes.reshaped(found, -1, columns)
    found = nodes.reshaped(nodes.add("MatMul", found, _areas(columns, size[1]).T), -1, rows, size[1])
    found = nodes.reshaped(nodes.add("Transpose", found, perm=[0, 2, 1]), -1, rows)
    found = nodes.reshaped(nodes.add("MatMul", found, _areas(rows, size[0]).T), -1, size[1], size[0])
    return nodes.add("Transpose", found, perm=[0, 2, 1])


def _areas(number: int, wanted: int) -> np.ndarray:
    """Return the matrix (wanted, number) that resizes a side by averaging over areas; rows add up to 1."""
    ends, wanted_ends = np.linspace(0, 1, number + 1), np.linspace(0, 1, wanted + 1)
    overlap = np.minimum(ends[1:], wanted_ends[1:, None]) - np.maximum(ends[:-1], wanted_ends[:-1, None])
    return np.asarray(np.maximum(overlap, 0) * wanted, np.float32)


def _through_norm(nodes: _Nodes, weights: str, block: Block) -> str:
    """Append the weights of the mean itself, for weights (N, C) of what a layer norm makes of it.

    The layer norm subtracts the mean of a photo's features and divides them by their standard deviation. With
    this deviation, it is a linear function.
    """
    assert block.norm is not None
    gain, _, epsilon = block.norm
    width = block.width
    average = np.full((width, 1), 1 / width, np.float32)
    features = nodes.reshaped(block.source, -1, width)
    centred = nodes.add("Sub", features, nodes.add("MatMul", features, average))
    variance = nodes.add("MatMul", nodes.add("Mul", centred, centred), average)
    deviation = nodes.add("Sqrt", nodes.add("Add", variance, np.array([epsilon], np.float32)))
    scaled = nodes.add("Mul", weights, gain.astype(np.float32).reshape(1, -1))
    centred = nodes.add("Sub", scaled, nodes.add("MatMul", scaled, average))
    return nodes.add("Div", centred, deviation)


def _check(before: bytes, after: onnx.ModelProto, photos: np.ndarray) -> None:
    """Compare a file with a heat map with the same file before, on photos (N, H, W, 3) uint8.

    Raises:
        NoMapError: An output has changed, or the heat map is not finite.
    """
    old = onnx.load_from_string(before)
    names = [each.name for each in old.graph.output]
    *same, heat_map, share = run_on(after, [*names, HEAT_MAP, HEAT_MAP_SHARE], photos)
    if any(a.tobytes() != b.tobytes() for a, b in zip(run_on(old, names, photos), same, strict=True)):
        raise NoMapError("ONNX Runtime computes other answers beside it")
    if not (np.isfinite(heat_map).all() and np.isfinite(share).all()):
        raise NoMapError("its values are not finite")
