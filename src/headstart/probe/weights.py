"""Writes the ``model.safetensors`` of a probe: weights, description and a checksum."""

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
    """Write a solved head, and the weights of the backbone with their native names if they are known.

    Args:
        path: The file.
        backbone: The backbone, with or without the tensors of its state dict.
        weight: (K, D) float32. The head's own names are used for one that reads several stages, as the
            network has no place for it.
        bias: (K,) float32.
        info: Description of the model; its ``weights`` identify the backbone if only the head is written.
    """
    tensors = dict(backbone.native)
    names = tuple(tensors)[-2:] if tensors and not info.stages else HEAD
    tensors |= dict(zip(names, (weight, bias), strict=True))
    arrays = {name: np.ascontiguousarray(values) for name, values in tensors.items()}
    data = safetensors.numpy.save(arrays, {"headstart": info.to_json(), "sha256": PLACEHOLDER})
    write_whole(path, seal_safetensors(data))
