"""Draws random views of photos, without hidden state.

A view is a function of (seed, view number, SHA-256 of the photo). It does not depend on the number of threads
or processes, on resuming or on caching, and adding photos does not change the views of others. Each operation
has a random generator of its own, so that adding one to a list does not change the others.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from headstart.config.augmentation import check_augment
from headstart.config.operations import (
    Affine,
    Augment,
    Blur,
    Brightness,
    Contrast,
    Erasing,
    HorizontalFlip,
    Hue,
    Noise,
    Operation,
    PaddedCrop,
    Perspective,
    Posterise,
    RandAugment,
    ResizedCrop,
    Rotation,
    Saturation,
    Sharpness,
    Solarise,
    TrivialAugment,
    VerticalFlip,
    operations_of,
)
from headstart.errors import ConfigError
from headstart.images.view import WARPS, Step, View


@dataclass(frozen=True)
class Augmentation:
    """A source of random views: operations and a seed.

    Attributes:
        augment: The name of a preset, or operations.
        seed: Random seed.

    Raises:
        ConfigError: An operation is unknown, or a value is outside its limits; the message lists all.
    """

    augment: Augment
    seed: int

    def __post_init__(self) -> None:
        problems: list[str] = []
        object.__setattr__(self, "augment", check_augment(self.augment, "", problems))
        if problems:
            raise ConfigError(problems)

    @property
    def operations(self) -> tuple[Operation, ...]:
        """The operations in the order in which they are applied."""
        return operations_of(self.augment)

    def view(self, sha256: str, number: int) -> View:
        """Draw one view of a photo.

        Args:
            sha256: SHA-256 of the photo's bytes, hexadecimal.
            number: Number of the view, from 1; 0 is the photo without augmentation.
        """
        if number == 0:
            return View()
        steps = [step for _, own in self.steps(sha256, number) for step in own]
        return View(
            part=next((numbers for name, numbers in steps if name == "part"), None),  # type: ignore[arg-type]
            geometry=tuple(step for step in steps if step[0] in WARPS),
            pixels=tuple(step for step in steps if step[0] not in WARPS and step[0] != "part"),
        )

    def steps(self, sha256: str, number: int) -> list[tuple[str, list[Step]]]:
        """Return the operations of a view with the parameters drawn for them; arguments as for ``view``."""
        drawn = []
        for operation in self.operations:
            key = hashlib.sha256(f"view {self.seed} {number} {sha256} {operation.op}".encode()).digest()
            draw = np.random.Generator(np.random.Philox(key=int.from_bytes(key[:16], "little"))).random
            if draw() < operation.p:
                drawn.append((operation.op, _steps(operation, draw)))
        return drawn

    def fingerprint(self) -> str:
        """Return a text that identifies the views; a preset and the same list of operations share it."""
        operations = [dataclasses.asdict(operation) for operation in self.operations]
        return json.dumps({"seed": self.seed, "operations": operations}, sort_keys=True)


_Draw = Callable[[], float]  # a number in [0, 1)


def _steps(operation: Operation, draw: _Draw) -> list[Step]:
    """Draw the parameters of an operation, always the same number, so that they are independent."""
    match operation:
        case ResizedCrop():
            area, aspect = _between(operation.area, draw), _between_logarithms(operation.aspect, draw)
            return [("part", (area, aspect, draw(), draw()))]
        case PaddedCrop():
            way = (-operation.padding, operation.padding)
            return [("translate", (_between(way, draw), _between(way, draw)))]
        case HorizontalFlip():
            return [("flip-x", ())]
        case VerticalFlip():
            return [("flip-y", ())]
        case Rotation():
            return [("rotate", (_between(operation.degrees, draw),))]
        case Affine():
            return [
                ("rotate", (_between(operation.degrees, draw),)),
                ("shear", (_tangent(operation.shear, draw), _tangent(operation.shear, draw))),
                ("scale", (_between(operation.scale, draw),)),
                ("translate", (_between(operation.translate, draw), _between(operation.translate, draw))),
            ]
        case Perspective():
            return [("perspective", tuple(operation.distortion * draw() for _ in range(8)))]
        case Brightness() | Contrast() | Saturation() | Hue() | Sharpness():
            return [(operation.op, (_between(operation.amount, draw),))]
        case Posterise():
            return [("posterise", (operation.bits,))]
        case Solarise():
            return [("solarise", (operation.threshold,))]
        case Blur():
            return [("blur", (_between(operation.sigma, draw),))]
        case Noise():
            return [("noise", (_between(operation.std, draw), math.floor(draw() * 2**53)))]
        case Erasing():
            return [("erase", _rectangle(operation, draw))]
        case RandAugment():
            names = list(RANDAUGMENT)
            return [
                step
                for _ in range(operation.n)
                for step in _of_table(RANDAUGMENT, names[int(draw() * len(names))], operation.magnitude, draw)
            ]
        case TrivialAugment():
            names = list(TRIVIALAUGMENT)
            name = names[int(draw() * len(names))]
            return _of_table(TRIVIALAUGMENT, name, int(draw() * NUM_MAGNITUDES), draw)
        case _:
            return [(operation.op, ())]  # greyscale, autocontrast, equalise: nothing to draw


def _between(limits: tuple[float, float], draw: _Draw) -> float:
    low, high = limits
    return low + (high - low) * draw()


def _between_logarithms(limits: tuple[float, float], draw: _Draw) -> float:
    """Draw log-uniformly, so that an aspect ratio and its inverse are equally likely."""
    low, high = limits
    return min(max(math.exp(_between((math.log(low), math.log(high)), draw)), low), high)


def _tangent(degrees: tuple[float, float], draw: _Draw) -> float:
    return math.tan(math.radians(_between(degrees, draw)))


def _rectangle(operation: Erasing, draw: _Draw) -> tuple[float, float, float, float]:
    """Draw left, top, right, bottom as fractions of the sides; a rectangle that is too long is clipped."""
    area, aspect = _between(operation.area, draw), _between_logarithms(operation.aspect, draw)
    width, height = min(1.0, math.sqrt(area * aspect)), min(1.0, math.sqrt(area / aspect))
    left, top = draw() * (1 - width), draw() * (1 - height)
    return left, top, left + width, top + height


NUM_MAGNITUDES: Final = 31
"""Largest magnitude of the operations of a policy; the smallest is 0."""


@dataclass(frozen=True)
class _Strength:
    """Range of the strength of an operation in a policy.

    Attributes:
        kind: ``signed``: a number with a random sign; ``factor``: 1 plus such a number; ``falling``: an
            integer that decreases with the magnitude; ``none``: no parameter.
        first, last: The strength at magnitude 0 and at magnitude 30.
    """

    kind: str
    first: float = 0.0
    last: float = 0.0


def _policy(
    *, shear: float, translate: float, degrees: float, factor: float, bits: int
) -> dict[str, _Strength]:
    """Return the operations of a policy with their largest strengths; ``bits`` are those that remain."""
    return {
        "identity": _Strength("none"),
        **dict.fromkeys(("shear-x", "shear-y"), _Strength("signed", 0, shear)),
        **dict.fromkeys(("translate-x", "translate-y"), _Strength("signed", 0, translate)),
        "rotate": _Strength("signed", 0, degrees),
        **dict.fromkeys(
            ("brightness", "saturation", "contrast", "sharpness"), _Strength("factor", 0, factor)
        ),
        "posterise": _Strength("falling", 8, bits),
        "solarise": _Strength("falling", 255, 0),
        **dict.fromkeys(("autocontrast", "equalise"), _Strength("none")),
    }


# Strengths are torchvision's, lengths shares of the side: RandAugment's 150 pixels of 331, TrivialAugment's
# 32 of the usual 224. Shears are about the middle, not a corner.

RANDAUGMENT: Final = _policy(shear=0.3, translate=150 / 331, degrees=30, factor=0.9, bits=4)
"""Source: Cubuk et al. 2019, arXiv 1909.13719, with torchvision's strengths."""

TRIVIALAUGMENT: Final = _policy(shear=0.99, translate=32 / 224, degrees=135, factor=0.99, bits=2)
"""Source: Müller and Hutter 2021, arXiv 2103.10158, the wide space, with torchvision's strengths."""


def _of_table(table: dict[str, _Strength], name: str, magnitude: int, draw: _Draw) -> list[Step]:
    """Draw the parameter of one operation of a policy; the sign is drawn even if it is not used."""
    strength, sign = table[name], -1 if draw() < 0.5 else 1
    value = strength.first + (strength.last - strength.first) * magnitude / (NUM_MAGNITUDES - 1)
    if name == "identity":
        return []
    if strength.kind == "none":
        return [(name, ())]
    if strength.kind == "falling":
        return [(name, (round(value) if name == "posterise" else value,))]
    if strength.kind == "factor":
        return [(name, (1 + sign * value,))]
    if name in ("shear-x", "translate-x"):
        return [(name.removesuffix("-x"), (sign * value, 0.0))]
    if name in ("shear-y", "translate-y"):
        return [(name.removesuffix("-y"), (0.0, sign * value))]
    return [(name, (sign * value,))]
