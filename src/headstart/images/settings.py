"""Settings of preprocessing, stored in every model file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, get_args

from headstart.config.checking import check_fields, checked, converted, setting, settings_of
from headstart.errors import ConfigError

Resize = Literal["crop", "pad", "squash"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
_RESIZES: Final = get_args(Resize)
_FILTERS: Final = get_args(Interpolation)

MAX_SIZE_PX: Final = 4096
"""Largest side of a network's input."""

_WHERE: Final = "Preprocessing: "  # begins each problem
_STRICTLY: Final = partial(converted, text=False)


@dataclass(frozen=True)
class Preprocessing:
    """How photos are converted into the network's input. Stored in every model file.

    Attributes:
        size_px: Side of the square input, 1 to ``MAX_SIZE_PX``.
        crop_fraction: With ``resize="crop"``, the input's side as a fraction of the shorter side of the
            resized photo, in (0, 1]: 0.875 at 224 px is the usual "resize to 256, crop 224".
        interpolation: The filter that the backbone was trained with.
        resize: ``"crop"`` keeps the centre, ``"pad"`` adds grey bars, ``"squash"`` changes the aspect ratio.
        mean, std: Per channel, of pixels scaled to 0..1; applied in the network's graph, not here.

    Raises:
        ConfigError: One or more values are wrong; the message lists all of them.
    """

    size_px: int = setting(224, "side of the square input in pixels", at_least=1, at_most=MAX_SIZE_PX)
    crop_fraction: float = setting(0.875, "share of the shorter side that is seen", above=0, at_most=1)
    interpolation: Interpolation = setting("bilinear", "filter of the resampling", choices=_FILTERS)
    resize: Resize = setting("crop", "how photos become square", choices=_RESIZES)
    mean: tuple[float, float, float] = setting((0.485, 0.456, 0.406), "per channel, of pixels from 0 to 1")
    std: tuple[float, float, float] = setting(
        (0.229, 0.224, 0.225), "per channel, of pixels from 0 to 1", above=0
    )

    def __post_init__(self) -> None:
        problems: list[str] = []
        check_fields(self, problems, _WHERE, convert=_STRICTLY)
        if problems:
            raise ConfigError(problems)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as a dictionary for JSON, with one key per attribute."""
        return {**dataclasses.asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Preprocessing:
        """Build from what ``to_dict`` returned.

        Raises:
            ConfigError: A key is unknown or missing, or a value is wrong.
        """
        problems: list[str] = []
        checked(cls, settings, _WHERE, problems, convert=_STRICTLY)
        # No defaults here: they would be wrong for somebody else's backbone, in silence.
        problems += [f"{_WHERE}{key} is missing." for key in settings_of(cls) if key not in settings]
        if problems:
            raise ConfigError(problems)
        return cls(**settings)
