"""The same pixels as files of every format that browsers decode: turned, with profiles, with alpha."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageCms

# How a file's pixels have to be turned for the EXIF orientation to make them upright again.
STORED = {
    1: (),
    2: (Image.Transpose.FLIP_LEFT_RIGHT,),
    3: (Image.Transpose.ROTATE_180,),
    4: (Image.Transpose.FLIP_TOP_BOTTOM,),
    5: (Image.Transpose.TRANSPOSE,),
    6: (Image.Transpose.ROTATE_90,),
    7: (Image.Transpose.TRANSVERSE,),
    8: (Image.Transpose.ROTATE_270,),
}

_D50 = (0.9642, 1.0, 0.8249)
# Red, green and blue of each space as XYZ under D50, and its gamma.
ADOBE_RGB = (
    (0.60974, 0.31111, 0.01947),
    (0.20528, 0.62567, 0.06087),
    (0.14919, 0.06322, 0.74457),
    2.19921875,
)
DISPLAY_P3 = ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407), 2.2)


def _tag_xyz(xyz: Sequence[float]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in xyz))


def _tag_gamma(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"


def _profile(
    space: bytes, tags: dict[bytes, bytes], *, connection: bytes = b"XYZ ", device: bytes = b"mntr"
) -> bytes:
    """Return an ICC profile of version 2."""
    tags = {b"desc": b"desc\0\0\0\0\0\0\0\5test\0" + bytes(79), b"wtpt": _tag_xyz(_D50)} | tags
    body, table = b"", struct.pack(">I", len(tags))
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">2I", start + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    size = start + len(body)
    header = struct.pack(">I4xI4s4s4s12x4s28x", size, 0x02400000, device, space, connection, b"acsp")
    header += struct.pack(">3i", *(round(value * 65536) for value in _D50))
    return header.ljust(128, b"\0") + table + body


def rgb_profile(space: tuple[Any, ...]) -> bytes:
    """Return the profile of an RGB space, such as ``ADOBE_RGB``."""
    *primaries, gamma = space
    colours = {b"rXYZ": primaries[0], b"gXYZ": primaries[1], b"bXYZ": primaries[2]}
    curves = {name: _tag_gamma(gamma) for name in (b"rTRC", b"gTRC", b"bTRC")}
    return _profile(b"RGB ", {name: _tag_xyz(xyz) for name, xyz in colours.items()} | curves)


def grey_profile(gamma: float) -> bytes:
    """Return a profile of grey levels."""
    return _profile(b"GRAY", {b"kTRC": _tag_gamma(gamma)})


def cmyk_profile() -> bytes:
    """Return a profile of a printer whose inks multiply, and are a little paler than those of a screen."""
    inks = np.stack(np.meshgrid(*4 * [np.linspace(0, 1, 9)], indexing="ij"), -1).reshape(-1, 4)
    levels = 255 * (1 - 0.9 * inks[:, :3]) * (1 - 0.85 * inks[:, 3:])
    rgb = Image.fromarray(levels.astype(np.uint8)[np.newaxis])
    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    lab = np.asarray(ImageCms.applyTransform(rgb, to_lab)).copy()
    lab[..., 1:] ^= 128  # Pillow stores a and b with a sign
    ramp = bytes(range(256))
    identity = struct.pack(">9i", *(65536, 0, 0, 0, 65536, 0, 0, 0, 65536))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 9, 0]) + identity + 4 * ramp + lab.tobytes() + 3 * ramp
    return _profile(b"CMYK", {b"A2B0": table, b"A2B1": table}, connection=b"Lab ", device=b"prtr")


def png(samples: np.ndarray, *, interlaced: bool = False, exif: bytes = b"") -> bytes:
    """Write a PNG as Pillow does not: interlaced, or with 16 bits per channel.

    Args:
        samples: (H, W, C) uint8 or uint16; C is 1 (grey), 2 (and alpha), 3 (RGB) or 4 (and alpha).
    """
    height, width, channels = samples.shape
    big_endian = samples.astype(samples.dtype.newbyteorder(">"))

    def lines(part: np.ndarray) -> bytes:
        return b"".join(b"\0" + line.tobytes() for line in part) if part.size else b""

    # Adam7: first row and column of each pass, and the steps between them.
    passes = [
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ]
    if not interlaced:
        passes = [(0, 0, 1, 1)]
    content = b"".join(lines(big_endian[top::down, left::right]) for top, left, down, right in passes)
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">2I5B", width, height, 8 * samples.itemsize, kind, 0, 0, interlaced)
    chunks = [(b"IHDR", header), (b"eXIf", exif), (b"IDAT", zlib.compress(content)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(each)) + name + each + struct.pack(">I", zlib.crc32(name + each))
        for name, each in chunks
        if each or name == b"IEND"
    )


def _alpha(image: Image.Image) -> Image.Image:
    """Return an alpha channel with all levels: a gradient from left to right."""
    row = np.linspace(0, 255, image.width).astype(np.uint8)
    return Image.fromarray(np.tile(row, (image.height, 1)))


def _saved(image: Image.Image, kind: str, exif: bytes, **options: Any) -> bytes:
    file = io.BytesIO()
    if exif:
        options["exif"] = exif
    image.save(file, kind, **options)
    return file.getvalue()


def _with_alpha(image: Image.Image) -> Image.Image:
    image = image.copy()
    image.putalpha(_alpha(image))
    return image


def _in_16_bits(image: Image.Image) -> np.ndarray:
    values = np.asarray(image).astype(np.uint16)
    values = values.reshape(*values.shape[:2], -1)
    noise = np.random.default_rng(0).integers(0, 256, values.shape, dtype=np.uint16)
    return values << 8 | noise


def _animation(image: Image.Image, kind: str, exif: bytes) -> bytes:
    second = Image.new("RGB", image.size, "red")
    return _saved(image, kind, exif, save_all=True, append_images=[second], duration=100)


def _transparent_palette(image: Image.Image) -> Image.Image:
    image = image.quantize(64)
    image.info["transparency"] = 3
    return image


Encoder = Callable[[Image.Image, bytes], bytes]

TURNED: dict[str, Encoder] = {
    "jpeg": lambda image, exif: _saved(image, "JPEG", exif, quality=90),
    "jpeg-444": lambda image, exif: _saved(image, "JPEG", exif, quality=95, subsampling=0),
    "jpeg-progressive": lambda image, exif: _saved(image, "JPEG", exif, quality=80, progressive=True),
    "jpeg-grey": lambda image, exif: _saved(image.convert("L"), "JPEG", exif, quality=90),
    "jpeg-cmyk": lambda image, exif: _saved(image.convert("CMYK"), "JPEG", exif, quality=92),
    "jpeg-adobe-rgb": lambda image, exif: _saved(
        image, "JPEG", exif, quality=92, icc_profile=rgb_profile(ADOBE_RGB)
    ),
    "jpeg-display-p3": lambda image, exif: _saved(
        image, "JPEG", exif, quality=92, icc_profile=rgb_profile(DISPLAY_P3)
    ),
    "jpeg-cmyk-profile": lambda image, exif: _saved(
        image.convert("CMYK"), "JPEG", exif, quality=92, icc_profile=cmyk_profile()
    ),
    "jpeg-srgb": lambda image, exif: _saved(
        image, "JPEG", exif, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    ),
    "png": lambda image, exif: _saved(image, "PNG", exif),
    "png-alpha": lambda image, exif: _saved(_with_alpha(image), "PNG", exif),
    "png-16-bit": lambda image, exif: png(_in_16_bits(image), exif=exif),
    "png-interlaced": lambda image, exif: png(np.asarray(image), interlaced=True, exif=exif),
    "png-display-p3": lambda image, exif: _saved(image, "PNG", exif, icc_profile=rgb_profile(DISPLAY_P3)),
    "webp": lambda image, exif: _saved(image, "WEBP", exif, quality=85),
    "webp-lossless": lambda image, exif: _saved(image, "WEBP", exif, lossless=True, method=0),
    "webp-alpha": lambda image, exif: _saved(_with_alpha(image), "WEBP", exif, quality=90),
    "webp-adobe-rgb": lambda image, exif: _saved(
        image, "WEBP", exif, quality=90, icc_profile=rgb_profile(ADOBE_RGB)
    ),
    "avif": lambda image, exif: _saved(image, "AVIF", exif, quality=85, speed=9),
    "avif-444": lambda image, exif: _saved(image, "AVIF", exif, quality=90, speed=9, subsampling="4:4:4"),
}
"""Formats that store an orientation."""

UPRIGHT: dict[str, Encoder] = {
    "png-palette": lambda image, exif: _saved(image.quantize(128), "PNG", exif),
    "png-palette-alpha": lambda image, exif: _saved(_transparent_palette(image), "PNG", exif),
    "png-grey": lambda image, exif: _saved(image.convert("L"), "PNG", exif),
    "png-grey-alpha": lambda image, exif: _saved(_with_alpha(image.convert("L")), "PNG", exif),
    "png-grey-16-bit": lambda image, exif: png(_in_16_bits(image.convert("L")), exif=exif),
    "png-1-bit": lambda image, exif: _saved(image.convert("1"), "PNG", exif),
    "png-animated": lambda image, exif: _animation(image, "PNG", exif),
    "jpeg-grey-profile": lambda image, exif: _saved(
        image.convert("L"), "JPEG", exif, icc_profile=grey_profile(1.4)
    ),
    "png-grey-profile": lambda image, exif: _saved(
        image.convert("L"), "PNG", exif, icc_profile=grey_profile(1.4)
    ),
    "webp-animated": lambda image, exif: _animation(image, "WEBP", exif),
    "gif": lambda image, exif: _saved(image.quantize(256), "GIF", b""),
    "gif-animated": lambda image, exif: _animation(image.quantize(256), "GIF", b""),
    "gif-alpha": lambda image, exif: _saved(_transparent_palette(image), "GIF", b"", transparency=3),
    "bmp": lambda image, exif: _saved(image, "BMP", b""),
    "bmp-palette": lambda image, exif: _saved(image.quantize(256), "BMP", b""),
}
"""Formats that are tested upright only: they store no orientation, or only their colours are special."""


def encoded(image: Image.Image, kind: str, orientation: int = 1) -> bytes:
    """Return an RGB image as a file of a kind of ``TURNED`` or ``UPRIGHT``, with an EXIF orientation."""
    for turn in STORED[orientation]:
        image = image.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = exif.tobytes().removeprefix(b"Exif\0\0") if orientation > 1 else b""
    return (TURNED | UPRIGHT)[kind](image, content)
