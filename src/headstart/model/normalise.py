"""Normalisation: the first layer of every graph that is trained or exported, and part of no stage."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from headstart.images.settings import Preprocessing
from headstart.model.stage import StageSequence


class Normalise(nn.Module):
    """Converts pixels (B, H, W, 3) uint8 to the input of native networks: normalised (B, 3, H, W) float32.

    Its two constants are not in the state dict, because native networks do not have them.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        # (x / 255 - mean) / std as one multiplication and one addition.
        self.register_buffer("scale", 1 / (255 * std), persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        return (pixels.float() * self.scale + self.shift).permute(0, 3, 1, 2)


class NormalisedStages(nn.Module):
    """Normalised stages that return their output, and the outputs of further stages on the way to it.

    Args:
        normalise: The normalisation.
        stages: The stages.
        further: Names of the stages whose outputs are also returned.
    """

    def __init__(self, normalise: Normalise, stages: StageSequence, further: Sequence[str] = ()) -> None:
        super().__init__()
        self.normalise = normalise
        self.stages = stages
        self.further = further

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        activations = self.normalise(images)
        on_the_way = []
        for stage in self.stages:
            activations = stage(activations)
            if stage.name in self.further:
                on_the_way.append(activations)
        return (activations, *on_the_way)
