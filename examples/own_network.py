"""A network of your own on Headstart's base, trained by Headstart: one box per photo, one layer per side.

    python examples/own_network.py DATA [RUN]

DATA holds photos with Pascal VOC boxes, or is a table with the columns image, xmin, ymin, xmax, ymax.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

import headstart as hs

BACKBONE = "timm/tf_efficientnet_lite0"


class Net(nn.Module):
    """Four linear layers on the pooled features; each has weights of its own, and is called once."""

    def __init__(self, weights: str = "default") -> None:
        super().__init__()
        self.conv_base = hs.feature_extractor(BACKBONE, weights=weights)  # frozen: (B, 3, H, W) → (B, 1280)
        self.xmin = nn.Linear(1280, 1)
        self.ymin = nn.Linear(1280, 1)
        self.xmax = nn.Linear(1280, 1)
        self.ymax = nn.Linear(1280, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Answer with the sides in shares of the input's, (B, 4)."""
        features = self.conv_base(images)
        sides = [self.xmin(features), self.ymin(features), self.xmax(features), self.ymax(features)]
        return torch.cat(sides, 1)


def main(data: str, out: str | None = None) -> None:
    """Train the four layers, then the last stage of the base with them, and print the score."""
    torch.manual_seed(
        0
    )  # the layers begin at random; resuming with hs.resume(RUN, network=...) needs the same
    run = hs.train(data, out, network=Net(), backbone=BACKBONE, boxes="skip")
    print(f"{run.path}: validation IoU {run.metrics['best']['val_iou']:.3f}")
    print(f"To go on after an interruption: hs.resume({str(run.path)!r}, network=Net())")


if __name__ == "__main__":
    main(*sys.argv[1:])
