"""A head that knows where things are, and a network that puts any head on a convolutional base."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from headstart.model.stage import StageSequence


class OnBase(nn.Module):
    """A head on the convolutional base of a network.

    Args:
        base: What ``feature_extractor`` returns.
        head: Takes its output.
    """

    def __init__(self, base: StageSequence, head: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.head(self.base(images))
        return features


class SpatialHead(nn.Module):
    """Looks for each side of a box on the map before the pooling.

    Every position of the map says how likely each side of the box is to be told from there. The answer is
    the mean position, weighted by how likely each is (a soft argmax), moved by as much as sides lie off what
    tells them, which is the same for all photos. What class the box has, if it may have several, is said by
    the mean of the map.

    Args:
        num_features: Channels of the map.
        num_classes: 0 where there is nothing to tell apart.
        channels_last: Whether maps are (B, H, W, C), as Swin's are.

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
        """Answer with xmin, ymin, xmax, ymax, in shares of the input's sides, before logits of the classes.

        Args:
            features: (B, C, H, W), (B, H, W, C), or tokens (B, N, C), of which those before the last square
                number are no positions.

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
    """Return what lies between the sides of boxes, (B, 4), in whatever order a network gives these."""
    low, high = torch.minimum(boxes[:, :2], boxes[:, 2:]), torch.maximum(boxes[:, :2], boxes[:, 2:])
    return torch.cat([low, high], 1)


def _middles(number: int, like: Tensor) -> Tensor:
    """Middles of so many equal parts of 0..1."""
    return (torch.arange(number, device=like.device, dtype=like.dtype) + 0.5) / number


@torch.no_grad()
def spatial_head_for(base: nn.Module, size_px: int, num_classes: int) -> SpatialHead:
    """Make the head that fits a base's map at an input size."""
    device = next(base.parameters()).device
    modes = [(module, module.training) for module in base.modules()]
    base.eval()  # or the zeros would go into the norms' statistics
    shape = base(torch.zeros(1, 3, size_px, size_px, device=device)).shape
    for module, mode in modes:
        module.training = mode
    channels_last = len(shape) == 4 and shape[1] == shape[2] != shape[3]
    num_features = shape[1] if len(shape) == 4 and not channels_last else shape[-1]
    return SpatialHead(num_features, num_classes, channels_last=channels_last).to(device)
