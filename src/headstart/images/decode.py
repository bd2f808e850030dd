"""Decodes the bytes of a photo into an upright RGB image, or raises an error with the reason.

The format is recognised by the bytes, never by the file name. All functions are thread-safe and do not change
Pillow's settings; ``ImageFile.LOAD_TRUNCATED_IMAGES`` stays off, so that a truncated photo is an error.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import BinaryIO, Final

import numpy as np
from PIL import Image
from PIL.ExifTags import Base as ExifTag
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from headstart.errors import ImageError
from headstart.images.bounds import BoundedBytes, refuse_slow_files
from headstart.images.colour import to_srgb
from headstart.images.formats import HEAD_BYTES, format_of, reader_of, why_not_an_image
from headstart.images.libtiff import silence_libtiff
from headstart.images.photo import Photo
from headstart.images.pillow_warnings import pillow_warnings_off

MAX_PIXELS: Final = 100_000_000
"""Largest photo that is decoded, in pixels (up to 1.5 GB of memory). A JPEG may be larger."""

# A JPEG is decoded at reduced scale, so a phone's 108 or 200 megapixels are welcome: since no side exceeds
# 65,535 pixels, what is held stays below MAX_PIXELS for any reduce_to_px up to 760. The limit bounds the
# time, and the coefficients of a progressive JPEG, which libjpeg keeps at full scale.
MAX_JPEG_PIXELS: Final = 250_000_000
"""Largest JPEG that is decoded, in pixels at full scale."""

UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a photo upright, by its EXIF orientation."""

_SIDES_SWAPPED: Final = {UPRIGHT[orientation] for orientation in (5, 6, 7, 8)}


@dataclass(frozen=True, slots=True)
class Header:
    """Size and orientation from the header of a photo.

    Attributes:
        size: Width and height in pixels as a viewer displays the photo, with the EXIF orientation applied.
        orientation: The EXIF orientation, 1..8.
    """

    size: tuple[int, int]
    orientation: int

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height of the stored pixels, before the EXIF orientation is applied."""
        width, height = self.size
        return (height, width) if UPRIGHT.get(self.orientation) in _SIDES_SWAPPED else self.size


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded photo with the metadata of its file.

    Attributes:
        image: Upright, mode ``"RGB"``.
        header: Size of the whole photo, and its orientation.
        format: One of ``FORMATS``.
        profile: The file's ICC profile; empty if it has none.
        reduction: 1, 2, 4 or 8: a JPEG has been decoded at 1/reduction of its size.
    """

    image: Image.Image
    header: Header
    format: str
    profile: bytes
    reduction: int

    def reduction_for(self, reduce_to_px: int) -> int:
        """Return the reduction with which ``decode_photo`` would decode the same photo."""
        if self.format != "JPEG":
            return 1
        return next((each for each in (8, 4, 2) if min(self.header.size) // reduce_to_px >= each), 1)


def decode(data: bytes, *, path: str, reduce_to_px: int | None = None) -> Image.Image:
    """Decode a photo like ``decode_photo``, and return only its upright RGB image."""
    return decode_photo(data, path=path, reduce_to_px=reduce_to_px).image


def decode_photo(data: bytes, *, path: str, reduce_to_px: int | None = None) -> Decoded:
    """Decode a photo; of an animation or a file with several pages, the first image.

    Transparent pixels are composited over white. 16-bit pixels are scaled to 8 bits, floating-point pixels
    from 0..1. Pixels with an ICC profile are converted to sRGB.

    Args:
        data: The content of a JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, PPM or PGM file; of a HEIC file, if the
            user has installed pi_heif or pillow_heif.
        path: Name of the photo in errors; it is not opened.
        reduce_to_px: Decode a JPEG at 1/2, 1/4 or 1/8 of its size, provided that its shorter side has at
            least this many pixels; ignored for other formats.

    Raises:
        ImageError: The bytes are not a photo in one of these formats, are truncated or damaged, have more
            than ``MAX_PIXELS`` pixels (a JPEG: ``MAX_JPEG_PIXELS``), or would take minutes (``bounds``).
    """
    format_name = format_of(data[:HEAD_BYTES])
    reader = reader_of(format_name)
    if format_name is None or reader is None:
        raise ImageError(path, why_not_an_image(data, format_name))
    try:
        if format_name == "TIFF":
            silence_libtiff()
        refuse_slow_files(data, format_name, path)
        with pillow_warnings_off():
            image = reader(BoundedBytes(data, path))
            _refuse_bombs_and_thumbnails(image, path)
            size, reduction = image.size, 1
            if reduce_to_px is not None and image.draft(None, (reduce_to_px, reduce_to_px)):
                reduction = image.decoderconfig[0]
            image.load()
            header = _header(size, _orientation(image), format_name)
            profile = image.info.get("icc_profile") or b""
            method = UPRIGHT.get(header.orientation)
            pixels = _to_rgb(image, path)
            upright = pixels if method is None else pixels.transpose(method)
            return Decoded(upright, header, format_name, profile, reduction)
    except ImageError:
        raise
    except Exception as error:  # Pillow's decoders raise almost anything on damaged files
        raise ImageError(path, _why_not_decoded(error, format_name)) from error


def image_size(photo: Photo | bytes) -> tuple[int, int]:
    """Return width and height of a photo as a viewer displays it; see ``image_header``."""
    return image_header(photo).size


def stored_pixels(data: bytes) -> tuple[str, int]:
    """Return the format and the number of pixels of a photo, of which only the header is read.

    Raises:
        ImageError: According to its header, it is not a photo that Headstart can read.
    """
    format_name = format_of(data[:HEAD_BYTES])
    reader = reader_of(format_name)
    if format_name is None or reader is None:
        raise ImageError("photo", why_not_an_image(data, format_name))
    try:
        refuse_slow_files(data, format_name, "photo")
        with pillow_warnings_off():
            width, height = reader(BoundedBytes(data, "photo")).size
    except ImageError:
        raise
    except Exception as error:  # Pillow's readers raise almost anything on damaged files
        raise ImageError("photo", f"truncated or damaged: {_words_of(error)}") from error
    return format_name, width * height


def image_header(photo: Photo | bytes) -> Header:
    """Read the size and orientation of a photo without decoding its pixels.

    Args:
        photo: A photo, or the content of its file.

    Raises:
        ImageError: According to its header, it is not a photo that Headstart can read.
    """
    path = photo.key if isinstance(photo, Photo) else "photo"
    try:
        # What is no regular file would have been refused before.
        with photo.open() if isinstance(photo, Photo) else BoundedBytes(photo, path) as file:
            head = file.read(HEAD_BYTES)
            format_name = format_of(head)
            reader = reader_of(format_name)
            if format_name is None or reader is None:
                raise ImageError(path, why_not_an_image(head, format_name))
            file.seek(0)
            if isinstance(photo, bytes):
                refuse_slow_files(photo, format_name, path)
            with pillow_warnings_off():
                image = reader(file)
                # Without EXIF, Pillow's PNG reader decodes all pixels, to look behind them.
                may_turn = not isinstance(image, PngImageFile) or _has_exif(file)
                return _header(image.size, _orientation(image) if may_turn else 1, format_name)
    except ImageError:
        raise
    except OSError as error:
        raise ImageError(path, f"cannot be read: {error.strerror or error}") from error
    except Exception as error:  # Pillow's readers raise almost anything on damaged files
        raise ImageError(path, f"truncated or damaged: {_words_of(error)}") from error


def _header(size: tuple[int, int], orientation: int, format_name: str) -> Header:
    # Pillow's TIFF reader has turned the size already.
    is_turned = format_name != "TIFF" and UPRIGHT.get(orientation) in _SIDES_SWAPPED
    return Header(size[::-1] if is_turned else size, orientation)


def _has_exif(png: BinaryIO) -> bool:
    """Return whether a PNG has a chunk that may contain EXIF; the position in the file does not change."""
    stands, found = png.tell(), False
    png.seek(8)
    while not found and len(chunk := png.read(8)) == 8:
        found = chunk[4:] in (b"eXIf", b"tEXt", b"zTXt", b"iTXt")  # old writers put it into a text
        png.seek(int.from_bytes(chunk[:4], "big") + 4, io.SEEK_CUR)
    png.seek(stands)
    return found


def _refuse_bombs_and_thumbnails(image: ImageFile, path: str) -> None:
    width, height = image.size
    limit = MAX_JPEG_PIXELS if isinstance(image, JpegImageFile) else MAX_PIXELS
    if width * height > limit:
        raise ImageError(path, _too_large(width * height, limit))
    if isinstance(image, TiffImageFile) and image.tag_v2.get(ExifTag.NewSubfileType, 0) & 1:
        raise ImageError(path, "its first picture is only a thumbnail: a camera's raw file? Save it as JPEG")


def _too_large(pixels: int, limit: int) -> str:
    return f"{pixels / 1e6:,.0f} megapixels; up to {limit / 1e6:,.0f} are decoded. Save it smaller"


def _orientation(image: Image.Image) -> int:
    try:
        orientation = int(image.getexif().get(ExifTag.Orientation, 1))
    except Exception:  # damaged EXIF says nothing about the pixels
        return 1
    return orientation if orientation in UPRIGHT else 1


def _to_rgb(image: Image.Image, path: str) -> Image.Image:
    profile = image.info.get("icc_profile")
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_grey_8_bit(image, path))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        pixels = image.convert("L") if image.mode == "LA" else rgba.convert("RGB")
        image = Image.new("RGB", rgba.size, "white")
        image.paste(to_srgb(pixels, profile).convert("RGB"), mask=rgba.getchannel("A"))
        return image
    if image.mode not in ("RGB", "L", "CMYK"):
        image = image.convert("RGB")
    image = to_srgb(image, profile)
    return image if image.mode == "RGB" else image.convert("RGB")


def _grey_8_bit(image: Image.Image, path: str) -> np.ndarray:
    """Scale grey pixels of 12, 16 or 32 bits to (H, W) uint8, where Pillow's ``convert`` would clip them."""
    values = np.asarray(image)
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    white = 1.0 if image.mode == "F" else 0xFFFF
    # `not all` so that NaN is refused too.
    if not (values.min() >= 0 and values.max() <= white):
        kind = "floating-point" if image.mode == "F" else "32-bit"
        raise ImageError(
            path,
            f"{kind} pixels from {values.min()} to {values.max()}; Headstart reads 0 to {white:g}. "
            "Save it with 8 or 16 bits",
        )
    if image.mode == "F":
        grey = (values * 255 + 0.5).astype(np.uint8)
    else:
        bits = 12 if tags.get(ExifTag.BitsPerSample) == (12,) else 16
        grey = (values >> (bits - 8)).astype(np.uint8)  # as Pillow does for 16-bit colour
    if tags.get(ExifTag.PhotometricInterpretation) == 0:  # white is zero, which Pillow heeds for 8 bits only
        grey = 255 - grey
    if (transparent := image.info.get("transparency")) is not None:
        grey[values == transparent] = 255
    return grey


def _why_not_decoded(error: Exception, format_name: str) -> str:
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    if isinstance(error, Image.DecompressionBombError):  # Pillow's own, before it makes a WebP's canvas
        pixels = re.search(r"\((\d+) pixels\)", str(error))
        return _too_large(int(pixels[1]), MAX_PIXELS) if pixels else str(error)
    return f"truncated or damaged {format_name}: {_words_of(error)}"


def _words_of(error: Exception) -> str:
    return str(error).strip() or type(error).__name__
