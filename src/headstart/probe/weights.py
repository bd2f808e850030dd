"""``model.safetensors`` of a probe: the weights, a JSON of everything else, one checksum over both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors.numpy

from headstart.files import write_whole
from headstart.frozen.onnx_backbone import OnnxBackbone
from headstart.inference.model_file import HEAD, PLACEHOLDER, ModelInfo, seal_safetensors


def save_head(
    path: Path, backbone: OnnxBackbone, weight: np.ndarray, bias: np.ndarray, info: ModelInfo
) -> None:
    """Write a solved head, with the backbone's weights in their native names where they are known.

    Args:
        path: The file.
        backbone: With the tensors of its state dict, or without.
        weight: (K, D) float32.
        bias: (K,) float32.
        info: Of the model; its ``weights`` say which backbone a head alone belongs to.
    """
    tensors = dict(backbone.native)
    names = tuple(tensors)[-2:] if tensors else HEAD
    tensors |= dict(zip(names, (weight, bias), strict=True))
    arrays = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
    data = safetensors.numpy.save(arrays, {"headstart": info.to_json(), "sha256": PLACEHOLDER})
    write_whole(path, seal_safetensors(data))
