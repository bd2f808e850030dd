"""Adds the mean and standard deviation over positions of each stage's output to a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import onnx
import onnx.helper
import onnx.shape_inference

from headstart.frozen.prefix import ACTIVATIONS

POOLED: Final = "pooled"
"""Name of the output with the pooled outputs of all stages."""


def with_pooled(graph: bytes, stages: Sequence[str]) -> bytes:
    """Add the pooled outputs of stages to a graph as its second output.

    Args:
        graph: A serialised model with the output ``activations``.
        stages: Names of inner tensors, (N, C, H, W) float32; or (N, D), if the graph declares it.

    Returns:
        The model with the additional output ``pooled``, float32: for each stage the C means over positions,
        then the C standard deviations; vectors as they are. The part that leads to ``activations`` is
        unchanged.
    """
    model = onnx.load_from_string(graph)
    parts: list[str] = []
    # Operators that are the same in every version of ONNX, as reductions are not.
    vectors = {each.name for each in model.graph.value_info if len(each.type.tensor_type.shape.dim) == 2}
    for stage in stages:
        if stage in vectors:
            parts.append(stage)
            continue
        mean, centred, square, variance, std = (
            f"{POOLED}.{stage}.{name}" for name in ("mean", "centred", "square", "variance", "std")
        )
        nodes = [
            ("GlobalAveragePool", [stage], mean),
            ("Sub", [stage, mean], centred),
            ("Mul", [centred, centred], square),
            ("GlobalAveragePool", [square], variance),
            ("Sqrt", [variance], std),
        ]
        for operator, inputs, output in nodes:
            model.graph.node.append(onnx.helper.make_node(operator, inputs, [output], name=output))
        for output in (mean, std):
            flat = f"{output}.flat"
            model.graph.node.append(onnx.helper.make_node("Flatten", [output], [flat], name=flat, axis=1))
            parts.append(flat)
    model.graph.node.append(onnx.helper.make_node("Concat", parts, [POOLED], name=POOLED, axis=1))
    activations = [each for each in model.graph.output if each.name == ACTIVATIONS]
    del model.graph.output[:]
    model.graph.output.extend(activations)
    value = onnx.helper.make_tensor_value_info(POOLED, onnx.TensorProto.FLOAT, ["batch", None])
    model.graph.output.append(value)
    return bytes(model.SerializeToString())


def pooled_widths(graph: bytes, stages: Sequence[str]) -> tuple[int, ...]:
    """Return the length of each stage's pooled output: 2 C of a map, D of a vector.

    Raises:
        ValueError: The graph does not declare the number of channels of a stage.
    """
    model = onnx.load_from_string(graph)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:  # weights, of which only the shapes matter here
            tensor.ClearField("raw_data")
    model = onnx.shape_inference.infer_shapes(model)
    known = {each.name: each.type.tensor_type.shape.dim for each in model.graph.value_info}
    times = {2: 1, 4: 2}
    shapes = [known.get(stage, ()) for stage in stages]
    widths = [times[len(shape)] * shape[1].dim_value if len(shape) in times else 0 for shape in shapes]
    if not all(widths):
        unknown = ", ".join(stage for stage, width in zip(stages, widths, strict=True) if not width)
        raise ValueError(f"The graph does not say how many channels {unknown} have.")
    return tuple(widths)
