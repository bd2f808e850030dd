"""``model-fp16.onnx``: the weights as 16-bit floating-point numbers, in half the space."""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_SUFFIX: Final = ".float16"
_FEWEST: Final = 256  # of smaller tensors, such as biases and scales, there is nothing to gain
_MOST_ERROR: Final = 1e-3  # of a tensor's length; rounding alone is 3e-4


def with_half_weights(model: bytes) -> bytes:
    """Store the weights of a model as float16. Everything is still computed in float32.

    Each stored tensor is converted by a Cast, which ONNX Runtime computes once, when it opens the file. Small
    tensors, and tensors that float16 cannot represent well, because their values are too large or too small,
    remain as they are.

    Args:
        model: The content of a ``model.onnx``, sealed or not.

    Returns:
        The model without metadata, not sealed.
    """
    whole = onnx.load_from_string(model)
    graph = whole.graph
    del whole.metadata_props[:]
    casts = []
    for tensor in graph.initializer:
        half = _half(tensor)
        if half is not None:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(half, name + _SUFFIX))
            casts.append(
                helper.make_node("Cast", [tensor.name], [name], name=name + _SUFFIX, to=TensorProto.FLOAT)
            )
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return bytes(whole.SerializeToString(deterministic=True))


def _half(tensor: onnx.TensorProto) -> np.ndarray | None:
    """Return the values as float16; None if the tensor stays as it is."""
    if tensor.data_type != TensorProto.FLOAT:
        return None
    values = numpy_helper.to_array(tensor)
    if values.size < _FEWEST:
        return None
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    with np.errstate(invalid="ignore"):
        error = np.linalg.norm(values - half.astype(np.float32))
    return half if error <= _MOST_ERROR * np.linalg.norm(values) else None
