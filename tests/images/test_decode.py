"""Decoding: every format and mode to upright RGB; every failure an ImageError with a reason."""

import contextlib
import io
import pickle
import random
import struct
import threading
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from headstart.errors import ImageError
from headstart.images.decode import decode, image_size
from headstart.images.formats import _READERS, HEAD_BYTES, IMAGE_SUFFIXES, looks_like_image
from headstart.images.photo import Photo

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)
LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True}, "BMP": {}, "TIFF": {}}
LOSSY = {"JPEG": {"quality": 95, "subsampling": 0}, "AVIF": {"quality": 95, "subsampling": "4:4:4"}}


def encode(image: Image.Image, format_name: str, **parameters) -> bytes:
    file = io.BytesIO()
    image.save(file, format_name, **parameters)
    return file.getvalue()


def pixels(data: bytes, **arguments) -> np.ndarray:
    image = decode(data, path="photo", **arguments)
    assert image.mode == "RGB"
    return np.asarray(image)


def gradient(width: int = 48, height: int = 32) -> np.ndarray:
    """Smooth, and different in every corner and channel: (height, width, 3) uint8."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return (np.stack([x, y, (1 - x) * y], axis=-1) * 255).astype(np.uint8)


def png(width: int, height: int, bits: int, colour_type: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG of kinds that Pillow reads but does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    transparency = chunk(b"tRNS", extra) if extra else b""
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + transparency
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def tiff(width: int, height: int, bits: int, photometric: int, rows: bytes, **more: int) -> bytes:
    """A little-endian grey TIFF of one strip, of kinds that Pillow reads but does not write."""
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 277: 1, 278: height, 279: len(rows)}
    tags |= {254: more.get("subfile_type", 0)}
    offset = 8 + 2 + 12 * (len(tags) + 1) + 4
    entries = sorted((tags | {273: offset}).items())
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", 0) + rows


def reason_of(data: bytes, **arguments) -> str:
    with pytest.raises(ImageError) as caught:
        decode(data, path="some/photo.jpg", **arguments)
    assert caught.value.path == "some/photo.jpg"
    return caught.value.reason


@pytest.mark.parametrize("format_name", [*LOSSLESS, *LOSSY, "GIF"])
def test_every_format_is_read_and_recognised_by_its_first_bytes(format_name):
    parameters = (LOSSLESS | LOSSY).get(format_name, {})
    flat = Image.new("RGB", (40, 30), (200, 100, 50))
    data = encode(flat, format_name, **parameters)
    assert looks_like_image(data[:HEAD_BYTES])
    decoded = pixels(data)
    assert decoded.shape == (30, 40, 3)
    assert np.abs(decoded.astype(int) - (200, 100, 50)).max() <= (3 if format_name in LOSSY else 0)


@pytest.mark.parametrize("format_name", LOSSLESS)
def test_lossless_formats_keep_every_pixel(format_name):
    data = encode(Image.fromarray(gradient()), format_name, **LOSSLESS[format_name])
    assert np.array_equal(pixels(data), gradient())


def test_first_bytes_of_photos_that_are_not_read_still_look_like_images():
    for head in (
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        b"\0\0\0\x0cjP  \r\n\x87\n",
        b"\0\0\0\x0cJXL \r\n\x87\n",
    ):
        assert looks_like_image(head)
    assert {".jpg", ".avif", ".heic"} <= IMAGE_SUFFIXES


@pytest.mark.parametrize(
    "head", [b"", b"#!/bin/sh", b"BMW is a car maker from Munich", b"RIFF\0\0\0\0WAVE", b"\xff\xd8"]
)
def test_other_files_do_not_look_like_images(head):
    assert not looks_like_image(head)


UPRIGHT_FROM_STORED = {  # EXIF 2.3, table 4.6.4: which side of the photo the stored rows and columns begin at
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", UPRIGHT_FROM_STORED)
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_orientation_is_applied(format_name, orientation):
    stored = gradient()
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(stored), format_name, exif=exif, **(LOSSLESS | LOSSY)[format_name])
    upright = UPRIGHT_FROM_STORED[orientation](stored)
    decoded = pixels(data)
    assert decoded.shape == upright.shape
    assert np.abs(decoded.astype(int) - upright).max() <= (12 if format_name in LOSSY else 0)


def test_orientation_is_applied_to_a_jpeg_decoded_at_reduced_scale():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(Image.fromarray(gradient(800, 400)), "JPEG", exif=exif)
    assert pixels(data, reduce_to_px=100).shape == (200, 100, 3)


def test_damaged_exif_is_no_reason_to_refuse_the_pixels_and_warns_nobody():
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker " * 20
    whole = exif.tobytes()
    damaged = [whole[:-90], whole[:16], b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff"]
    for block in damaged:
        assert pixels(encode(Image.fromarray(gradient()), "JPEG", exif=block)).shape[2] == 3


@pytest.mark.parametrize(
    ("reduce_to_px", "size"),
    [(None, (2000, 1200)), (1201, (2000, 1200)), (600, (1000, 600)), (140, (250, 150))],
)
def test_reduced_jpeg_keeps_its_shorter_side(reduce_to_px, size):
    data = encode(Image.fromarray(gradient(2000, 1200)), "JPEG")
    decoded = decode(data, path="photo", reduce_to_px=reduce_to_px)
    assert decoded.size == size
    expected = np.asarray(Image.fromarray(gradient(2000, 1200)).resize(size, Image.Resampling.BOX))
    assert np.abs(np.asarray(decoded).astype(int) - expected).max() <= 6


RAMP = np.arange(2**16, dtype=np.uint16).reshape(256, 256)


def sixteen_bit_files() -> dict[str, bytes]:
    big_endian = RAMP.astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in big_endian)
    colour = np.repeat(big_endian[..., None], 3, axis=-1)
    colour_rows = b"".join(b"\0" + row.tobytes() for row in colour)
    opaque = np.stack([RAMP, np.full_like(RAMP, 0xFFFF)], axis=-1).astype(">u2")
    opaque_rows = b"".join(b"\0" + row.tobytes() for row in opaque)
    return {
        "grey PNG": png(256, 256, 16, 0, rows),
        "colour PNG": png(256, 256, 16, 2, colour_rows),
        "grey and alpha PNG": png(256, 256, 16, 4, opaque_rows),
        "TIFF": encode(Image.fromarray(RAMP), "TIFF"),
        "compressed TIFF": encode(Image.fromarray(RAMP), "TIFF", compression="tiff_lzw"),
        "big-endian TIFF": encode(Image.fromarray(RAMP.astype(">u2")), "TIFF"),
        "TIFF, white is zero": tiff(256, 256, 16, 0, (0xFFFF - RAMP).tobytes()),
        "32-bit TIFF": encode(Image.fromarray(RAMP.astype(np.int32)), "TIFF"),
        "floating-point TIFF": encode(Image.fromarray((RAMP / 65535).astype(np.float32)), "TIFF"),
    }


@pytest.mark.parametrize("kind", sixteen_bit_files())
def test_deep_pixels_are_scaled_not_clipped(kind):
    decoded = pixels(sixteen_bit_files()[kind])
    assert np.abs(decoded.astype(int) - (RAMP / 257)[..., None]).max() <= 1
    assert len(np.unique(decoded)) == 256


def test_twelve_bit_pixels_are_scaled_to_white():
    values = np.array([[0, 0x7FF, 0xFFF, 0x010]], dtype=np.uint16)
    packed = bytes([0x00, 0x07, 0xFF, 0xFF, 0xF0, 0x10])
    assert np.abs(pixels(tiff(4, 1, 12, 1, packed))[..., 0].astype(int) - values / 16.06).max() <= 1


@pytest.mark.parametrize(
    "values",
    [
        np.array([[0.0, 200.0]], np.float32),
        np.array([[-0.1, 1.0]], np.float32),
        np.array([[0.0, np.nan]], np.float32),
        np.array([[0, 70_000]], np.int32),
        np.array([[-1, 5]], np.int32),
    ],
)
def test_pixels_without_a_known_white_are_refused_with_their_range(values):
    reason = reason_of(encode(Image.fromarray(values), "TIFF"))
    assert f"{values.min()} to {values.max()}" in reason
    assert "8 or 16 bits" in reason


def transparent_files() -> dict[str, tuple[bytes, tuple[int, int, int]]]:
    """Left pixel transparent, right pixel red or grey and opaque."""
    palette = Image.new("P", (2, 1))
    palette.putpalette([*BLUE, *RED])
    palette.putdata([0, 1])
    rgba = Image.new("RGBA", (2, 1), (*BLUE, 0))
    rgba.putpixel((1, 0), (*RED, 255))
    grey = Image.new("LA", (2, 1), (0, 0))
    grey.putpixel((1, 0), (77, 255))
    palette_alpha = rgba.convert("RGB").quantize(4)
    palette_alpha.putalpha(rgba.getchannel("A"))
    return {
        "palette, one colour": (encode(palette, "PNG", transparency=0), RED),
        "palette, alpha table": (encode(palette, "PNG", transparency=b"\x00\xff"), RED),
        "palette GIF": (encode(palette, "GIF", transparency=0), RED),
        "palette and alpha": (encode(palette_alpha, "TIFF"), RED),
        "RGBA PNG": (encode(rgba, "PNG"), RED),
        "RGBA WebP": (encode(rgba, "WEBP", lossless=True, exact=True), RED),
        "RGBA TIFF": (encode(rgba, "TIFF"), RED),
        "RGBA AVIF": (encode(rgba.resize((64, 32), 0), "AVIF", quality=100, subsampling="4:4:4"), RED),
        "grey and alpha": (encode(grey, "PNG"), (77, 77, 77)),
        "RGB, one colour": (png(2, 1, 8, 2, bytes([0, *BLUE, *RED]), bytes([0, 0, 0, 0, 0, 255])), RED),
        "grey, one value": (png(2, 1, 8, 0, bytes([0, 5, 77]), bytes([0, 5])), (77, 77, 77)),
        "16-bit grey, one value": (png(2, 1, 16, 0, bytes([0, 5, 1, 77, 0]), bytes([5, 1])), (77, 77, 77)),
        "1-bit, one value": (png(2, 1, 1, 0, bytes([0, 0b10000000]), bytes([0, 1])), (0, 0, 0)),
    }


@pytest.mark.parametrize("kind", transparent_files())
def test_transparency_is_laid_over_white(kind):
    data, opaque = transparent_files()[kind]
    decoded = pixels(data).astype(int)
    assert np.abs(decoded[0, 0] - WHITE).max() <= 3
    assert np.abs(decoded[0, -1] - opaque).max() <= 3


def test_half_transparent_pixels_are_mixed_with_white():
    decoded = pixels(encode(Image.new("RGBA", (1, 1), (0, 100, 200, 128)), "PNG"))
    assert np.abs(decoded[0, 0].astype(int) - (127, 177, 227)).max() <= 1


@pytest.mark.parametrize("format_name", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(format_name):
    inks = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 255, 0), (0, 0, 0, 255), (20, 60, 100, 40)]
    expected = [[(255 - ink) * (255 - black) / 255 for ink in colour] for *colour, black in inks]
    image = Image.new("CMYK", (16 * len(inks), 16))
    for index, ink in enumerate(inks):
        image.paste(ink, (16 * index, 0, 16 * index + 16, 16))
    data = encode(image, format_name)
    # Adobe stores inks inverted in a JPEG, and says so in a segment of its own.
    assert format_name == "TIFF" or b"Adobe" in data
    decoded = pixels(data)[8, 8::16].astype(int)
    assert np.abs(decoded - np.array(expected)).max() <= 3


@pytest.mark.parametrize("format_name", ["PNG", "TIFF", "BMP", "GIF"])
def test_one_bit_and_grey_images_become_grey_rgb(format_name):
    for mode in ("1", "L"):
        image = Image.new(mode, (4, 2), 0)
        image.paste(255, (0, 0, 2, 2))
        decoded = pixels(encode(image, format_name))
        assert (decoded[:, :2] == 255).all()
        assert (decoded[:, 2:] == 0).all()


@pytest.mark.parametrize("format_name", ["GIF", "WEBP", "PNG", "AVIF", "TIFF", "MPO"])
def test_animations_and_pages_give_their_first_picture(format_name):
    first, second = Image.new("RGB", (32, 32), RED), Image.new("RGB", (32, 32), BLUE)
    data = encode(first, format_name, save_all=True, append_images=[second])
    assert np.abs(pixels(data).astype(int) - RED).max() <= 4


def test_the_decoded_image_does_not_hold_the_files_bytes():
    image = decode(encode(Image.fromarray(gradient()), "JPEG"), path="photo")
    assert getattr(image, "fp", None) is None


def patched(format_name: str, *values: tuple[int, str, int]) -> bytes:
    """A small file whose header claims another size."""
    data = bytearray(encode(Image.new("RGB", (16, 16)), format_name, **LOSSLESS.get(format_name, {})))
    for offset, kind, value in values:
        struct.pack_into(kind, data, offset, value)
    if format_name == "PNG":
        struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    return bytes(data)


def bombs() -> dict[str, bytes]:
    frame = patched("JPEG").index(b"\xff\xc0") + 5
    return {
        "PNG": patched("PNG", (16, ">I", 20_000), (20, ">I", 20_000)),
        "just above": patched("PNG", (16, ">I", 10_001), (20, ">I", 10_000)),
        "JPEG": patched("JPEG", (frame, ">H", 60_000), (frame + 2, ">H", 60_000)),
        "GIF": patched("GIF", (6, "<H", 65_535), (8, "<H", 65_535)),
        "BMP": patched("BMP", (18, "<i", 30_000), (22, "<i", 30_000)),
        "TIFF": tiff(50_000, 50_000, 8, 1, b"\0"),
        "WebP": patched("WEBP", (21, "<I", 16_382 | 16_382 << 14)),
    }


@pytest.mark.parametrize("kind", bombs())
def test_decompression_bombs_are_refused_from_their_header(kind, monkeypatch):
    def never(self):
        raise AssertionError("memory was about to be set aside")

    monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", never)
    reason = reason_of(bombs()[kind], reduce_to_px=64)
    limit = 250 if kind == "JPEG" else 100
    assert f"megapixels; up to {limit} are decoded" in reason


def test_a_phones_108_megapixels_are_decoded_at_reduced_scale():
    data = encode(Image.new("L", (12_000, 9_000), 100), "JPEG", quality=1)
    assert decode(data, path="photo", reduce_to_px=512).size == (1500, 1125)


def test_pillows_own_settings_stay_as_they_are():
    before = Image.MAX_IMAGE_PIXELS
    for data in (encode(Image.fromarray(gradient()), "JPEG"), bombs()["PNG"], b"\x89PNG"):
        with contextlib.suppress(ImageError):
            decode(data, path="photo")
        assert before == Image.MAX_IMAGE_PIXELS
        assert ImageFile.LOAD_TRUNCATED_IMAGES is False


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "empty file"),
        (b"hello", "not an image in a format Headstart reads (JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF, PPM)"),
        (b"\0" * 5000, "not an image in a format"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>404", "HTML"),
        (b"<HTML><body>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC, which Headstart does not read: save it as JPEG"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL, which Headstart does not read: save it as JPEG"),
        (b"\0" * 128 + b"DICM\2\0", "DICOM, which Headstart does not read: save it as PNG"),
        (b"P5 and more words", "not an image in a format"),
        (b"\xff\xd8\xff", "truncated or damaged JPEG"),
        (b"\x89PNG\r\n\x1a\n", "truncated or damaged PNG"),
        (tiff(2, 2, 8, 1, b"\0" * 4, subfile_type=1), "thumbnail"),
        (tiff(2, 2, 7, 1, b"\0" * 4), "unknown pixel mode"),
    ],
)
def test_reasons_say_what_the_file_is(data, expected):
    assert expected in reason_of(data)


@pytest.mark.parametrize(
    ("data", "grey"),
    [
        (b"P2 2 1 15 0 15", [0, 255]),
        (b"P5\n# a comment that is longer than the first bytes\n2 1\n255\n\x07\xff", [7, 255]),
        (b"P5 2 1 65535\n\x80\x00\xff\xff", [128, 255]),
        (b"P4\n2 1\n\x40", [255, 0]),
    ],
)
def test_portable_maps_are_read(data, grey):
    assert pixels(data)[0, :, 0].tolist() == grey


def valid_files() -> dict[str, bytes]:
    noise = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    image = Image.fromarray(gradient(40, 24) // 2 + noise // 2)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A], exif[0x0128] = 6, "maker " * 9, 72.0, 2
    moving = {"save_all": True, "append_images": [image.transpose(Image.Transpose.ROTATE_180)]}
    return {
        "JPEG": encode(image, "JPEG", exif=exif),
        "progressive JPEG": encode(image, "JPEG", progressive=True),
        "CMYK JPEG": encode(image.convert("CMYK"), "JPEG"),
        "PNG": encode(image, "PNG", exif=exif),
        "palette PNG": encode(image.quantize(16), "PNG", transparency=b"\0\x80"),
        "16-bit PNG": encode(Image.fromarray(RAMP[:24, :40].copy()), "PNG"),
        "animated PNG": encode(image, "PNG", **moving),
        "WebP": encode(image, "WEBP", exif=exif),
        "lossless WebP": encode(image, "WEBP", lossless=True),
        "animated WebP": encode(image, "WEBP", **moving),
        "GIF": encode(image, "GIF"),
        "animated GIF": encode(image, "GIF", **moving),
        "BMP": encode(image, "BMP"),
        "TIFF": encode(image, "TIFF", exif=exif),
        "float TIFF": encode(Image.fromarray(np.float32(noise[..., 0]) / 255), "TIFF"),
        "AVIF": encode(image, "AVIF", exif=exif),
        "PPM": encode(image, "PPM"),
        "plain PGM": b"P2\n# comment\n3 2\n15\n0 3 6\n9 12 15\n",
    }


def damaged(data: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.4:
        return data[: rng.randrange(len(data))]
    flipped = bytearray(data)
    for _ in range(rng.choice([1, 1, 4])):
        flipped[rng.randrange(rng.choice([min(64, len(data)), len(data)]))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


@pytest.mark.parametrize("kind", valid_files())
def test_damaged_files_raise_nothing_but_image_errors(kind):
    data = valid_files()[kind]
    rng = random.Random(kind)
    refused = 0
    for _ in range(60):
        started = time.perf_counter()
        try:
            image = decode(damaged(data, rng), path="photo", reduce_to_px=rng.choice([None, 8]))
        except ImageError as error:
            assert error.reason  # noqa: PT017
            refused += 1
        else:
            assert image.mode == "RGB"
        assert time.perf_counter() - started < 5
    assert refused > 10


@pytest.mark.parametrize("kind", valid_files())
def test_files_cut_in_the_middle_of_the_first_picture_are_errors(kind):
    data = valid_files()[kind]
    cut = len(data) // 4 if "animated" in kind else len(data) // 2
    assert reason_of(data[:cut]).startswith("truncated or damaged")


@pytest.mark.parametrize(
    "error", [OSError("x"), SyntaxError(), struct.error("x"), MemoryError(), KeyError("x"), RuntimeError("x")]
)
def test_whatever_pillow_raises_becomes_an_image_error(error, monkeypatch):
    def fail(self):
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    assert reason_of(encode(Image.fromarray(gradient()), "JPEG"))


def test_image_errors_survive_pickling():
    with pytest.raises(ImageError) as caught:
        decode(b"", path="a\udcff.jpg")
    assert str(pickle.loads(pickle.dumps(caught.value))) == "a\udcff.jpg: empty file"


def warning_files() -> list[bytes]:
    """Files at which Pillow warns when asked plainly."""
    exif = Image.Exif()
    exif[0x010F] = "maker " * 20
    animated = bytearray(valid_files()["animated PNG"])
    control = animated.index(b"acTL")
    struct.pack_into(">I", animated, control + 4, 0)  # an animation of no pictures
    struct.pack_into(">I", animated, control + 12, zlib.crc32(animated[control : control + 12]))
    return [encode(Image.fromarray(gradient()), "JPEG", exif=exif.tobytes()[:-60]), bytes(animated)]


@pytest.mark.parametrize("index", range(len(warning_files())))
def test_pillows_warnings_about_metadata_reach_nobody(index):
    data = warning_files()[index]
    with pytest.warns(UserWarning, match=r"corrupt|larger|Invalid|Truncated"):
        Image.open(io.BytesIO(data)).load()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        decode(data, path="photo")
    assert not caught


def test_warnings_of_other_threads_are_still_shown_while_one_decodes(monkeypatch):
    decoding, go_on = threading.Event(), threading.Event()

    class SlowJpeg(JpegImageFile):
        def load(self):
            decoding.set()
            assert go_on.wait(10)
            warnings.warn("about metadata", stacklevel=2)
            return super().load()

    monkeypatch.setitem(_READERS, "JPEG", SlowJpeg)
    data = encode(Image.fromarray(gradient()), "JPEG")
    with warnings.catch_warnings(record=True) as caught, ThreadPoolExecutor(1) as pool:
        warnings.simplefilter("always")
        image = pool.submit(decode, data, path="photo")
        assert decoding.wait(10)
        warnings.warn("meant for the user", stacklevel=1)
        never_decoded = threading.Thread(target=warnings.warn, args=("from a third thread",))
        never_decoded.start()
        never_decoded.join()
        go_on.set()
        image.result()
        warnings.warn("so is this", stacklevel=1)
    assert [str(warning.message) for warning in caught] == [
        "meant for the user",
        "from a third thread",
        "so is this",
    ]


def test_filters_of_others_neither_let_pillows_warnings_through_nor_make_the_list_grow():
    data, lengths = warning_files()[0], []
    with warnings.catch_warnings(record=True) as caught:
        for number in range(60):
            # As a server may before each request: the same two filters, each time at the front of the list.
            warnings.filterwarnings("always", message=f"ours {number % 2}")
            warnings.filterwarnings("always" if number % 2 else "default", category=UserWarning)
            decode(data, path="photo")
            warnings.warn("ours 1", stacklevel=1)
            lengths.append(len(warnings.filters))
    assert {str(warning.message) for warning in caught} == {"ours 1"}
    assert len(caught) >= 30
    assert max(lengths) - lengths[9] <= 0


def test_filters_stay_few_while_many_threads_decode():
    data = warning_files()[0]
    with warnings.catch_warnings(record=True) as caught, ThreadPoolExecutor(8) as pool:

        def work(number):
            warnings.filterwarnings("error", message=f"ours {number % 3}")
            warnings.filterwarnings("error", category=UserWarning)
            return pixels(data).shape

        before = len(warnings.filters)
        assert len(set(pool.map(work, range(200)))) == 1
        after = len(warnings.filters)
    assert not caught
    assert after - before <= 4 + 2  # theirs, and ours


def test_many_threads_decode_the_same_pixels():
    files = [*valid_files().values(), *warning_files()]
    expected = [pixels(data).tobytes() for data in files]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            assert list(pool.map(lambda data: pixels(data).tobytes(), files)) == expected


@pytest.mark.parametrize("as_bytes", [True, False])
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM"])
def test_the_size_is_told_without_decoding(tmp_path, monkeypatch, format_name, as_bytes):
    path = tmp_path / "photo"
    Image.new("RGB", (48, 32)).save(path, format_name)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("it has been decoded"))
    assert image_size(path.read_bytes() if as_bytes else Photo(str(path))) == (48, 32)


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_that_of_the_upright_photo(format_name, orientation):
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.new("RGB", (48, 32)).save(file, format_name, exif=exif)
    assert image_size(file.getvalue()) == decode(file.getvalue(), path="a").size


@pytest.mark.parametrize("data", [b"", b"<html>", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n\0\0"])
def test_what_has_no_size_is_an_error(tmp_path, data):
    path = tmp_path / "photo"
    path.write_bytes(data)
    for photo in (data, Photo(str(path))):
        with pytest.raises(ImageError):
            image_size(photo)
    with pytest.raises(ImageError, match="No such file"):
        image_size(Photo(str(tmp_path / "nothing")))
