"""Describes tensors of ONNX files in messages: names, kinds and shapes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx


def described(tensors: Iterable[onnx.ValueInfoProto]) -> str:
    """Return names, kinds and shapes, such as ``pixel_values (batch, 3, 224, 224) float``."""
    texts = []
    for each in tensors:
        kind = each.type.tensor_type
        sides = [str(side.dim_value or side.dim_param or "?") for side in kind.shape.dim]
        elem = onnx.TensorProto.DataType.Name(kind.elem_type).lower()
        texts.append(f"{each.name} ({', '.join(sides)}) {elem}")
    return ", ".join(texts)


def shown_shape(shape: Sequence[int]) -> str:
    """Return a shape with N for the number of photos, such as ``(N, 768)``."""
    return f"({', '.join(['N', *map(str, shape[1:])])})"
