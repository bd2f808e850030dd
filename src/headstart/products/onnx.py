"""``model.onnx``: the same model for the predictor, self-sufficient."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from headstart import tasks
from headstart.frozen.linear_head import head_input
from headstart.inference.model_file import ModelInfo
from headstart.inference.run_self_test import seal_with_self_test
from headstart.model.normalise import Normalise
from headstart.model.spatial_head import upright
from headstart.model.to_onnx import to_onnx
from headstart.probe.unknown_graph import with_unknown
from headstart.products.fixed_shapes import with_fixed_shapes
from headstart.products.heat_map import with_heat_map
from headstart.products.kept_unknown import KeptUnknown
from headstart.products.safetensors import load_network


def answers(outputs: Tensor, info: ModelInfo) -> tuple[Tensor, ...]:
    """Turn a network's outputs into what the model file answers with.

    Args:
        outputs: (B, D).
        info: Of the model.

    Returns:
        Classification, several labels: logits and probabilities (B, K). Numbers: (B, D), in their own units.
        Boxes: (B, 4), shares of the input's sides within 0..1, and if they may have several classes, logits
        and probabilities of these.
    """
    task = tasks.of(info.task)
    if task.has_numbers:
        mean, std = (torch.tensor(each, dtype=outputs.dtype) for each in info.scale)
        return (outputs * std + mean,)
    if task.has_box:
        boxes, logits = upright(outputs[:, :4]).clamp(0, 1), outputs[:, 4:]
        return (boxes, logits, logits.softmax(1)) if info.num_box_classes else (boxes,)
    return outputs, outputs.softmax(1) if task.activation == "softmax" else outputs.sigmoid()


def told(outputs: Tensor, info: ModelInfo) -> Tensor:
    """Return what predictions are made of: all answers but the logits, (B, D'), of outputs (B, D)."""
    named = zip(output_names(info), answers(outputs, info), strict=True)
    return torch.cat([values for name, values in named if name != "logits"], 1)


class _Deployed(nn.Module):
    """Normalisation, the network, its answers: what a deployed model computes from pixels."""

    def __init__(self, network: nn.Module, info: ModelInfo) -> None:
        super().__init__()
        self.normalise = Normalise(info.preprocessing)
        self.network = network
        self._info = info

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return answers(self.network(self.normalise(pixels)), self._info)


def onnx_graph(network: nn.Module, info: ModelInfo) -> bytes:
    """Export a trained network as ONNX, not sealed: see ``model_file.seal_onnx``.

    Args:
        network: Takes normalised (B, 3, H, W) float32, on the CPU; gives (B, D).
        info: Of the model.

    Returns:
        The file's bytes. Input ``images`` (N, H, W, 3) uint8; outputs float32: see ``answers``.
    """
    size = info.preprocessing.size_px
    # Two images: an exporter that sees a batch of one may take it for a constant.
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    return to_onnx(_Deployed(network, info), example, output_names=output_names(info))


def output_names(info: ModelInfo) -> tuple[str, ...]:
    """Return the names of what a model file answers with, in the order of ``answers``."""
    return tasks.of(info.task).file_outputs(info.num_box_classes)


def sealed_onnx(model: Path) -> bytes:
    """Export a ``model.safetensors`` as a sealed ONNX file, and return its bytes.

    The file of weights does not hold what the output ``unknown`` needs: it is taken from the ``model.onnx``
    beside it, if that computes the same. Otherwise the exported file has no such output.
    """
    network, info = load_network(model)
    graph = onnx_graph(network, info)
    kept = KeptUnknown.find(model.with_name("model.onnx"), info)
    features = None if kept is None else head_input(onnx.load_from_string(graph), "logits")
    if kept is not None and features is not None:
        sealed = _sealed(with_unknown(graph, features, kept.score), info)
        if kept.agrees(sealed, info.preprocessing.size_px):
            return sealed
    return _sealed(graph, dataclasses.replace(info, unknown_threshold=None))


def _sealed(graph: bytes, info: ModelInfo) -> bytes:
    whole = with_heat_map(graph, info).model
    return seal_with_self_test(with_fixed_shapes(whole, info.preprocessing.size_px), info)
