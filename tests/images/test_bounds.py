"""Small files that would keep Pillow busy for minutes are refused; unusual ones are read."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import pytest
from PIL import Image

from headstart.errors import ImageError
from headstart.images.decode import decode, image_size


def saved(format_name: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("L", (64, 64), 128).save(file, format_name, **options)
    return file.getvalue()


def jpeg_with_scans(more: int) -> bytes:
    """Repeat the last scan of a progressive JPEG."""
    content = saved("JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * more + b"\xff\xd9"


def jpeg_with_segments(count: int, segment: bytes) -> bytes:
    content = saved("JPEG")
    return content[:2] + segment * count + content[2:]


def exif(size: int = 60) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", size + 8) + b"Exif\0\0" + b"x" * size


def png_with_chunks(count: int) -> bytes:
    content = saved("PNG")
    at = content.index(b"IDAT") - 4
    chunk = struct.pack(">I", 0) + b"teSt" + struct.pack(">I", zlib.crc32(b"teSt"))
    return content[:at] + chunk * count + content[at:]


def tiff_with_strips(count: int, order: str = "<", *, big: bool = False) -> bytes:
    """A TIFF of 10 x 10 pixels in strips of one row, of which many are written over others."""
    number, entry = ("Q", "HHQQ") if big else ("I", "HHII")
    start = 16 if big else 8
    at = start + struct.calcsize(f"{order}{number if big else 'H'}") + 9 * struct.calcsize(order + entry) + 8
    tags = {256: 10, 257: 10, 258: 8, 259: 1, 262: 1, 277: 1, 278: 1}
    entries = [(tag, 4, 1, value) for tag, value in tags.items()]
    entries += [(273, 4, count, at), (279, 4, count, at + 4 * count)]
    head = (b"II" if order == "<" else b"MM") + struct.pack(
        f"{order}HHHQ" if big else f"{order}HI", *((43, 8, 0, 16) if big else (42, 8))
    )
    table = struct.pack(order + ("Q" if big else "H"), len(entries))
    table += b"".join(struct.pack(order + entry, *each) for each in sorted(entries)) + bytes(8)
    return head + table + struct.pack(f"{order}I", at) * count + struct.pack(f"{order}I", 10) * count


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda: jpeg_with_scans(100), "more than 100 scans"),
        (lambda: jpeg_with_scans(0)[:-2] + b"\xff\x01" + jpeg_with_scans(120)[2:], "more than 100 scans"),
        (lambda: jpeg_with_segments(5, exif()), "more than 4 segments of EXIF"),
        (lambda: jpeg_with_segments(20_000, b"\xff\xe5\0\2"), "too many small pieces"),
        (lambda: jpeg_with_segments(30_000, b"\xff"), "too many small pieces"),
        (lambda: png_with_chunks(20_000), "too many small pieces"),
        (lambda: b"P5\n#" + b"x" * 30_000 + b"\n10 10\n255\n" + bytes(100), "too many small pieces"),
        (lambda: tiff_with_strips(140_000), "140,000 strips or tiles"),
        (lambda: tiff_with_strips(140_000, ">"), "140,000 strips or tiles"),
        (lambda: tiff_with_strips(140_000, big=True), "140,000 strips or tiles"),
    ],
    ids=["scans", "scans behind TEM", "EXIF", "APP5", "fill", "PNG", "PPM", "TIFF", "big-endian", "BigTIFF"],
)
def test_a_file_that_would_take_minutes_is_refused(content: Callable[[], bytes], reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        decode(content(), path="photo")


def test_headers_are_bounded_too() -> None:
    for content, reason in (
        (tiff_with_strips(140_000), "strips or tiles"),
        (jpeg_with_segments(5, exif()), "segments of EXIF"),
        (png_with_chunks(20_000), "small pieces"),
    ):
        with pytest.raises(ImageError, match=reason):
            image_size(content)


@pytest.mark.parametrize(
    "content",
    [
        jpeg_with_scans(80),
        jpeg_with_scans(0) + b"\xff\xda" * 200,  # a film behind the photo
        jpeg_with_segments(3, exif()),
        jpeg_with_segments(300, b"\xff\xe2\0\4ab"),
        jpeg_with_segments(1, b"\xff\xec\0\xd2" + b"\xff\xda" * 104),  # in a segment, not scans
        png_with_chunks(500),
    ],
    ids=["scans", "film", "EXIF", "APP2", "APP12", "PNG"],
)
def test_an_unusual_file_is_read(content: bytes) -> None:
    assert decode(content, path="photo").size == image_size(content) == (64, 64)


@pytest.mark.parametrize("options", [{"order": "<"}, {"order": ">"}, {"big": True}])
def test_a_tiff_of_many_strips_is_read(options: dict[str, object]) -> None:
    assert decode(tiff_with_strips(2000, **options), path="photo").size == (10, 10)


@pytest.mark.parametrize("cut", range(3, 40))
def test_a_cut_tiff_is_damaged(cut: int) -> None:
    with pytest.raises(ImageError):
        decode(tiff_with_strips(10)[:cut], path="photo")
