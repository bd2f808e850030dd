"""A stage that also passes on the pooled outputs of stages before it.

Between two stages, one tensor is passed on. So from the first stage that a head reads beside the last one,
pooled outputs travel in front of the flattened map, as one row per photo. Such a row is stored, mixed and
batched like any other, and the pooled outputs of frozen stages are stored beside the map at the cut.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from headstart.model.stage import Stage

_LEAST_VARIANCE: Final = 1e-12  # smaller ones count as none: the gradient of a root is infinite at 0


def pooled(maps: Tensor) -> Tensor:
    """Return means over positions of maps (B, C, H, W), then standard deviations: (B, 2 C) float32."""
    values = maps.flatten(2).float()
    mean = values.mean(2)
    variance = (values - mean.unsqueeze(2)).square().mean(2)
    return torch.cat([mean, variance.clamp_min(_LEAST_VARIANCE).sqrt()], 1)


class Carrying(nn.Module):
    """A stage that passes on pooled outputs of earlier stages in front of what it computes.

    Args:
        stage: The stage.
        shape: Of its input, without the batch, if that arrives flattened behind pooled outputs; else None.
        num_pooled: Number of pooled outputs that arrive.
        reads: Whether its own output is pooled, too.

    Attributes:
        shape: Shape of the map that arrives flattened, (C, H, W); None if it arrives as it is.
        num_pooled: Number of pooled outputs in front of it.
    """

    def __init__(self, stage: Stage, shape: tuple[int, ...] | None, num_pooled: int, reads: bool) -> None:
        super().__init__()
        self.stage = nn.Sequential(*stage)
        self.shape = shape
        self.num_pooled = num_pooled
        self._reads = reads

    def forward(self, activations: Tensor) -> Tensor:
        rows = []
        if self.shape is not None:
            rows = [activations[:, : self.num_pooled]]
            activations = activations[:, self.num_pooled :].reshape(-1, *self.shape)
        activations = self.stage(activations)
        if self._reads:
            rows.append(pooled(activations))
        return torch.cat([*rows, activations.flatten(1)], 1)
