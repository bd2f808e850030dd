"""The numbered steps from a photo's file to the network's input, as every model file states them.

They are for people and for programs in other languages. ``decode`` and ``preprocess`` do the same: a test
follows the numbers of the steps and compares the pixels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from headstart.images.adjust import GREY
from headstart.images.decode import UPRIGHT
from headstart.images.settings import Preprocessing

_TURNS: Final = {
    "FLIP_LEFT_RIGHT": "mirror left and right",
    "ROTATE_180": "rotate by 180°",
    "FLIP_TOP_BOTTOM": "mirror top and bottom",
    "TRANSPOSE": "exchange rows and columns",
    "ROTATE_270": "rotate by 90° clockwise",
    "TRANSVERSE": "exchange rows and columns, then rotate by 180°",
    "ROTATE_90": "rotate by 90° anticlockwise",
}

# How far each filter reaches to either side, in pixels, and the coefficient that chooses the cubic one.
_FILTERS: Final[dict[str, dict[str, float]]] = {
    "nearest": {"reach": 0},
    "bilinear": {"reach": 1},
    "bicubic": {"reach": 2, "coefficient": -0.5},
    "lanczos": {"reach": 3},
}


def numbered_steps(settings: Preprocessing) -> list[dict[str, Any]]:
    """Return the steps as values for JSON.

    Returns:
        Six dictionaries. Each has its number from 1 as ``step``, a ``name``, its exact numbers, and the step
        in words as ``text``.
    """
    steps = [*_decoding(), *_geometry(settings), _layout(settings)]
    return [{"step": number, **step} for number, step in enumerate(steps, 1)]


def steps_json(settings: Preprocessing) -> str:
    """Return the steps as JSON with one step per line, in ASCII."""
    lines = (json.dumps(step) for step in numbered_steps(settings))
    return "[\n" + ",\n".join(lines) + "\n]"


def contradicts(text: str, settings: Preprocessing) -> bool:
    """Return whether steps in a file say something else than the settings beside them.

    Words may differ, and keys be missing or unknown: another version of Headstart may have written them.
    """
    try:
        stated = json.loads(text)
        expected = numbered_steps(settings)
        if len(stated) != len(expected) or not all(isinstance(step, dict) for step in stated):
            return True
        return any(_differ(one, other) for one, other in zip(stated, expected, strict=True))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return True


def _differ(stated: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    return any(key in stated and stated[key] != value for key, value in expected.items() if key != "text")


def _decoding() -> list[dict[str, Any]]:
    return [
        {
            "name": "decode",
            "bits": 8,
            "of_16_bits": "higher 8",
            "channels": "RGB",
            "image": 0,
            "background": [255, 255, 255],
            "text": "8 bits per channel, RGB; the first image of an animation, transparent pixels over white",
        },
        {
            "name": "orientation",
            "exif": {str(value): _TURNS[turn.name] for value, turn in UPRIGHT.items()},
            "text": "turn upright by the EXIF orientation",
        },
        {
            "name": "colour profile",
            "to": "sRGB",
            "intent": "relative colorimetric",
            "black_point_compensation": True,
            "text": "to sRGB, relative colorimetric, black point compensation; without a profile, no change",
        },
    ]


def _geometry(settings: Preprocessing) -> list[dict[str, Any]]:
    """Return the step that resizes the part of a photo that is seen, and the step that puts it into place."""
    side = settings.size_px
    square = {"width_px": side, "height_px": side}
    part: dict[str, Any] = {"part": "whole photo", **square}
    placed: dict[str, Any] = {}
    if settings.resize == "crop":
        part = {"part": "centre square", "fraction_of_shorter_side": settings.crop_fraction, **square}
    elif settings.resize == "pad":
        part = {"part": "whole photo", "longer_side_px": side}
        placed = {"position": "centre, rounded down", "colour": [*GREY]}
    resize = {
        "name": "resize",
        **part,
        "filter": settings.interpolation,
        **_FILTERS[settings.interpolation],
        "antialias": True,
        "rounded_after_each_axis": True,
        "height_first_if": "versions.pillow >= 13 and H - h > 0 and H - h > 2 (W - w)",
        "text": _resize_text(settings),
    }
    return [resize, {"name": settings.resize, **square, **placed, "text": _place_text(settings)}]


def _layout(settings: Preprocessing) -> dict[str, Any]:
    side = settings.size_px
    return {
        "name": "layout",
        "input": "images",
        "shape": ["N", side, side, 3],
        "type": "uint8",
        "channels": "RGB",
        "range": [0, 255],
        "normalisation": {"where": "network", "mean": [*settings.mean], "std": [*settings.std]},
        "text": f"N × {side} × {side} × 3, uint8, RGB, 0 to 255. The network normalises: mean "
        f"{_listed(settings.mean)}, std {_listed(settings.std)} of pixels from 0 to 1",
    }


def _resize_text(settings: Preprocessing) -> str:
    side, how = settings.size_px, f"{settings.interpolation}, antialiased"
    if settings.resize == "pad":
        return f"the whole photo to a longer side of {side} px, {how}"
    if settings.resize == "squash":
        return f"the whole photo to {side} × {side} px, {how}"
    fraction = f"{settings.crop_fraction:.6g}"
    return f"the centre square, {fraction} of the shorter side, to {side} × {side} px at once, {how}"


def _place_text(settings: Preprocessing) -> str:
    side = settings.size_px
    if settings.resize == "pad":
        return (
            f"into the centre of {side} × {side} px of grey {GREY[0]}; an odd rest is at the right and below"
        )
    if settings.resize == "squash":
        return "nothing to do: step 4 has changed the aspect ratio"
    return "nothing to do: step 4 has cropped, without rounding to pixels"


def _listed(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)
