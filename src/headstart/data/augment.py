"""Random views of photos, drawn without hidden state.

A view is a function of (seed, view number, sha256 of the photo's bytes): the same with any number of threads
or processes, resumed or not, cached or not, and adding photos changes no other photo's views.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from headstart.errors import ConfigError, did_you_mean
from headstart.images.preprocess import View


@dataclass(frozen=True)
class Ranges:
    """What views are drawn from.

    Attributes:
        smallest_area: Parts of the photo from this share of its area up to all of it, in (0, 1].
        largest_aspect: Parts from 1 / this to this times as wide as high, at least 1.
        flip: Whether every second view is mirrored.
        jitter: Brightness, contrast and saturation change by up to this factor, in 0..1.
    """

    smallest_area: float = 1.0
    largest_aspect: float = 1.0
    flip: bool = False
    jitter: float = 0.0


PRESETS: Final = {
    "light": Ranges(smallest_area=0.5, largest_aspect=4 / 3, flip=True, jitter=0.1),
}


@dataclass(frozen=True)
class Augmentation:
    """A preset and a seed.

    Attributes:
        preset: A key of ``PRESETS``.
        seed: Another seed, other views.
    """

    preset: str
    seed: int

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ConfigError(
                [
                    f"augment is {self.preset!r}.{did_you_mean(self.preset, PRESETS)} "
                    f"Allowed are none, {', '.join(PRESETS)}."
                ]
            )

    def view(self, sha256: str, number: int) -> View:
        """Draw one view of a photo.

        Args:
            sha256: Of the photo's bytes, hexadecimal.
            number: Which view, from 1.
        """
        ranges = PRESETS[self.preset]
        key = hashlib.sha256(f"view {self.seed} {number} {sha256}".encode()).digest()
        generator = np.random.Generator(np.random.Philox(key=int.from_bytes(key[:16], "little")))
        # One number for each parameter, drawn always, so that a parameter's range changes no other.
        area, aspect, x, y, flip, brightness, contrast, saturation = generator.random(8).tolist()
        return View(
            area=1 - area * (1 - ranges.smallest_area),
            aspect=math.exp((2 * aspect - 1) * math.log(ranges.largest_aspect)),
            x=x,
            y=y,
            flip=ranges.flip and flip < 0.5,
            brightness=1 + (2 * brightness - 1) * ranges.jitter,
            contrast=1 + (2 * contrast - 1) * ranges.jitter,
            saturation=1 + (2 * saturation - 1) * ranges.jitter,
        )

    def fingerprint(self) -> str:
        """Return a text that differs whenever views differ."""
        return json.dumps({"seed": self.seed, **asdict(PRESETS[self.preset])}, sort_keys=True)
