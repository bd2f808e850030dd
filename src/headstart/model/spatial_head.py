"""A head that predicts positions, and a network of a convolutional base with any head."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from headstart.model.stage import StageSequence
from headstart.model.trial import evaluating


class OnBase(nn.Module):
    """A head on the convolutional base of a network.

    Args:
        base: A result of ``feature_extractor``.
        head: A module that takes the output of the base.
    """

    def __init__(self, base: StageSequence, head: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.head(self.base(images))
        return features


class SpatialHead(nn.Module):
    """Predicts each side of a box from the feature map before the pooling.

    For each side of the box, every position of the map has a weight. The prediction is the mean position with
    these weights (a soft argmax), plus an offset for each side that is the same for all photos. The class of
    the box, if there are several, is predicted from the mean of the map.

    Args:
        num_features: Number of channels of the map.
        num_classes: Number of classes; 0 if no class is predicted.
        channels_last: Whether maps are (B, H, W, C), like those of Swin.

    Source:
        Soft argmax: arXiv 1603.09114.
    """

    def __init__(self, num_features: int, num_classes: int = 0, *, channels_last: bool = False) -> None:
        super().__init__()
        self.sides = nn.Linear(num_features, 4)
        self.shift = nn.Parameter(torch.empty(4))
        self.classes = nn.Linear(num_features, num_classes) if num_classes else None
        self._channels_last = channels_last
        # At first every position is as likely, and the answer is the middle half of the photo: no random
        # generator is involved, and GIoU has a gradient.
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        with torch.no_grad():
            self.shift.copy_(torch.tensor([-0.25, -0.25, 0.25, 0.25]))

    def forward(self, features: Tensor) -> Tensor:
        """Return xmin, ymin, xmax, ymax as fractions of the input's sides, followed by logits of the classes.

        Args:
            features: (B, C, H, W), (B, H, W, C), or tokens (B, N, C), of which the last M form a map, with M
                the largest square number up to N.

        Returns:
            (B, 4 + K) float32.
        """
        tokens, rows, columns = self._positions(features)
        likely = self.sides(tokens).float().softmax(1)
        y, x = torch.meshgrid(_middles(rows, likely), _middles(columns, likely), indexing="ij")
        places = torch.stack([x.flatten(), y.flatten(), x.flatten(), y.flatten()], 1)
        boxes: Tensor = (likely * places).sum(1) + self.shift
        if self.classes is None:
            return boxes
        return torch.cat([boxes, self.classes(tokens.mean(1)).float()], 1)

    def _positions(self, features: Tensor) -> tuple[Tensor, int, int]:
        if features.ndim == 3:
            side = math.isqrt(features.shape[1])
            return features[:, -side * side :], side, side
        if not self._channels_last:
            features = features.permute(0, 2, 3, 1)
        return features.flatten(1, 2), features.shape[1], features.shape[2]


def upright(boxes: Tensor) -> Tensor:
    """Return boxes (B, 4) with their sides in order, whatever order a network predicts."""
    low, high = torch.minimum(boxes[:, :2], boxes[:, 2:]), torch.maximum(boxes[:, :2], boxes[:, 2:])
    return torch.cat([low, high], 1)


def _middles(number: int, like: Tensor) -> Tensor:
    """Return the centres of equal parts of 0..1."""
    return (torch.arange(number, device=like.device, dtype=like.dtype) + 0.5) / number


def spatial_head_for(base: nn.Module, size_px: int, num_classes: int) -> SpatialHead:
    """Return a spatial head that matches the feature map of a base at an input size."""
    device = next(base.parameters()).device
    with evaluating(base):  # or the zeros would go into the norms' statistics
        shape = base(torch.zeros(1, 3, size_px, size_px, device=device)).shape
    channels_last = len(shape) == 4 and shape[1] == shape[2] != shape[3]
    num_features = shape[1] if len(shape) == 4 and not channels_last else shape[-1]
    return SpatialHead(num_features, num_classes, channels_last=channels_last).to(device)
