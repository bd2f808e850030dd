"""Preprocessing from decoded photo to network size, shared by training, validation and prediction."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from PIL import Image

from headstart.images.adjust import GREY, adjust
from headstart.images.decode import Decoded, decode_photo
from headstart.images.settings import Preprocessing
from headstart.images.view import Box, View, jacobian, rectangle

# A JPEG keeps at least this many times the pixels (per side) that the network gets. Twice: pixels differ from
# those of a full decode by 0.3 grey levels on average, 1.0 in the worst photo of 30 large ones; once: 0.9 and
# 2.8 (and is a fifth faster).
_REDUCING_GAP: Final = 2

_WARP_MARGIN_PX: Final = 3  # what a warp's filter reads beyond the corners


def load_pixels(data: bytes, settings: Preprocessing, *, path: str, view: View | None = None) -> np.ndarray:
    """Convert the bytes of a photo into the network's input: the pixels of ``load_photo``."""
    return load_photo(data, settings, path=path, view=view)[1]


def load_photo(
    data: bytes, settings: Preprocessing, *, path: str, view: View | None = None
) -> tuple[Decoded, np.ndarray]:
    """Decode a photo and convert it into the network's input.

    Args:
        data: The content of a file in any format of ``headstart.images.formats.FORMATS``.
        settings: The network's preprocessing.
        path: Name of the photo in errors; it is not opened.
        view: The augmented version to render; None for no augmentation.

    Returns:
        The decoded photo, and (size_px, size_px, 3) uint8, RGB, C-contiguous.

    Raises:
        ImageError: The photo cannot be decoded.
    """
    view = view or View()
    is_centre_crop = settings.resize == "crop" and view.part is None
    shorter_px = settings.size_px / (settings.crop_fraction if is_centre_crop else 1)
    reduce_to_px = math.ceil(_REDUCING_GAP * shorter_px * view.magnification())
    photo = decode_photo(data, path=path, reduce_to_px=reduce_to_px)
    return photo, preprocess(photo.image, settings, view)


def preprocess(image: Image.Image, settings: Preprocessing, view: View | None = None) -> np.ndarray:
    """Convert a decoded photo to network size: geometry in one resampling, then adjustments of pixels.

    Args:
        image: An upright image of mode ``"RGB"``.
        settings: The network's preprocessing.
        view: The augmented version to render; None for no augmentation, as in prediction.

    Returns:
        (size_px, size_px, 3) uint8, RGB, C-contiguous.
    """
    view = view or View()
    resample = Image.Resampling[settings.interpolation.upper()]
    flips = _FLIPS.get(tuple(view.warp().ravel().tolist()))
    if flips is None:
        square = _warped(image, view, settings, resample)
    else:
        square = _resized(image, view.box(*image.size, settings), settings, resample)
        for flip in flips:
            square = square.transpose(flip)
    return np.array(adjust(square, view.pixels))


# Warps that move pixels without resampling.
_FLIPS: Final[dict[tuple[float, ...], tuple[Image.Transpose, ...]]] = {
    (1, 0, 0, 0, 1, 0, 0, 0, 1): (),
    (-1, 0, 0, 0, 1, 0, 0, 0, 1): (Image.Transpose.FLIP_LEFT_RIGHT,),
    (1, 0, 0, 0, -1, 0, 0, 0, 1): (Image.Transpose.FLIP_TOP_BOTTOM,),
    (-1, 0, 0, 0, -1, 0, 0, 0, 1): (Image.Transpose.ROTATE_180,),
}


def _resized(
    image: Image.Image, box: Box, settings: Preprocessing, resample: Image.Resampling
) -> Image.Image:
    left, top, right, bottom = map(int, rectangle(box, settings))
    content = image.resize((right - left, bottom - top), resample, box=box)
    if content.size == (settings.size_px, settings.size_px):
        return content
    canvas = Image.new("RGB", (settings.size_px, settings.size_px), GREY)
    canvas.paste(content, (left, top))
    return canvas


def _warped(
    image: Image.Image, view: View, settings: Preprocessing, resample: Image.Resampling
) -> Image.Image:
    """Render a view with rotation, shear or perspective.

    Pillow's ``transform`` reads only a few pixels around each point, so it would alias on a large photo. The
    visible part is therefore first resized with the backbone's filter to about the resolution of the result,
    and then transformed with the bicubic filter. Compared with eightfold supersampling, the result is off by
    0.6 grey levels on average and equally sharp; bilinear filtering takes 2 ms less, but is off by 1.0 and a
    sixth softer (docs/measurements.md).
    """
    size_px, matrix = settings.size_px, view.matrix(*image.size, settings)
    # With pad, what lies around the part is bars; else the photo goes on there, and is seen in the corners.
    limit = view.box(*image.size, settings) if settings.resize == "pad" else (0, 0, *image.size)
    u, v, w = matrix @ np.array([(0, size_px, 0, size_px), (0, 0, size_px, size_px), (1, 1, 1, 1)])
    x, y = u / w, v / w
    # Pixels of the input per pixel of the photo, along the photo's axes, in the middle.
    inverse = np.linalg.inv(jacobian(matrix, size_px / 2, size_px / 2))
    scale_x, scale_y = (min(1.0, each) for each in np.linalg.norm(inverse, axis=0).tolist())
    margin_x, margin_y = _WARP_MARGIN_PX / scale_x, _WARP_MARGIN_PX / scale_y
    left, right = max(limit[0], x.min() - margin_x), min(limit[2], x.max() + margin_x)
    top, bottom = max(limit[1], y.min() - margin_y), min(limit[3], y.max() + margin_y)
    if left >= right or top >= bottom:  # the photo has been moved out of sight
        return Image.new("RGB", (size_px, size_px), GREY)
    columns = max(1, round(scale_x * (right - left)))
    rows = max(1, round(scale_y * (bottom - top)))
    part = image.resize((columns, rows), resample, box=(left, top, right, bottom))
    to_part = np.diag([columns / (right - left), rows / (bottom - top), 1.0])
    to_part[:2, 2] = -left * to_part[0, 0], -top * to_part[1, 1]
    coefficients = (to_part @ matrix).ravel()
    coefficients /= coefficients[8]
    if resample is not Image.Resampling.NEAREST:
        resample = Image.Resampling.BICUBIC
    method = Image.Transform.PERSPECTIVE if coefficients[6:8].any() else Image.Transform.AFFINE
    return part.transform(
        (size_px, size_px), method, coefficients[:8].tolist(), resample=resample, fillcolor=GREY
    )
