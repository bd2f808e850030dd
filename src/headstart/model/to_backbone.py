"""A network's stages before its head as one ONNX graph, for those who have no PyTorch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from headstart.errors import NetworkError
from headstart.images.preprocess import Preprocessing
from headstart.model.normalise import Normalise
from headstart.model.stages import StageSequence, cut
from headstart.model.to_onnx import export_untrained


def prefix_graph(network: nn.Module, preprocessing: Preprocessing) -> tuple[bytes, tuple[str, ...]]:
    """Export all stages before the head, behind normalisation.

    The operations and weights that lead to ``activations`` are those of ``model.prefix.NetworkPrefix``.

    Args:
        network: On the CPU, in evaluation mode.
        preprocessing: Holds size, mean and std.

    Returns:
        The serialised model, from ``images`` (N, size_px, size_px, 3) uint8 to ``activations`` (N, D), and
        the names of the tensors in it that are outputs (N, C, H, W) of the stages before the pooling.

    Raises:
        NetworkError: The network cannot be exported, or its head takes something else than (N, D).
    """
    stages, _ = cut(network, "head")
    shape = (2, preprocessing.size_px, preprocessing.size_px, 3)
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    module = _WithStages(Normalise(preprocessing), stages).eval()
    with torch.inference_mode():
        activations, *outputs = module(pixels)
    if activations.ndim != 2:
        raise NetworkError(
            f"The head of {type(network).__name__} takes {tuple(activations.shape[1:])} per photo "
            f"instead of a list of features, so it cannot be solved. Choose another backbone: "
            "headstart backbones"
        )
    maps = [name for name, output in zip(module.names, outputs, strict=True) if _is_map(output)]
    module.names = maps
    model = onnx.load_from_string(export_untrained(module, pixels, ["activations", *maps]))
    del model.graph.output[1:]
    return model.SerializeToString(), tuple(maps)


class _WithStages(nn.Module):
    """Normalised stages that give their output and, after it, those of the stages before the pooling."""

    def __init__(self, normalise: nn.Module, stages: StageSequence) -> None:
        super().__init__()
        self.normalise = normalise
        self.stages = stages
        before = stages.names.index("pool") if "pool" in stages.names else 0
        self.names: Sequence[str] = [f"stage.{name}" for name in stages.names[:before]]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        activations = self.normalise(images)
        on_the_way = []
        for stage, name in zip(self.stages, self.stages.names, strict=True):
            activations = stage(activations)
            if f"stage.{name}" in self.names:
                on_the_way.append(activations)
        return (activations, *on_the_way)


def _is_map(output: Tensor) -> bool:
    """Tell whether a tensor is (N, C, H, W): Swin's stages give (N, H, W, C), other transformers tokens."""
    return output.ndim == 4 and output.shape[2] == output.shape[3]
