"""The operations of augmentation with their parameters, units and limits, and presets made of them.

This is plain data: ``config/augmentation.py`` checks it, ``views/augmentation.py`` draws random views from
it, and ``images/`` renders them. The order of application is fixed by ``OPERATIONS``, not by the user:
geometry in one resampling, then colours, sharpness and blur, and finally noise and erasing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeAlias, get_args

from headstart.config.checking import setting


def _number(default: Any, text: str, low: float, high: float, unit: Any = "", **about: Any) -> Any:
    return setting(default, text, at_least=low, at_most=high, unit=unit, **about)


_range = partial(_number, kind="range")
_both_sides = partial(_number, kind="around 0")
_factor = partial(_number, low=0, high=10, unit="share", kind="around 1")
_p = partial(_number, text="fraction of the views to which it is applied", low=0, high=1, unit="share")


@dataclass(frozen=True)
class ResizedCrop:
    """A part of the photo, enlarged to the network's size. Source: Szegedy et al. 2014, arXiv 1409.4842."""

    op: str = field(default="resized-crop", init=False)
    area: tuple[float, float] = _range(
        (0.5, 1.0), "area of the part as a fraction of the photo", 0.01, 1, "share"
    )
    aspect: tuple[float, float] = _range((3 / 4, 4 / 3), "aspect ratio of the part, width / height", 0.1, 10)
    p: float = _p(1.0)


@dataclass(frozen=True)
class PaddedCrop:
    """A random shift with grey padding. Source: He et al. 2015, arXiv 1512.03385."""

    op: str = field(default="padded-crop", init=False)
    padding: float = _number(0.125, "largest shift as a fraction of the side", 0, 1, "share")
    p: float = _p(1.0)


@dataclass(frozen=True)
class HorizontalFlip:
    """Exchanges left and right."""

    op: str = field(default="horizontal-flip", init=False)
    p: float = _p(0.5)


@dataclass(frozen=True)
class VerticalFlip:
    """Exchanges top and bottom."""

    op: str = field(default="vertical-flip", init=False)
    p: float = _p(0.5)


@dataclass(frozen=True)
class Rotation:
    """Rotation about the centre."""

    op: str = field(default="rotation", init=False)
    degrees: tuple[float, float] = _both_sides(
        (-10.0, 10.0), "angle, counter-clockwise", -180, 180, "degrees"
    )
    p: float = _p(1.0)


@dataclass(frozen=True)
class Affine:
    """Rotation, shear, scaling and shift, about the centre."""

    op: str = field(default="affine", init=False)
    degrees: tuple[float, float] = _both_sides((0.0, 0.0), "angle, counter-clockwise", -180, 180, "degrees")
    shear: tuple[float, float] = _both_sides((-5.0, 5.0), "shear angle in each direction", -60, 60, "degrees")
    scale: tuple[float, float] = _range((0.9, 1.1), "scale factor", 0.1, 10)
    translate: tuple[float, float] = _both_sides(
        (-0.1, 0.1), "shift in each direction as a fraction of the side", -1, 1, "share"
    )
    p: float = _p(1.0)


@dataclass(frozen=True)
class Perspective:
    """Perspective distortion: the corners move towards the centre."""

    op: str = field(default="perspective", init=False)
    # Above a half, the horizon of the photo's plane could enter the view.
    distortion: float = _number(
        0.25, "largest shift of a corner as a fraction of half a side", 0, 0.5, "share"
    )
    p: float = _p(0.5)


@dataclass(frozen=True)
class Brightness:
    """Random brightness."""

    op: str = field(default="brightness", init=False)
    amount: tuple[float, float] = _factor((0.8, 1.2), "factor of brightness")
    p: float = _p(1.0)


@dataclass(frozen=True)
class Contrast:
    """Random contrast: distance of all values from the mean grey level."""

    op: str = field(default="contrast", init=False)
    amount: tuple[float, float] = _factor((0.8, 1.2), "factor of contrast")
    p: float = _p(1.0)


@dataclass(frozen=True)
class Saturation:
    """Random colour saturation."""

    op: str = field(default="saturation", init=False)
    amount: tuple[float, float] = _factor((0.8, 1.2), "factor of saturation; 0 is grey")
    p: float = _p(1.0)


@dataclass(frozen=True)
class Hue:
    """Rotates all hues on the colour circle."""

    op: str = field(default="hue", init=False)
    amount: tuple[float, float] = _both_sides(
        (-0.05, 0.05), "shift as a fraction of the colour circle", -0.5, 0.5, "share of the circle"
    )
    p: float = _p(1.0)


@dataclass(frozen=True)
class Greyscale:
    """Removes colour."""

    op: str = field(default="greyscale", init=False)
    p: float = _p(0.1)


@dataclass(frozen=True)
class Autocontrast:
    """Stretches the values of each channel to the full range 0..255."""

    op: str = field(default="autocontrast", init=False)
    p: float = _p(0.1)


@dataclass(frozen=True)
class Equalise:
    """Equalises the histogram of each channel."""

    op: str = field(default="equalise", init=False)
    p: float = _p(0.1)


@dataclass(frozen=True)
class Posterise:
    """Reduces the number of bits per channel."""

    op: str = field(default="posterise", init=False)
    bits: int = _number(4, "number of bits kept, of 8", 1, 8)
    p: float = _p(0.1)


@dataclass(frozen=True)
class Solarise:
    """Inverts bright values."""

    op: str = field(default="solarise", init=False)
    threshold: float = _number(128.0, "grey level from which values are inverted", 0, 255, "grey level")
    p: float = _p(0.1)


@dataclass(frozen=True)
class RandAugment:
    """``n`` random operations from a table, geometric ones first.

    Source: Cubuk et al. 2019, arXiv 1909.13719.
    """

    op: str = field(default="randaugment", init=False)
    n: int = _number(2, "number of operations", 1, 10)
    magnitude: int = _number(9, "their strength on the paper's scale", 0, 30)
    p: float = _p(1.0)


@dataclass(frozen=True)
class TrivialAugment:
    """One random operation of random strength. Source: Müller and Hutter 2021, arXiv 2103.10158."""

    op: str = field(default="trivialaugment", init=False)
    p: float = _p(1.0)


@dataclass(frozen=True)
class Sharpness:
    """Random sharpness."""

    op: str = field(default="sharpness", init=False)
    amount: tuple[float, float] = _factor((0.5, 1.5), "factor: 0 is soft, 2 is sharp")
    p: float = _p(1.0)


@dataclass(frozen=True)
class Blur:
    """Gaussian blur."""

    op: str = field(default="blur", init=False)
    sigma: tuple[float, float] = _range(
        (0.1, 2.0), "standard deviation in pixels of a 224 px input; scaled to the network's input", 0, 50
    )
    p: float = _p(0.2)


@dataclass(frozen=True)
class Noise:
    """Gaussian noise on every channel of every pixel."""

    op: str = field(default="noise", init=False)
    std: tuple[float, float] = _range(
        (0.0, 0.05), "standard deviation as a fraction of the full range of values", 0, 1, "share"
    )
    p: float = _p(0.2)


@dataclass(frozen=True)
class Erasing:
    """A grey rectangle over the photo. Source: Zhong et al. 2017, arXiv 1708.04896."""

    op: str = field(default="erasing", init=False)
    area: tuple[float, float] = _range(
        (0.02, 0.33), "area of the rectangle as a fraction of the photo", 0.001, 1, "share"
    )
    aspect: tuple[float, float] = _range((0.3, 3.3), "its aspect ratio, width / height", 0.05, 20)
    p: float = _p(0.25)


Operation: TypeAlias = (
    ResizedCrop
    | PaddedCrop
    | HorizontalFlip
    | VerticalFlip
    | Rotation
    | Affine
    | Perspective
    | Brightness
    | Contrast
    | Saturation
    | Hue
    | Greyscale
    | Autocontrast
    | Equalise
    | Posterise
    | Solarise
    | RandAugment
    | TrivialAugment
    | Sharpness
    | Blur
    | Noise
    | Erasing
)
Augment: TypeAlias = str | tuple[Operation, ...]
"""The name of a preset, or operations in the order of ``OPERATIONS``, each at most once."""

OPERATIONS: Final[dict[str, type[Operation]]] = {kind.op: kind for kind in get_args(Operation)}
"""All operations by name, in the order in which they are applied."""

PRESETS: Final[dict[str, tuple[Operation, ...]]] = {
    "none": (),
    "light": (
        ResizedCrop(area=(0.5, 1.0)),
        HorizontalFlip(),
        Brightness((0.9, 1.1)),
        Contrast((0.9, 1.1)),
        Saturation((0.9, 1.1)),
    ),
    "medium": (
        ResizedCrop(area=(0.35, 1.0)),
        HorizontalFlip(),
        Rotation((-10.0, 10.0)),
        Brightness((0.75, 1.25)),
        Contrast((0.75, 1.25)),
        Saturation((0.75, 1.25)),
        Erasing(area=(0.02, 0.2), p=0.1),
    ),
    "strong": (
        ResizedCrop(area=(0.2, 1.0)),
        HorizontalFlip(),
        Greyscale(p=0.1),
        TrivialAugment(),
        Erasing(p=0.25),
    ),
}
"""Augmentations by name, from weak to strong."""


def operations_of(augment: Augment) -> tuple[Operation, ...]:
    """Return the operations of a preset, or the operations themselves if they are given as a list."""
    return PRESETS[augment] if isinstance(augment, str) else augment
