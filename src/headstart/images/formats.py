"""Recognises image formats by the first bytes of a file, and decides which files are meant as photos."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Final

from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from headstart.images.heif import heif_reader

# Not Image.open: it refuses more than 179 megapixels before a reduced scale can be asked for, follows the
# index of an MPO's further pictures (which phones get wrong), and hides why a header cannot be read.
_READERS: Final[dict[str, type[ImageFile]]] = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
    "AVIF": AvifImageFile,
    "PPM": PpmImageFile,  # and PBM, PGM
}

FORMATS: Final = (*_READERS, "HEIC")
"""The formats that can be read; HEIC only if the user has installed a package for it (``images.heif``).

An MPO is read as a JPEG, which its first image is.
"""

_READ_SUFFIXES = (
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .gif .bmp .dib .tif .tiff .avif .avifs .pbm .pgm .ppm .pnm"
)

# Reported, not passed over like a README.
_MEANT_AS_PHOTOS = ".heic .heif .hif .jp2 .j2k .jxl .dcm .dicom"

IMAGE_SUFFIXES: Final = frozenset(f"{_READ_SUFFIXES} {_MEANT_AS_PHOTOS}".split())
"""Lower-case suffixes of files that are meant as images, whether the format can be read or not."""

HEAD_BYTES: Final = 32
"""Number of bytes at the beginning of a file that identify its format."""

_SIGNATURES: Final = {
    name: re.compile(pattern, re.DOTALL)
    for name, pattern in {
        "JPEG": rb"\xff\xd8\xff",
        "PNG": rb"\x89PNG\r\n\x1a\n",
        "WEBP": rb"RIFF.{4}WEBP",
        "GIF": rb"GIF8[79]a",
        # "BM" alone begins many a text: also the size of a known header.
        "BMP": rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0{3}",
        "TIFF": rb"II[*+]\0|MM\0[*+]",
        # ISO media: a major brand, or, after the version, one of the compatible brands.
        "AVIF": rb".{4}ftyp(?:avi[fs]|.{8}(?:.{4})*?avi[fs])",
        "HEIC": rb".{4}ftyp(?:hei[cmsx]|hev[cmsx]|mif1|msf1)",
        "JPEG 2000": rb"\0{3}\x0cjP  |\xff\x4f\xff\x51",
        "JPEG XL": rb"\0{3}\x0cJXL |\xff\x0a",
        # "P5" alone begins many a text: also width and height, or a comment.
        "PPM": rb"P[1-6]\s+(?:\d+\s+\d+\s|#)",
    }.items()
}

_DICOM_PREAMBLE: Final = 128  # bytes of anything before its signature

_ADVICE: Final = {
    "HEIC": "save it as JPEG (on an iPhone: Settings, Camera, Formats, Most Compatible; on a computer: "
    "magick mogrify -format jpg *.heic). Or install a package that Headstart reads it with: pip install "
    "pi-heif (BSD licence; its wheel contains libheif and libde265, which are under the LGPL)",
    "JPEG 2000": "save it as JPEG or PNG",
    "JPEG XL": "save it as JPEG or PNG",
}


def looks_like_image(head: bytes) -> bool:
    """Return whether the first ``HEAD_BYTES`` bytes of a file are those of an image, readable or not."""
    return format_of(head) is not None


def is_meant_as_image(path: str) -> bool:
    """Return whether a file is meant as a photo, by its suffix or its first bytes.

    For a file that cannot be opened, such as a broken link, only the suffix counts.
    """
    has_suffix = Path(path).suffix.lower() in IMAGE_SUFFIXES
    try:
        regular = stat.S_ISREG(Path(path).stat().st_mode)
    except OSError:  # a link that leads nowhere, or no permission: reading it will tell
        return has_suffix
    if has_suffix or not regular:  # opening a named pipe would wait for ever
        return regular
    try:
        with open(path, "rb", buffering=0) as opened:
            return looks_like_image(opened.read(HEAD_BYTES))
    except OSError:
        return False


def reader_of(format_name: str | None) -> type[ImageFile] | None:
    """Return Pillow's class that reads a format; None if the format cannot be read."""
    return heif_reader() if format_name == "HEIC" else _READERS.get(format_name or "")


def format_of(head: bytes) -> str | None:
    """Return the name of the format with these first bytes, readable or not; None if it is unknown."""
    return next((name for name, pattern in _SIGNATURES.items() if pattern.match(head)), None)


def why_not_an_image(data: bytes, format_name: str | None) -> str:
    """Return the reason why a file of this format cannot be decoded."""
    if not data:
        return "empty file"
    if format_name is not None:
        return f"{format_name}, which Headstart does not read: {_ADVICE[format_name]}"
    if data[_DICOM_PREAMBLE : _DICOM_PREAMBLE + 4] == b"DICM":
        return "DICOM, which Headstart does not read: save it as PNG, with the window that shows what matters"
    start = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<script")):
        return "an HTML page, not an image: a download that failed?"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the image itself: run git lfs pull"
    return f"not an image in a format Headstart reads ({', '.join(filter(reader_of, FORMATS))})"
