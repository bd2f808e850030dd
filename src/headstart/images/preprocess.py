"""Pixels to network size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Resize = Literal["crop", "pad", "squash"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]


@dataclass(frozen=True)
class Preprocessing:
    """How photos become the network's input. Stored in every model file.

    Attributes:
        size_px: Side of the square input.
        crop_fraction: With ``resize="crop"``, the input's side as a fraction of the shorter side of the
            resized photo, in (0, 1]: 0.875 at 224 px is the usual "resize to 256, crop 224".
        interpolation: The filter that the backbone was trained with.
        resize: ``"crop"`` shows the middle, ``"pad"`` the whole photo with bars, ``"squash"`` the whole
            photo distorted.
        mean, std: Per channel, of pixels scaled to 0..1; applied in the network's graph, not here.
    """

    size_px: int = 224
    crop_fraction: float = 0.875
    interpolation: Interpolation = "bilinear"
    resize: Resize = "crop"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
