"""What changes colours and pixels of a photo at network size, by given numbers: nothing is random here.

Pillow's operations throughout. What maps each value by itself is one table look-up (``Image.point``): the
result of ``ImageEnhance``'s blending, rounded instead of cut off, in a fraction of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps, ImageStat

from headstart.images.view import Step

# Close to zero after every usual normalisation, like the zeros that convolutions pad with; one value, so that
# the pixels do not depend on mean and std.
GREY: Final = (128, 128, 128)
"""What is seen where there is no photo."""

_VALUES: Final = np.arange(256)


def adjust(image: Image.Image, steps: Iterable[Step]) -> Image.Image:
    """Apply adjustments, one after the other.

    Args:
        image: Of mode ``"RGB"``; it is not changed.
        steps: Keys of ``ADJUSTMENTS`` with their numbers.
    """
    for name, numbers in steps:
        image = ADJUSTMENTS[name](image, *numbers)
    return image


def _table(values: np.ndarray) -> list[int]:
    table: list[int] = np.clip(np.rint(values), 0, 255).astype(int).tolist()
    return 3 * table


def _brightness(image: Image.Image, factor: float) -> Image.Image:
    return image.point(_table(factor * _VALUES))


def _contrast(image: Image.Image, factor: float) -> Image.Image:
    mean = ImageStat.Stat(image.convert("L")).mean[0]
    return image.point(_table(mean + factor * (_VALUES - mean)))


def _saturation(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Color(image).enhance(factor)


def _hue(image: Image.Image, turn: float) -> Image.Image:
    """Pillow's colour circle has 255 steps: 255 is 0 again."""
    table = [*((_VALUES + round(255 * turn)) % 255).tolist(), *range(256), *range(256)]
    return image.convert("HSV").point(table).convert("RGB")


def _greyscale(image: Image.Image) -> Image.Image:
    return image.convert("L").convert("RGB")


def _sharpness(image: Image.Image, factor: float) -> Image.Image:
    return ImageEnhance.Sharpness(image).enhance(factor)


def _blur(image: Image.Image, sigma: float) -> Image.Image:
    """Sigma is in pixels of a 224 px input, so that it looks the same at every size."""
    return image.filter(ImageFilter.GaussianBlur(sigma * image.width / 224))


def _noise(image: Image.Image, std: float, key: float) -> Image.Image:
    """Noise is drawn by NumPy's Philox from a key that is part of the view."""
    pixels = np.asarray(image)
    generator = np.random.Generator(np.random.Philox(int(key)))
    noise = generator.standard_normal(pixels.shape, np.float32)
    noise *= 255 * std
    noise += pixels
    return Image.fromarray(np.clip(np.rint(noise, out=noise), 0, 255, out=noise).astype(np.uint8))


def _erase(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    """The rectangle is given in shares of the sides."""
    box = (
        round(left * image.width),
        round(top * image.height),
        round(right * image.width),
        round(bottom * image.height),
    )
    image = image.copy()
    image.paste(GREY, box)
    return image


ADJUSTMENTS: Final[dict[str, Callable[..., Image.Image]]] = {
    "brightness": _brightness,  # a factor, as for the next two
    "contrast": _contrast,
    "saturation": _saturation,
    "hue": _hue,  # share of the colour circle
    "greyscale": _greyscale,
    "autocontrast": ImageOps.autocontrast,
    "equalise": ImageOps.equalize,
    "posterise": lambda image, bits: ImageOps.posterize(image, int(bits)),
    "solarise": lambda image, threshold: ImageOps.solarize(image, threshold),
    "sharpness": _sharpness,  # a factor
    "blur": _blur,
    "noise": _noise,
    "erase": _erase,
}
"""What changes pixels: each takes an RGB image and its numbers, and gives another RGB image."""
