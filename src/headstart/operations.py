"""What photos can be varied by: operations with their parameters, units and limits, and presets of them.

Plain data, checked whole. ``data/augment.py`` draws views from it, ``images/`` makes them. The order in which
operations are applied is theirs (``OPERATIONS``), not the user's: geometry in one resampling, then colours,
then what imitates a camera, noise and holes last.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from headstart.errors import did_you_mean


@dataclass(frozen=True)
class Parameter:
    """What a parameter means, and what it may be.

    Attributes:
        text: Its meaning.
        low, high: The least and the greatest value, both allowed.
        kind: ``number`` and ``whole`` are one number. ``range`` is two, from and to. Of ``around 0`` and
            ``around 1`` a single number is the way to both sides, as in torchvision: 15 stands for
            [-15, 15], 0.2 for [0.8, 1.2].
        unit: What people mix up, as shares with per cent: a value that looks so gets a hint.
    """

    text: str
    low: float
    high: float
    kind: Literal["number", "whole", "range", "around 0", "around 1"] = "number"
    unit: Literal["degrees", "share", "share of the circle", "grey level", ""] = ""


def _parameter(default: Any, text: str, low: float, high: float, kind: Any = "number", unit: Any = "") -> Any:
    return field(default=default, metadata={"parameter": Parameter(text, low, high, kind, unit)})


def _p(default: float = 1.0) -> Any:
    return _parameter(default, "share of the views that get it", 0, 1, unit="share")


@dataclass(frozen=True)
class ResizedCrop:
    """A part of the photo, enlarged to the network's size. Source: Szegedy et al. 2014, arXiv 1409.4842."""

    op: str = field(default="resized-crop", init=False)
    area: tuple[float, float] = _parameter(
        (0.5, 1.0), "the part's share of the photo's area", 0.01, 1, "range", "share"
    )
    aspect: tuple[float, float] = _parameter(
        (3 / 4, 4 / 3), "the part's width over its height", 0.1, 10, "range"
    )
    p: float = _p()


@dataclass(frozen=True)
class PaddedCrop:
    """What is seen, shifted; grey where the photo ends. Source: He et al. 2015, arXiv 1512.03385."""

    op: str = field(default="padded-crop", init=False)
    padding: float = _parameter(0.125, "largest shift, as a share of the side", 0, 1, unit="share")
    p: float = _p()


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
    degrees: tuple[float, float] = _parameter(
        (-10.0, 10.0), "angle, counter-clockwise", -180, 180, "around 0", "degrees"
    )
    p: float = _p()


@dataclass(frozen=True)
class Affine:
    """Turned, sheared, scaled and shifted, about the middle."""

    op: str = field(default="affine", init=False)
    degrees: tuple[float, float] = _parameter(
        (0.0, 0.0), "angle, counter-clockwise", -180, 180, "around 0", "degrees"
    )
    shear: tuple[float, float] = _parameter(
        (-5.0, 5.0), "angle of shear, along each side", -60, 60, "around 0", "degrees"
    )
    scale: tuple[float, float] = _parameter((0.9, 1.1), "how many times as large", 0.1, 10, "range")
    translate: tuple[float, float] = _parameter(
        (-0.1, 0.1), "shift along each side, as a share of it", -1, 1, "around 0", "share"
    )
    p: float = _p()


@dataclass(frozen=True)
class Perspective:
    """Seen at a slant: the corners move towards the middle."""

    op: str = field(default="perspective", init=False)
    # Beyond a half, the photo's horizon can come into sight.
    distortion: float = _parameter(
        0.25, "how far a corner may move, as a share of half a side", 0, 0.5, unit="share"
    )
    p: float = _p(0.5)


@dataclass(frozen=True)
class Brightness:
    """Brighter or darker."""

    op: str = field(default="brightness", init=False)
    amount: tuple[float, float] = _parameter((0.8, 1.2), "factor of brightness", 0, 10, "around 1", "share")
    p: float = _p()


@dataclass(frozen=True)
class Contrast:
    """Further from the mean grey level, or closer."""

    op: str = field(default="contrast", init=False)
    amount: tuple[float, float] = _parameter((0.8, 1.2), "factor of contrast", 0, 10, "around 1", "share")
    p: float = _p()


@dataclass(frozen=True)
class Saturation:
    """More or less colour."""

    op: str = field(default="saturation", init=False)
    amount: tuple[float, float] = _parameter(
        (0.8, 1.2), "factor of saturation; 0 is grey", 0, 10, "around 1", "share"
    )
    p: float = _p()


@dataclass(frozen=True)
class Hue:
    """All colours move around the colour circle."""

    op: str = field(default="hue", init=False)
    amount: tuple[float, float] = _parameter(
        (-0.05, 0.05), "shift, as a share of the colour circle", -0.5, 0.5, "around 0", "share of the circle"
    )
    p: float = _p()


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
    bits: int = _parameter(4, "how many of the 8 bits are kept", 1, 8, "whole")
    p: float = _p(0.1)


@dataclass(frozen=True)
class Solarise:
    """Bright values are inverted."""

    op: str = field(default="solarise", init=False)
    threshold: float = _parameter(
        128.0, "grey level from which values are inverted", 0, 255, unit="grey level"
    )
    p: float = _p(0.1)


@dataclass(frozen=True)
class RandAugment:
    """So many operations of a table, those that move the photo first.

    Source: Cubuk et al. 2019, arXiv 1909.13719.
    """

    op: str = field(default="randaugment", init=False)
    n: int = _parameter(2, "how many operations", 1, 10, "whole")
    magnitude: int = _parameter(9, "how strong they are, on the paper's scale", 0, 30, "whole")
    p: float = _p()


@dataclass(frozen=True)
class TrivialAugment:
    """One operation of a wide table, at any strength. Source: Müller and Hutter 2021, arXiv 2103.10158."""

    op: str = field(default="trivialaugment", init=False)
    p: float = _p()


@dataclass(frozen=True)
class Sharpness:
    """Sharper or softer."""

    op: str = field(default="sharpness", init=False)
    amount: tuple[float, float] = _parameter(
        (0.5, 1.5), "factor: 0 is soft, 2 is sharp", 0, 10, "around 1", "share"
    )
    p: float = _p()


@dataclass(frozen=True)
class Blur:
    """Out of focus."""

    op: str = field(default="blur", init=False)
    sigma: tuple[float, float] = _parameter(
        (0.1, 2.0), "standard deviation in pixels of a 224 px input; scaled to the network's", 0, 50, "range"
    )
    p: float = _p(0.2)


@dataclass(frozen=True)
class Noise:
    """Gaussian noise on every channel of every pixel."""

    op: str = field(default="noise", init=False)
    std: tuple[float, float] = _parameter(
        (0.0, 0.05), "standard deviation, as a share of the full range of values", 0, 1, "range", "share"
    )
    p: float = _p(0.2)


@dataclass(frozen=True)
class Erasing:
    """A grey rectangle over the photo. Source: Zhong et al. 2017, arXiv 1708.04896."""

    op: str = field(default="erasing", init=False)
    area: tuple[float, float] = _parameter(
        (0.02, 0.33), "the rectangle's share of the area", 0.001, 1, "range", "share"
    )
    aspect: tuple[float, float] = _parameter((0.3, 3.3), "its width over its height", 0.05, 20, "range")
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

OPERATIONS: Final[dict[str, type[Operation]]] = {
    "resized-crop": ResizedCrop,
    "padded-crop": PaddedCrop,
    "horizontal-flip": HorizontalFlip,
    "vertical-flip": VerticalFlip,
    "rotation": Rotation,
    "affine": Affine,
    "perspective": Perspective,
    "brightness": Brightness,
    "contrast": Contrast,
    "saturation": Saturation,
    "hue": Hue,
    "greyscale": Greyscale,
    "autocontrast": Autocontrast,
    "equalise": Equalise,
    "posterise": Posterise,
    "solarise": Solarise,
    "randaugment": RandAugment,
    "trivialaugment": TrivialAugment,
    "sharpness": Sharpness,
    "blur": Blur,
    "noise": Noise,
    "erasing": Erasing,
}
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

# Which operations do the same and would undo each other's limits.
_ALTERNATIVES: Final = (
    ("resized-crop", "padded-crop", "two crops"),
    ("randaugment", "trivialaugment", "two policies"),
)


def operations_of(augment: Augment) -> tuple[Operation, ...]:
    """Return what an augmentation stands for: a checked list as it is, a preset's list by its name."""
    return PRESETS[augment] if isinstance(augment, str) else augment


def check_augment(value: Any, where: str, problems: list[str]) -> Augment:
    """Check an augmentation as a user writes it.

    Args:
        value: A preset's name, or a list of tables such as ``{op = "rotation", degrees = 15}``; operations as
            objects are welcome too.
        where: Begins each problem: the phase.
        problems: Every problem is added to it, as a sentence with the value and what is allowed.

    Returns:
        The preset's name, or operations with pairs for ranges, in the order in which they are applied. Where
        there are problems, what could be read.
    """
    if isinstance(value, str):
        if value not in PRESETS:
            hint = did_you_mean(value, PRESETS)
            if value in OPERATIONS:
                hint = f' To use the operation alone, write [{{op = "{value}"}}].'
            problems.append(
                f"{where}augment is {value!r}.{hint} Allowed are {', '.join(PRESETS)}, and a list of "
                f'operations such as [{{op = "rotation", degrees = 15}}].'
            )
            return "none"
        return value
    if not isinstance(value, (list, tuple)):
        problems.append(
            f"{where}augment is {value!r}; it must be one of {', '.join(PRESETS)}, or a list of operations "
            f'such as [{{op = "rotation", degrees = 15}}].'
        )
        return "none"
    found: dict[str, Operation] = {}
    for number, table in enumerate(value, 1):
        operation = _check_table(table, f"{where}augment {number}", problems)
        if operation is None:
            continue
        if operation.op in found:
            problems.append(f"{where}augment: {operation.op} stands there twice. Give it once.")
        found[operation.op] = operation
    for one, other, what in _ALTERNATIVES:
        if one in found and other in found:
            problems.append(f"{where}augment: {one} and {other} are {what}. Choose one.")
    return tuple(found[name] for name in OPERATIONS if name in found) or "none"


def _check_table(table: Any, where: str, problems: list[str]) -> Operation | None:
    if dataclasses.is_dataclass(table) and not isinstance(table, type):
        table = dataclasses.asdict(table)
    if not isinstance(table, Mapping):
        problems.append(f'{where} is {table!r}; write a table such as {{op = "rotation", degrees = 15}}.')
        return None
    name = table.get("op")
    if not isinstance(name, str) or name not in OPERATIONS:
        problems.append(f"{where}: {_unknown(name)} Operations are {', '.join(OPERATIONS)}.")
        return None
    kind = OPERATIONS[name]
    parameters = {f.name: f.metadata["parameter"] for f in dataclasses.fields(kind) if f.name != "op"}
    values: dict[str, Any] = {}
    for key, given in table.items():
        if key == "op":
            continue
        if key not in parameters:
            problems.append(
                f"{where}: {name} has no {key!r}.{did_you_mean(str(key), parameters)} It has "
                f"{', '.join(parameters)}."
            )
            continue
        parameter = parameters[key]
        try:
            values[key] = _converted(given, parameter)
            if key == "p" and values[key] == 0:
                raise ValueError("no view would get it. Leave the operation out, or make p larger.")
        except ValueError as error:
            problems.append(f"{where}: {name}: {key} = {given!r} ({parameter.text}): {error}")
    return kind(**values)


def _unknown(name: Any) -> str:
    """Say what is wrong with an operation's name; torchvision's names lead to ours."""
    if name is None:
        return 'no operation is named. Write op = "rotation", for example.'
    kebab = re.sub(r"(?<=[a-z])(?=[A-Z])|[_ ]", "-", str(name)).lower().removeprefix("random-")
    if kebab in ("color-jitter", "colour-jitter"):
        return f"there is no operation {name!r}. Use brightness, contrast, saturation and hue, one by one."
    known = {
        "grayscale": "greyscale",
        "crop": "padded-crop",
        "gaussian-blur": "blur",
        "gaussian-noise": "noise",
        "rand-augment": "randaugment",
        "trivial-augment": "trivialaugment",
        "trivial-augment-wide": "trivialaugment",
        "adjust-sharpness": "sharpness",
    }
    nearest = f" Did you mean {known[kebab]!r}?" if kebab in known else did_you_mean(kebab, OPERATIONS)
    return f"there is no operation {name!r}.{nearest}"


def _converted(given: Any, parameter: Parameter) -> Any:
    """Bring a value to the parameter's kind, or raise ``ValueError`` with what is wrong and a hint."""
    wanted = {
        "number": "it must be a number.",
        "whole": "it must be a whole number.",
        "range": "it must be two numbers, as in [from, to].",
    }.get(parameter.kind, "it must be a number, or two as in [from, to].")
    is_range = isinstance(given, (list, tuple)) and parameter.kind not in ("number", "whole")
    values = given if is_range else [given]
    if (parameter.kind == "range" and not is_range) or not all(map(_is_number, values)):
        raise ValueError(wanted)
    if is_range:
        if len(given) != 2:
            raise ValueError(wanted)
        _check_limits(given, parameter.low, parameter.high, parameter)
        low, high = map(float, given)
        if low > high:
            raise ValueError(f"it goes from the lower to the higher: did you mean [{high:g}, {low:g}]?")
        return low, high
    if parameter.kind in ("number", "whole"):
        _check_limits(values, parameter.low, parameter.high, parameter)
        if parameter.kind == "whole" and given != int(given):
            raise ValueError(wanted)
        return int(given) if parameter.kind == "whole" else float(given)
    if given < 0:
        raise ValueError(f"a single number is the way to both sides: did you mean {-given:g}?")
    # A factor's way down ends at 0, so its single number ends at 1.
    middle, largest = (0.0, parameter.high) if parameter.kind == "around 0" else (1.0, 1.0)
    _check_limits(values, 0, largest, parameter)
    return middle - given, middle + given


def _check_limits(values: list[float], low: float, high: float, parameter: Parameter) -> None:
    largest = max(map(abs, values))
    if parameter.unit == "degrees" and 0 < largest < 1:
        raise ValueError(f"{largest:g} degrees: did you mean {largest * 100:g}?")
    if parameter.unit == "grey level" and 0 < largest < 1:
        raise ValueError(f"grey levels go from 0 to 255: did you mean {largest * 255:.0f}?")
    if all(low <= value <= high for value in values):
        return
    hint = "."
    if parameter.unit == "share of the circle" and 1 <= largest <= 360:
        hint = f": did you mean {largest / 360:.2g} ({largest:g} degrees)?"
    elif parameter.unit == "share" and 1 < largest <= 100:
        shares = ", ".join(f"{value / 100:g}" for value in values)
        hint = f": did you mean {shares if len(values) == 1 else f'[{shares}]'} ({largest:g} %)?"
    raise ValueError(f"it must lie in {low:g} to {high:g}{hint}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
