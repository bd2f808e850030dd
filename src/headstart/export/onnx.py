"""``model.onnx``: the same model for the predictor, self-sufficient."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from headstart.export.safetensors import load_network
from headstart.files import write_whole
from headstart.model.normalise import Normalise
from headstart.model.to_onnx import to_onnx
from headstart.model_file import ModelInfo, seal_onnx


class _Classifier(nn.Module):
    """Normalisation, the network, softmax: what a deployed model computes from pixels."""

    def __init__(self, network: nn.Module, info: ModelInfo) -> None:
        super().__init__()
        self.normalise = Normalise(info.preprocessing)
        self.network = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.network(self.normalise(pixels))
        return logits, logits.softmax(1)


def export_onnx(network: nn.Module, info: ModelInfo) -> bytes:
    """Export a trained network as a sealed ONNX file.

    Args:
        network: Takes normalised (B, 3, H, W) float32, on the CPU; gives logits (B, K).
        info: Goes into the file's metadata.

    Returns:
        The file's bytes. Input ``images`` (N, H, W, 3) uint8; outputs ``logits`` and ``probabilities``
        (N, K) float32.
    """
    size = info.preprocessing.size_px
    # Two images: an exporter that sees a batch of one may take it for a constant.
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    model = to_onnx(_Classifier(network, info), example, output_names=("logits", "probabilities"))
    return seal_onnx(model, info)


def write_onnx(model: Path, out: Path) -> None:
    """Export a ``model.safetensors`` as a sealed ONNX file."""
    network, info = load_network(model)
    write_whole(out, export_onnx(network, info))
