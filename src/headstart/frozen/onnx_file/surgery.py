"""Extracts parts of ONNX models, and adds nodes before and after them, in the model's own opset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from headstart.frozen.graph import bodies_of, leading_to
from headstart.images.settings import Preprocessing

SCALE: Final = "headstart/scale"
SHIFT: Final = "headstart/shift"
"""Constants of normalisation: pixels × scale + shift."""

_INPUT: Final = "images"
_OUTPUT: Final = "activations"

# Names of tensors that Headstart adds, here and in ``frozen/pooled.py``, ``probe`` and ``products``.
_OUR_NAMES: Final = {
    *(_INPUT, _OUTPUT, "pooled", "features", "logits", "probabilities", "numbers", "standardised", "scaled"),
    *("unknown", "heat_map", "heat_map_share"),
}
_OUR_PREFIXES: Final = ("headstart/", "stage.", "pooled.", "head.", "scale.", "unknown.", "heat_map.")

_LINEAR: Final = {"Gemm", "MatMul", "Conv", "MatMulInteger", "QLinearMatMul", "QGemm", "QLinearConv"}
_AFTER_LINEAR: Final = {
    *("Add", "Mul", "Cast", "Identity", "Reshape", "Flatten", "Squeeze", "DequantizeLinear"),
    *("QuantizeLinear", "Softmax", "LogSoftmax", "Sigmoid", "GlobalAveragePool", "ReduceMean", "Relu"),
}


def taken_out(model: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    """Extract the part of a model that leads to some tensors, as a model with these tensors as its outputs.

    Declared shapes of inner tensors are left out, because they may be for another batch size. Names that
    Headstart uses, such as ``images``, get a prefix.

    Args:
        model: A model that contains all its weights.
        outputs: Names of tensors that its nodes compute.
    """
    nodes, wanted = leading_to(model.graph, outputs)
    weights = [tensor for tensor in model.graph.initializer if tensor.name in wanted]
    names = {tensor.name for tensor in weights}
    part = _like(model)
    part.graph.node.extend(nodes)
    part.graph.initializer.extend(weights)
    part.graph.input.extend(e for e in model.graph.input if e.name in wanted and e.name not in names)
    # The runtime finds their types and shapes.
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    taken = _names(part.graph)
    ours = (name for name in sorted(taken) if name in _OUR_NAMES or name.startswith(_OUR_PREFIXES))
    _rename(part.graph, {name: _free_name(f"_{name}", taken) for name in ours})
    return part


def with_normalisation(
    part: onnx.ModelProto, preprocessing: Preprocessing, *, channels_first: bool
) -> onnx.ModelProto:
    """Add normalisation before a part; its input becomes ``images``, (N, size_px, size_px, 3) uint8.

    Pixels are normalised with the mean and std of the part, unless its input is uint8.

    Args:
        part: A model whose only input takes photos.
        preprocessing: Preprocessing with size, mean and std.
        channels_first: Whether the input is (N, 3, H, W) rather than (N, H, W, 3).
    """
    (image,) = part.graph.input
    kind, begin = image.type.tensor_type.elem_type, _INPUT
    model = _like(part)
    if kind != onnx.TensorProto.UINT8:
        for name in (SCALE, SHIFT):
            _add_constant(model, name, np.zeros(3, np.float32))
        set_normalisation(model, preprocessing.mean, preprocessing.std)
        begin = _add_node(model, "Cast", [begin], "headstart/pixels", to=onnx.TensorProto.FLOAT)
        begin = _add_node(model, "Mul", [begin, SCALE], "headstart/scaled")
        begin = _add_node(model, "Add", [begin, SHIFT], "headstart/normalised")
    if channels_first:
        begin = _add_node(model, "Transpose", [begin], "headstart/channels_first", perm=[0, 3, 1, 2])
    if kind in (onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT):
        _add_node(model, "Identity", [begin], image.name)
    else:
        _add_node(model, "Cast", [begin], image.name, to=kind)
    model.graph.node.extend(part.graph.node)
    model.graph.initializer.extend(part.graph.initializer)
    shape: list[str | int] = ["batch", preprocessing.size_px, preprocessing.size_px, 3]
    model.graph.input.append(onnx.helper.make_tensor_value_info(_INPUT, onnx.TensorProto.UINT8, shape))
    model.graph.output.extend(part.graph.output)
    return model


def set_normalisation(model: onnx.ModelProto, mean: Sequence[float], std: Sequence[float]) -> None:
    """Change the mean and std (for pixels in 0..1) that ``with_normalisation`` has added to a model."""
    mean_of, std_of = np.array(mean, np.float32), np.array(std, np.float32)
    # (x / 255 - mean) / std as one multiplication and one addition.
    values = {SCALE: np.float32(1) / (np.float32(255) * std_of), SHIFT: -mean_of / std_of}
    for tensor in model.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(onnx.numpy_helper.from_array(values[tensor.name], tensor.name))


def with_pooling(
    model: onnx.ModelProto, num_features: int, *, mean_over: Sequence[int], first_of: int | None
) -> onnx.ModelProto:
    """Add pooling after a model; its output becomes ``activations``, (N, num_features) float32.

    Args:
        model: The model, which is changed in place.
        num_features: D.
        mean_over: Axes to average over.
        first_of: Axis of which the first entry is used.
    """
    (output,) = model.graph.output
    end = _add_node(model, "Cast", [output.name], "headstart/features", to=onnx.TensorProto.FLOAT)
    if first_of is not None:
        first = _add_constant(model, "headstart/first", np.array(0, np.int64))
        end = _add_node(model, "Gather", [end, first], "headstart/pooled", axis=first_of)
    elif mean_over and _opset(model) >= 18:  # from which on the axes are an input
        axes = _add_constant(model, "headstart/axes", np.array(mean_over, np.int64))
        end = _add_node(model, "ReduceMean", [end, axes], "headstart/pooled", keepdims=0)
    elif mean_over:
        end = _add_node(model, "ReduceMean", [end], "headstart/pooled", axes=list(mean_over), keepdims=0)
    _add_node(model, "Identity", [end], _OUTPUT)
    _set_output(model, ["batch", num_features])
    return model


def with_stage(
    model: onnx.ModelProto, tensor: str, stage: str, shape: Sequence[int], *, channels_first: bool | None
) -> None:
    """Add a tensor that has the values of another as float32, with channels first, and declare its shape.

    Args:
        model: The model, which is changed in place.
        tensor: Name of the other tensor.
        stage: Name of the new tensor.
        shape: Shape of the other tensor: (N, C, H, W), (N, H, W, C) or (N, D).
        channels_first: Whether it is not (N, H, W, C).
    """
    if channels_first:
        _add_node(model, "Cast", [tensor], stage, to=onnx.TensorProto.FLOAT)
    else:
        cast = _add_node(model, "Cast", [tensor], f"headstart/{stage}", to=onnx.TensorProto.FLOAT)
        _add_node(model, "Transpose", [cast], stage, perm=[0, 3, 1, 2])
        shape = [shape[0], shape[3], *shape[1:3]]
    declared: list[str | int | None] = ["batch", *shape[1:]]
    value = onnx.helper.make_tensor_value_info(stage, onnx.TensorProto.FLOAT, declared)
    model.graph.value_info.append(value)


def photo_by_photo(model: onnx.ModelProto, num_features: int) -> onnx.ModelProto:
    """Return a model that runs a single-photo model on each photo of a batch.

    Args:
        model: A model from ``images`` to ``activations`` for one photo.
        num_features: D.
    """
    (images,) = model.graph.input
    body = onnx.GraphProto(name="photo")
    sides = [side.dim_value for side in images.type.tensor_type.shape.dim[1:]]
    body.input.append(onnx.helper.make_tensor_value_info("headstart/photo", onnx.TensorProto.UINT8, sides))
    whole = _like(model)
    whole.graph.initializer.extend(model.graph.initializer)  # which bodies see
    _add_constant(whole, "headstart/batch_of_one", np.array([1, *sides], np.int64))
    _add_constant(whole, "headstart/row", np.array([num_features], np.int64))
    shape = ["headstart/photo", "headstart/batch_of_one"]
    body.node.append(onnx.helper.make_node("Reshape", shape, ["headstart/one"]))
    body.node.extend(model.graph.node)
    _rename(body, {_INPUT: "headstart/one", _OUTPUT: "headstart/activations"})
    end = ["headstart/activations", "headstart/row"]
    body.node.append(onnx.helper.make_node("Reshape", end, ["headstart/features_of_photo"]))
    body.output.append(
        onnx.helper.make_tensor_value_info(
            "headstart/features_of_photo", onnx.TensorProto.FLOAT, [num_features]
        )
    )
    _add_node(whole, "Scan", [_INPUT], _OUTPUT, body=body, num_scan_inputs=1)
    whole.graph.input.append(images)
    _set_output(whole, ["batch", num_features])
    return whole


def last_layer(graph: onnx.GraphProto, output: str) -> onnx.NodeProto | None:
    """Return the linear layer that computes a tensor, before softmax and the like; None without one."""
    made_by = {name: node for node in graph.node for name in node.output}
    node = made_by.get(output)
    while node is not None and node.op_type not in _LINEAR:
        if node.op_type not in _AFTER_LINEAR:
            return None
        node = next((made_by[name] for name in node.input if name in made_by), None)
    return node


def serialised(model: onnx.ModelProto) -> bytes:
    """Return the bytes of a model; equal models give equal bytes."""
    return bytes(model.SerializeToString(deterministic=True))


def _like(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an empty model with the same versions."""
    made = onnx.ModelProto(
        ir_version=max(model.ir_version, 4),  # before 4, weights had to be inputs too
        opset_import=model.opset_import,
        functions=model.functions,
        producer_name="headstart",
    )
    made.graph.name = "backbone"
    return made


def _opset(model: onnx.ModelProto) -> int:
    return max((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=1)


def _add_node(
    model: onnx.ModelProto, kind: str, inputs: Sequence[str], output: str, **attributes: Any
) -> str:
    model.graph.node.append(onnx.helper.make_node(kind, inputs, [output], **attributes))
    return output


def _add_constant(model: onnx.ModelProto, name: str, values: np.ndarray) -> str:
    model.graph.initializer.append(onnx.numpy_helper.from_array(values, name))
    return name


def _set_output(model: onnx.ModelProto, shape: Sequence[str | int]) -> None:
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info(_OUTPUT, onnx.TensorProto.FLOAT, shape))


def _free_name(name: str, taken: set[str]) -> str:
    while name in taken:
        name = f"_{name}"
    return name


def _names(graph: onnx.GraphProto) -> set[str]:
    """Return all names of tensors in a graph and its bodies."""
    names = {each.name for each in (*graph.initializer, *graph.input, *graph.output)}
    for node in graph.node:
        names.update(node.input, node.output)
        for attribute in node.attribute:
            names.update(*(_names(body) for body in bodies_of(attribute)))
    return names


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Rename tensors, including those in bodies, which share the names of the graph around them."""
    if not names:
        return
    for each in (*graph.initializer, *graph.input, *graph.output):
        each.name = names.get(each.name, each.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            for body in bodies_of(attribute):
                _rename(body, names)
