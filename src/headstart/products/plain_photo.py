"""Prepares a photo for a network with NumPy and Pillow alone."""

# The text behind the imports is part of the script that `export --to pth` writes, so nothing of Headstart is
# imported here. The pixels are those of images/preprocess.py: a test compares them.
from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image, ImageCms

Box = tuple[float, float, float, float]  # left, top, right, bottom

UPRIGHT = {  # EXIF orientation -> what shows the photo upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
MODES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}  # mode of pixels -> colour space of their ICC profile


def square_of(
    path: str, size: int, resize: str, crop_fraction: float, interpolation: str
) -> tuple[Image.Image, tuple[int, int], Box, Box]:
    """Return a photo as a square of the network's size.

    Also returns width and height of the photo; the part of it that the square shows, in pixels of the photo;
    and the rectangle of the square that this part fills.
    """
    shorter_side = size / (crop_fraction if resize == "crop" else 1)
    image, (width, height) = read_photo(path, math.ceil(2 * shorter_side))
    part: Box = (0, 0, image.width, image.height)
    left, top, columns, rows = 0, 0, size, size
    if resize == "crop":
        side = crop_fraction * min(image.size)
        part = (
            *((image.width - side) / 2, (image.height - side) / 2),
            *((image.width + side) / 2, (image.height + side) / 2),
        )
    elif resize == "pad":
        scale = size / max(image.size)
        columns, rows = max(1, round(scale * image.width)), max(1, round(scale * image.height))
        left, top = (size - columns) // 2, (size - rows) // 2
    content = image.resize((columns, rows), Image.Resampling[interpolation.upper()], box=part)
    square = Image.new("RGB", (size, size), (128, 128, 128))
    square.paste(content, (left, top))
    x, y = width / image.width, height / image.height  # a JPEG may have been decoded at a smaller scale
    part = (part[0] * x, part[1] * y, part[2] * x, part[3] * y)
    return square, (width, height), part, (left, top, left + columns, top + rows)


def read_photo(path: str, shorter_side: int) -> tuple[Image.Image, tuple[int, int]]:
    """Return a photo upright, in sRGB and on white, and its width and height.

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its size if its shorter side keeps ``shorter_side`` pixels.
    """
    with Image.open(path) as image:
        width, height = image.size
        is_jpeg = image.format in ("JPEG", "MPO")
        if is_jpeg:
            image.draft(None, (shorter_side, shorter_side))
        image.load()
        try:
            orientation = int(image.getexif().get(0x0112, 1))
        except Exception:  # damaged EXIF says nothing about the pixels
            orientation = 1
        upright = to_rgb(image)
    if orientation in UPRIGHT:
        upright = upright.transpose(UPRIGHT[orientation])
    if not is_jpeg:
        return upright, upright.size
    return upright, (height, width) if 5 <= orientation <= 8 else (width, height)


def to_rgb(image: Image.Image) -> Image.Image:
    """Return an image in RGB, in sRGB; transparent pixels become white."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith(("I", "F")):  # grey of 16 bits, or floating-point numbers from 0 to 1
        values = np.asarray(image)
        grey = (values * 255 + 0.5 if image.mode == "F" else values.astype(np.int64) >> 8).astype(np.uint8)
        if (transparent := image.info.get("transparency")) is not None:
            grey[values == transparent] = 255
        image = Image.fromarray(grey)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        pixels = image.convert("L") if image.mode == "LA" else rgba.convert("RGB")
        on_white = Image.new("RGB", rgba.size, "white")
        on_white.paste(to_srgb(pixels, profile).convert("RGB"), mask=rgba.getchannel("A"))
        return on_white
    if image.mode not in MODES:
        image = image.convert("RGB")
    return to_srgb(image, profile).convert("RGB")


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return an image in sRGB. Nothing changes if its ICC profile is missing, damaged or as good as sRGB."""
    if not profile or len(profile) > 2**22:
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space != MODES[image.mode]:
            return image
        flags = ImageCms.Flags.NOCACHE | ImageCms.Flags.BLACKPOINTCOMPENSATION
        if image.mode == "L":
            flags |= ImageCms.Flags.NOOPTIMIZE
        intent, target = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, target, image.mode, "RGB", intent, flags)
        if image.mode == "CMYK":
            return transform.apply(image)
        levels = np.arange(256, dtype=np.uint8)[None]  # every grey
        if image.mode == "RGB":
            some = levels[0, ::15]
            levels = np.stack(np.meshgrid(some, some, some, indexing="ij"), -1).reshape(1, -1, 3)
        before = Image.fromarray(levels)
        after = np.asarray(transform.apply(before), int)
    except Exception:  # a damaged profile, in any way
        return image
    if np.abs(np.asarray(before.convert("RGB"), int) - after).max() <= 2:
        return image
    if image.mode == "L":
        return image.convert("RGB").point(after[0].T.ravel().tolist())
    return transform.apply(image)
