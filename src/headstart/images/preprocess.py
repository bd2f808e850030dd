"""Pixels to network size: the one preprocessing of training, validation, prediction and export."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
from PIL import Image, ImageEnhance

from headstart.errors import ConfigError, did_you_mean
from headstart.images.decode import decode

Resize = Literal["crop", "pad", "squash"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

MAX_SIZE_PX: Final = 4096
"""Largest side of a network's input."""

# Close to zero after every usual normalisation, like the zeros that convolutions pad with; one value, so that
# the pixels do not depend on mean and std.
_PAD_COLOUR: Final = (128, 128, 128)

# A JPEG keeps at least this many times the pixels (per side) that the network gets. Twice: pixels differ from
# those of a full decode by 0.3 grey levels on average, 1.0 in the worst photo of 30 large ones; once: 0.9 and
# 2.8 (and is a fifth faster).
_REDUCING_GAP: Final = 2


@dataclass(frozen=True)
class Preprocessing:
    """How photos become the network's input. Stored in every model file.

    Attributes:
        size_px: Side of the square input, 1 to ``MAX_SIZE_PX``.
        crop_fraction: With ``resize="crop"``, the input's side as a fraction of the shorter side of the
            resized photo, in (0, 1]: 0.875 at 224 px is the usual "resize to 256, crop 224".
        interpolation: The filter that the backbone was trained with.
        resize: ``"crop"`` shows the middle, ``"pad"`` the whole photo with grey bars, ``"squash"`` the whole
            photo distorted.
        mean, std: Per channel, of pixels scaled to 0..1; applied in the network's graph, not here.

    Raises:
        ConfigError: A value is wrong; all wrong values are named at once.
    """

    size_px: int = 224
    crop_fraction: float = 0.875
    interpolation: Interpolation = "bilinear"
    resize: Resize = "crop"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        problems = []
        if type(self.size_px) is not int or not 1 <= self.size_px <= MAX_SIZE_PX:
            problems.append(f"size_px is {self.size_px!r}; it must be a whole number, 1 to {MAX_SIZE_PX}.")
        if not _is_number(self.crop_fraction) or not 0 < self.crop_fraction <= 1:
            problems.append(f"crop_fraction is {self.crop_fraction!r}; it must be above 0 and at most 1.")
        for name, kind in (("interpolation", Interpolation), ("resize", Resize)):
            value, allowed = getattr(self, name), get_args(kind)
            if value not in allowed:
                nearest = did_you_mean(value, allowed) if isinstance(value, str) else ""
                problems.append(f"{name} is {value!r}; it must be one of {', '.join(allowed)}.{nearest}")
        for name in ("mean", "std"):
            value = getattr(self, name)
            if not isinstance(value, (tuple, list)) or len(value) != 3 or not all(map(_is_number, value)):
                problems.append(f"{name} is {value!r}; it must be three numbers, for red, green and blue.")
            elif name == "std" and min(value) <= 0:
                problems.append(f"std is {value!r}; each must be above 0.")
            else:
                object.__setattr__(self, name, tuple(map(float, value)))
        if problems:
            raise ConfigError(f"Preprocessing: {problem}" for problem in problems)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON has them: one key per attribute."""
        return {**dataclasses.asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Preprocessing:
        """Build from what ``to_dict`` returned.

        Raises:
            ConfigError: A key is unknown or missing, or a value is wrong.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        problems = [
            f"Preprocessing: unknown key {key!r}.{did_you_mean(str(key), known)} Known: {', '.join(known)}."
            for key in settings
            if key not in known
        ]
        # No defaults here: they would be wrong for somebody else's backbone, in silence.
        problems += [f"Preprocessing: {key} is missing." for key in known if key not in settings]
        if problems:
            raise ConfigError(problems)
        return cls(**settings)


@dataclass(frozen=True)
class View:
    """One augmented version of a photo, as numbers: what to show of it, and how.

    Attributes:
        area: Part of the photo's area that is shown, in (0, 1].
        aspect: Width of the part over its height, in pixels of the photo, before it becomes square.
        x, y: Where the part lies: 0 at the left or top, 1 at the right or bottom.
        flip: Whether left and right change places.
        brightness, contrast, saturation: Factors; 1 leaves the pixels alone.
    """

    area: float = 1.0
    aspect: float = 1.0
    x: float = 0.5
    y: float = 0.5
    flip: bool = False
    brightness: float = 1.0
    contrast: float = 1.0
    saturation: float = 1.0

    def box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom of the part, in pixels of a photo of this size."""
        box_width = min(math.sqrt(self.area * width * height * self.aspect), width)
        box_height = min(math.sqrt(self.area * width * height / self.aspect), height)
        left, top = self.x * (width - box_width), self.y * (height - box_height)
        # Rounding must not lead outside the photo.
        return max(left, 0), max(top, 0), min(left + box_width, width), min(top + box_height, height)


def load_pixels(data: bytes, settings: Preprocessing, *, path: str, view: View | None = None) -> np.ndarray:
    """Turn a photo's bytes into the network's input.

    Args:
        data: The file's content, in any format of ``headstart.images.decode.FORMATS``.
        settings: The network's preprocessing.
        path: Names the photo in errors; it is not opened.
        view: An augmented version to make; None for the photo as it is.

    Returns:
        (size_px, size_px, 3) uint8, RGB, C-contiguous.

    Raises:
        ImageError: The photo cannot be decoded.
    """
    shorter_px = settings.size_px / settings.crop_fraction if settings.resize == "crop" else settings.size_px
    if view is not None:
        shorter_px = settings.size_px / math.sqrt(view.area * min(view.aspect, 1 / view.aspect))
    image = decode(data, path=path, reduce_to_px=math.ceil(_REDUCING_GAP * shorter_px))
    return preprocess(image, settings, view)


def preprocess(image: Image.Image, settings: Preprocessing, view: View | None = None) -> np.ndarray:
    """Bring a decoded photo to network size, in one resampling.

    Args:
        image: An upright image of mode ``"RGB"``.
        settings: The network's preprocessing.
        view: An augmented version to make: its part of the photo replaces the centre crop.

    Returns:
        (size_px, size_px, 3) uint8, RGB, C-contiguous.
    """
    width, height = image.size
    if view is not None:
        box = view.box(width, height)
    elif settings.resize == "crop":
        side = settings.crop_fraction * min(width, height)
        box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
    else:
        box = (0, 0, width, height)
    resample = Image.Resampling[settings.interpolation.upper()]
    if settings.resize == "pad":
        square = _letterbox(image, box, settings.size_px, resample)
    else:
        square = image.resize((settings.size_px, settings.size_px), resample, box=box)
    if view is not None:
        square = _photometric(square, view)
    return np.array(square)


def _letterbox(
    image: Image.Image, box: tuple[float, float, float, float], size_px: int, resample: Image.Resampling
) -> Image.Image:
    width, height = box[2] - box[0], box[3] - box[1]
    scale = size_px / max(width, height)
    content_size = (max(1, round(scale * width)), max(1, round(scale * height)))
    canvas = Image.new("RGB", (size_px, size_px), _PAD_COLOUR)
    left, top = (size_px - content_size[0]) // 2, (size_px - content_size[1]) // 2
    canvas.paste(image.resize(content_size, resample, box=box), (left, top))
    return canvas


def _photometric(image: Image.Image, view: View) -> Image.Image:
    if view.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    for enhance, factor in (
        (ImageEnhance.Brightness, view.brightness),
        (ImageEnhance.Contrast, view.contrast),
        (ImageEnhance.Color, view.saturation),
    ):
        if factor != 1:
            image = enhance(image).enhance(factor)
    return image


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
