"""Changes colours and pixels of a photo at network size, with given parameters: nothing is random here.

Everything uses Pillow, except ``ImageEnhance``, because its blending holds Python's global lock. Lookup
tables, colour matrices and small kernels compute the same results, rounded once, at least as fast, and let
other threads run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
from PIL import Image, ImageFilter, ImageOps, ImageStat

from headstart.images.view import Step

# Close to zero after every usual normalisation, like the zeros that convolutions pad with; one value, so that
# the pixels do not depend on mean and std.
GREY: Final = (128, 128, 128)
"""Colour of padding and of erased rectangles."""

_VALUES: Final = np.arange(256)
_LUMA: Final = np.array([0.299, 0.587, 0.114])  # as in convert("L"), ITU-R 601-2
_SMOOTH: Final = np.array([1, 1, 1, 1, 5, 1, 1, 1, 1]) / 13


def adjust(image: Image.Image, steps: Iterable[Step]) -> Image.Image:
    """Apply adjustments, one after the other.

    Args:
        image: Mode ``"RGB"``; it is not changed.
        steps: Keys of ``ADJUSTMENTS`` with their parameters.
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
    """Blend each pixel's colour with its grey level; a factor above 1 extrapolates."""
    matrix = factor * np.eye(3) + (1 - factor) * _LUMA
    return image.convert("RGB", tuple(np.pad(matrix, ((0, 0), (0, 1))).ravel().tolist()))


def _hue(image: Image.Image, turn: float) -> Image.Image:
    """Rotate hues. Pillow's colour circle has 255 steps, so 255 equals 0."""
    table = [*((_VALUES + round(255 * turn)) % 255).tolist(), *range(256), *range(256)]
    return image.convert("HSV").point(table).convert("RGB")


def _greyscale(image: Image.Image) -> Image.Image:
    return image.convert("L").convert("RGB")


def _sharpness(image: Image.Image, factor: float) -> Image.Image:
    """Blend the image with its smoothed version (Pillow's ``SMOOTH``); a factor above 1 extrapolates."""
    kernel = (1 - factor) * _SMOOTH
    kernel[4] += factor
    return image.filter(ImageFilter.Kernel((3, 3), kernel.tolist(), scale=1))


def _blur(image: Image.Image, sigma: float) -> Image.Image:
    """Blur. Sigma is in pixels of a 224 px input and is scaled to the size of the image."""
    return image.filter(ImageFilter.GaussianBlur(sigma * image.width / 224))


def _noise(image: Image.Image, std: float, key: float) -> Image.Image:
    """Add noise, drawn by NumPy's Philox generator from a key that is part of the view."""
    pixels = np.asarray(image)
    generator = np.random.Generator(np.random.Philox(int(key)))
    noise = generator.standard_normal(pixels.shape, np.float32)
    noise *= 255 * std
    noise += pixels
    return Image.fromarray(np.clip(np.rint(noise, out=noise), 0, 255, out=noise).astype(np.uint8))


def _erase(image: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    """Fill a rectangle, given as fractions of the sides, with grey."""
    width, height = image.size
    box = round(left * width), round(top * height), round(right * width), round(bottom * height)
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
"""Adjustments by name: functions of an RGB image and parameters that return another RGB image."""
