"""Converts pixels with an ICC profile to sRGB, the colour space that networks are trained on.

A phone's photo in Display P3, or a camera's in Adobe RGB, looks too pale if its values are interpreted as
sRGB. Pixels without a profile are sRGB by convention, and most profiles are sRGB; neither needs a conversion.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, features

if TYPE_CHECKING:
    from PIL.ImageCms import ImageCmsTransform

_MAX_PROFILE_BYTES: Final = 2**22  # a printer's takes half a megabyte
_SAME_LEVELS: Final = 2  # profiles of sRGB differ by as much from one another, by rounding
_CACHED: Final = 64

# Pillow's modes whose pixels a profile of each colour space describes.
_MODES: Final = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}


def library() -> str:
    """Return name and version of the library that converts colours; versions may round differently."""
    return f"littlecms {features.version('littlecms2') or 'missing'}"


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert pixels to sRGB.

    Args:
        image: Mode ``"RGB"``, ``"L"`` or ``"CMYK"``; other modes are returned unchanged.
        profile: Its ICC profile, if any. A damaged profile, or one of another colour space, is ignored.

    Returns:
        An image of mode ``"RGB"``, or the image itself if no conversion is necessary.
    """
    if not profile or image.mode not in _MODES or len(profile) > _MAX_PROFILE_BYTES:
        return image
    convert = _conversion(profile, image.mode)
    return image if convert is None else convert(image)


@lru_cache(_CACHED)
def profile_name(profile: bytes) -> str:
    """Return the name in an ICC profile, such as ``"Display P3"``; empty if it cannot be read."""
    if not profile or len(profile) > _MAX_PROFILE_BYTES:
        return ""
    try:
        from PIL import ImageCms

        return ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).strip("\0 \n")
    except Exception:  # a damaged profile, in any way; or Pillow was built without lcms2
        return ""


@lru_cache(_CACHED)
def _conversion(profile: bytes, mode: str) -> Callable[[Image.Image], Image.Image] | None:
    """Return the transform from a profile to sRGB; None if no conversion is necessary."""
    try:
        from PIL import ImageCms

        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space != _MODES[mode]:
            return None
        # Several threads share the transform; lcms2 asks for NOCACHE then.
        flags = ImageCms.Flags.NOCACHE | ImageCms.Flags.BLACKPOINTCOMPENSATION
        if mode == "L":  # lcms2 would keep too few points of the curve
            flags |= ImageCms.Flags.NOOPTIMIZE
        target, intent = ImageCms.createProfile("sRGB"), ImageCms.Intent.RELATIVE_COLORIMETRIC
        transform = ImageCms.buildTransform(source, target, mode, "RGB", intent, flags)
        if mode == "CMYK":
            return partial(_converted, transform)
        probe = _probe(mode)
        before, after = np.asarray(probe.convert("RGB"), int), np.asarray(transform.apply(probe), int)
    except Exception:  # a damaged profile, in any way; or Pillow was built without lcms2
        return None
    if np.abs(before - after).max() <= _SAME_LEVELS:
        return None
    if mode == "L":
        return partial(_looked_up, tuple(after[0].T.ravel().tolist()))
    return partial(_converted, transform)


def _converted(transform: ImageCmsTransform, image: Image.Image) -> Image.Image:
    converted = transform.apply(image)
    del converted.info["icc_profile"]  # which Pillow adds: the pixels are sRGB now
    return converted


def _looked_up(levels: tuple[int, ...], image: Image.Image) -> Image.Image:
    return image.convert("RGB").point(levels)


def _probe(mode: str) -> Image.Image:
    """Return test pixels: every grey level, or all combinations of every 15th value of each channel."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[np.newaxis])
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    red, green, blue = np.meshgrid(levels, levels, levels, indexing="ij")
    return Image.fromarray(np.stack([red.ravel(), green.ravel(), blue.ravel()], -1)[np.newaxis])
