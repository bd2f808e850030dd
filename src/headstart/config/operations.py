"""What photos can be varied by: operations with their parameters, units and limits, and presets of them.

Plain data; ``augmentation.py`` checks it. ``augment/augmentation.py`` draws views from it, ``images/`` makes
them. The order in which operations are applied is theirs (``OPERATIONS``), not the user's: geometry in one
resampling, then colours, then what imitates a camera, noise and holes last.
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
_p = partial(_number, text="share of the views that get it", low=0, high=1, unit="share")


@dataclass(frozen=True)
class ResizedCrop:
    """A part of the photo, enlarged to the network's size. Source: Szegedy et al. 2014, arXiv 1409.4842."""

    op: str = field(default="resized-crop", init=False)
    area: tuple[float, float] = _range((0.5, 1.0), "the part's share of the photo's area", 0.01, 1, "share")
    aspect: tuple[float, float] = _range((3 / 4, 4 / 3), "the part's width over its height", 0.1, 10)
    p: float = _p(1.0)


@dataclass(frozen=True)
class PaddedCrop:
    """What is seen, shifted; grey where the photo ends. Source: He et al. 2015, arXiv 1512.03385."""

    op: str = field(default="padded-crop", init=False)
    padding: float = _number(0.125, "largest shift, as a share of the side", 0, 1, "share")
    p: float = _p(1.0)


@dataclass(frozen=True)
class HorizontalFlip:
    """Left and right change places."""

    op: str = field(default="horizontal-flip", init=False)
    p: float = _p(0.5)


@dataclass(frozen=True)
class VerticalFlip:
    """Top and bottom change places."""

    op: str = field(default="vertical-flip", init=False)
    p: float = _p(0.5)


@dataclass(frozen=True)
class Rotation:
    """Turned about the middle."""

    op: str = field(default="rotation", init=False)
    degrees: tuple[float, float] = _both_sides(
        (-10.0, 10.0), "angle, counter-clockwise", -180, 180, "degrees"
    )
    p: float = _p(1.0)


@dataclass(frozen=True)
class Affine:
    """Turned, sheared, scaled and shifted, about the middle."""

    op: str = field(default="affine", init=False)
    degrees: tuple[float, float] = _both_sides((0.0, 0.0), "angle, counter-clockwise", -180, 180, "degrees")
    shear: tuple[float, float] = _both_sides(
        (-5.0, 5.0), "angle of shear, along each side", -60, 60, "degrees"
    )
    scale: tuple[float, float] = _range((0.9, 1.1), "how many times as large", 0.1, 10)
    translate: tuple[float, float] = _both_sides(
        (-0.1, 0.1), "shift along each side, as a share of it", -1, 1, "share"
    )
    p: float = _p(1.0)


@dataclass(frozen=True)
class Perspective:
    """Seen at a slant: the corners move towards the middle."""

    op: str = field(default="perspective", init=False)
    # Beyond a half, the photo's horizon can come into sight.
    distortion: float = _number(0.25, "how far a corner may move, as a share of half a side", 0, 0.5, "share")
    p: float = _p(0.5)


@dataclass(frozen=True)
class Brightness:
    """Brighter or darker."""

    op: str = field(default="brightness", init=False)
    amount: tuple[float, float] = _factor((0.8, 1.2), "factor of brightness")
    p: float = _p(1.0)


@dataclass(frozen=True)
class Contrast:
    """Further from the mean grey level, or closer."""

    op: str = field(default="contrast", init=False)
    amount: tuple[float, float] = _factor((0.8, 1.2), "factor of contrast")
    p: float = _p(1.0)


@dataclass(frozen=True)
class Saturation:
    """More or less colour."""

    op: str = field(default="saturation", init=False)
    amount: tuple[float, float] = _factor((0.8, 1.2), "factor of saturation; 0 is grey")
    p: float = _p(1.0)


@dataclass(frozen=True)
class Hue:
    """All colours move around the colour circle."""

    op: str = field(default="hue", init=False)
    amount: tuple[float, float] = _both_sides(
        (-0.05, 0.05), "shift, as a share of the colour circle", -0.5, 0.5, "share of the circle"
    )
    p: float = _p(1.0)


@dataclass(frozen=True)
class Greyscale:
    """Without colour."""

    op: str = field(default="greyscale", init=False)
    p: float = _p(0.1)


@dataclass(frozen=True)
class Autocontrast:
    """Each channel stretched from its darkest to its brightest value to 0..255."""

    op: str = field(default="autocontrast", init=False)
    p: float = _p(0.1)


@dataclass(frozen=True)
class Equalise:
    """Each channel's values spread evenly."""

    op: str = field(default="equalise", init=False)
    p: float = _p(0.1)


@dataclass(frozen=True)
class Posterise:
    """Fewer values in each channel."""

    op: str = field(default="posterise", init=False)
    bits: int = _number(4, "how many of the 8 bits are kept", 1, 8)
    p: float = _p(0.1)


@dataclass(frozen=True)
class Solarise:
    """Bright values are inverted."""

    op: str = field(default="solarise", init=False)
    threshold: float = _number(128.0, "grey level from which values are inverted", 0, 255, "grey level")
    p: float = _p(0.1)


@dataclass(frozen=True)
class RandAugment:
    """So many operations of a table, those that move the photo first.

    Source: Cubuk et al. 2019, arXiv 1909.13719.
    """

    op: str = field(default="randaugment", init=False)
    n: int = _number(2, "how many operations", 1, 10)
    magnitude: int = _number(9, "how strong they are, on the paper's scale", 0, 30)
    p: float = _p(1.0)


@dataclass(frozen=True)
class TrivialAugment:
    """One operation of a wide table, at any strength. Source: Müller and Hutter 2021, arXiv 2103.10158."""

    op: str = field(default="trivialaugment", init=False)
    p: float = _p(1.0)


@dataclass(frozen=True)
class Sharpness:
    """Sharper or softer."""

    op: str = field(default="sharpness", init=False)
    amount: tuple[float, float] = _factor((0.5, 1.5), "factor: 0 is soft, 2 is sharp")
    p: float = _p(1.0)


@dataclass(frozen=True)
class Blur:
    """Out of focus."""

    op: str = field(default="blur", init=False)
    sigma: tuple[float, float] = _range(
        (0.1, 2.0), "standard deviation in pixels of a 224 px input; scaled to the network's", 0, 50
    )
    p: float = _p(0.2)


@dataclass(frozen=True)
class Noise:
    """Gaussian noise on every channel of every pixel."""

    op: str = field(default="noise", init=False)
    std: tuple[float, float] = _range(
        (0.0, 0.05), "standard deviation, as a share of the full range of values", 0, 1, "share"
    )
    p: float = _p(0.2)


@dataclass(frozen=True)
class Erasing:
    """A grey rectangle over the photo. Source: Zhong et al. 2017, arXiv 1708.04896."""

    op: str = field(default="erasing", init=False)
    area: tuple[float, float] = _range((0.02, 0.33), "the rectangle's share of the area", 0.001, 1, "share")
    aspect: tuple[float, float] = _range((0.3, 3.3), "its width over its height", 0.05, 20)
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
"""A preset's name, or operations in the order of ``OPERATIONS``, each at most once."""

OPERATIONS: Final[dict[str, type[Operation]]] = {kind.op: kind for kind in get_args(Operation)}
"""By name, in the order in which they are applied."""

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
"""How photos vary, by strength: what each name stands for."""


def operations_of(augment: Augment) -> tuple[Operation, ...]:
    """Return what an augmentation stands for: a checked list as it is, a preset's list by its name."""
    return PRESETS[augment] if isinstance(augment, str) else augment
