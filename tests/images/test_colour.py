"""ICC profiles: colours become sRGB's, checked against the definitions of the colour spaces."""

import io
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageCms

from headstart.frozen.fingerprint import Fingerprint
from headstart.images.decode import decode
from headstart.images.settings import Preprocessing

# Columns: what red, green and blue are in XYZ, adapted to D50 as ICC profiles have it.
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
DISPLAY_P3 = np.array([[0.51512, 0.29198, 0.1571], [0.2412, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
ADOBE_RGB = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
ADOBE_GAMMA = 2.19921875
D50 = (0.9642, 1.0, 0.8249)


def s15_fixed_16(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def curve(gamma: float | None) -> bytes:
    """sRGB's own curve as a table, or a power."""
    if gamma is not None:
        return b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(gamma * 256))
    table = (to_linear(np.arange(4096) / 4095) * 65535).round().astype(int)
    return b"curv\0\0\0\0" + struct.pack(f">I{len(table)}H", len(table), *table)


def profile(space: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr", pcs: bytes = b"XYZ ") -> bytes:
    """Write an ICC profile of version 2.1 as the specification (ICC.1:2001-04) lays it out."""
    offset, table, content = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        data += b"\0" * (-len(data) % 4)
        table += name + struct.pack(">II", offset + len(content), len(data))
        content += data
    header = struct.pack(">I4xI", offset + len(content), 0x02100000) + kind + space + pcs
    header += b"\0" * 12 + b"acsp" + b"\0" * 28 + s15_fixed_16(*D50)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + content


def xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + s15_fixed_16(*values)


def rgb_profile(primaries: np.ndarray, gamma: float | None = None) -> bytes:
    tags = {b"wtpt": xyz(*D50)}
    for name, column in zip((b"r", b"g", b"b"), primaries.T, strict=True):
        tags |= {name + b"XYZ": xyz(*column), name + b"TRC": curve(gamma)}
    return profile(b"RGB ", tags)


def grey_profile(gamma: float) -> bytes:
    return profile(b"GRAY", {b"wtpt": xyz(*D50), b"kTRC": curve(gamma)})


def cmyk_profile() -> bytes:
    """Ink that takes its part of the light away, as a table from corners of the cube of inks to Lab."""
    corners = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing="ij"), -1).reshape(16, 4)
    light = (1 - corners[:, :3]) * (1 - corners[:, 3:])
    xyz_of = light @ SRGB.T / D50
    f = np.where(xyz_of > (6 / 29) ** 3, np.cbrt(xyz_of), xyz_of / 3 / (6 / 29) ** 2 + 4 / 29)
    lab = np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], -1)
    encoded = np.clip(np.round(lab * [2.55, 1, 1] + [0, 128, 128]), 0, 255).astype(np.uint8)
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + s15_fixed_16(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table += bytes(range(256)) * 4 + encoded.tobytes() + bytes(range(256)) * 3
    return profile(b"CMYK", {b"wtpt": xyz(*D50), b"A2B0": table}, b"prtr", b"Lab ")


def to_linear(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def from_linear(values: np.ndarray) -> np.ndarray:
    values = np.clip(values, 0, 1)
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)


def expected(pixels: np.ndarray, primaries: np.ndarray, gamma: float | None = None) -> np.ndarray:
    """What the pixels are in sRGB, by the definitions alone."""
    values = pixels / 255
    linear = to_linear(values) if gamma is None else values**gamma
    return from_linear(linear @ (np.linalg.inv(SRGB) @ primaries).T) * 255


def colours(seed: int = 0, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (24, 32, channels), dtype=np.uint8)


def encoded(image: Image.Image, format_name: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(decode(data, path="photo")).astype(float)


RGB_SPACES = {
    "Display P3": (DISPLAY_P3, None),
    "Adobe RGB": (ADOBE_RGB, ADOBE_GAMMA),
    "linear": (SRGB, 1.0),
    "red and blue exchanged": (SRGB[:, ::-1], None),
}


@pytest.mark.parametrize("space", RGB_SPACES)
def test_colours_become_srgb(space):
    primaries, gamma = RGB_SPACES[space]
    pixels = colours()
    data = encoded(Image.fromarray(pixels), icc_profile=rgb_profile(primaries, gamma))
    assert np.abs(decoded(data) - expected(pixels, primaries, gamma)).max() <= 2.5
    assert np.abs(decoded(data) - pixels).max() > 20


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_format_carries_its_profile(format_name):
    image, options = Image.new("RGB", (32, 32), (200, 60, 40)), {}
    if format_name in ("JPEG", "WEBP", "AVIF"):
        options = {"quality": 100}
    plain = decoded(encoded(image, format_name, **options))
    told = decoded(encoded(image, format_name, icc_profile=rgb_profile(DISPLAY_P3), **options))
    assert np.abs(told - expected(plain, DISPLAY_P3)).max() <= 2.5
    assert told[0, 0, 0] > plain[0, 0, 0] + 10  # Display P3's red is redder


PROFILES_OF_SRGB = {
    "none": None,
    "Pillow's": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    "of a matrix and a table": rgb_profile(SRGB),
}
IGNORED = {
    "empty": b"",
    "text": b"hello",
    "cut short": rgb_profile(DISPLAY_P3)[:200],
    "a header alone": rgb_profile(DISPLAY_P3)[:128],
    "of another colour space": grey_profile(1.0),
    "of inks": cmyk_profile(),
    "without a curve": profile(b"RGB ", {b"wtpt": xyz(*D50)}),
    "lengths beyond its end": rgb_profile(DISPLAY_P3).replace(b"rXYZ\0", b"rXYZ\x7f"),
    "huge": rgb_profile(DISPLAY_P3) + b"\0" * 2**22,
}


@pytest.mark.parametrize(
    "icc", [*PROFILES_OF_SRGB.values(), *IGNORED.values()], ids=[*PROFILES_OF_SRGB, *IGNORED]
)
def test_pixels_of_srgb_and_of_damaged_profiles_stay_as_they_are(icc):
    pixels = colours(1)
    image = Image.fromarray(pixels)
    image.info["icc_profile"] = icc
    data = encoded(image, "TIFF", **({} if icc is None else {"icc_profile": icc}))
    assert np.array_equal(decoded(data), pixels)


def test_any_flipped_bit_of_a_profile_leaves_a_picture():
    pixels, icc = colours(2), bytearray(rgb_profile(ADOBE_RGB, ADOBE_GAMMA))
    for bit in range(0, 8 * len(icc), 13):
        icc[bit // 8] ^= 1 << bit % 8
        assert decoded(encoded(Image.fromarray(pixels), "TIFF", icc_profile=bytes(icc))).shape == (24, 32, 3)
        icc[bit // 8] ^= 1 << bit % 8


@pytest.mark.parametrize("kind", ["grey", "16-bit", "grey and alpha"])
def test_grey_is_converted_by_a_profile_of_grey(kind):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = Image.fromarray(grey)
    if kind == "16-bit":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    elif kind == "grey and alpha":
        image.putalpha(255)
    data = encoded(image, icc_profile=grey_profile(1.0))
    wanted = from_linear(grey / 255) * 255
    assert np.abs(decoded(data) - wanted[..., np.newaxis]).max() <= 2.5


def test_transparent_pixels_are_converted_before_they_are_laid_over_white():
    pixels = colours(3, 4)
    data = encoded(Image.fromarray(pixels), icc_profile=rgb_profile(DISPLAY_P3))
    alpha = pixels[..., 3:] / 255
    wanted = alpha * expected(pixels[..., :3], DISPLAY_P3) + (1 - alpha) * 255
    assert np.abs(decoded(data) - wanted).max() <= 3.5


def test_palettes_are_converted():
    image = Image.fromarray(colours(4)).quantize(16)
    data = encoded(image, icc_profile=rgb_profile(DISPLAY_P3))
    assert np.abs(decoded(data) - expected(np.asarray(image.convert("RGB")), DISPLAY_P3)).max() <= 2.5


@pytest.mark.parametrize("format_name", ["JPEG", "TIFF"])
def test_inks_are_converted_by_their_profile(format_name):
    inks = {(0, 0, 0, 0): (255, 255, 255), (255, 0, 0, 0): (0, 255, 255), (0, 255, 0, 0): (255, 0, 255)}
    inks |= {(0, 0, 255, 0): (255, 255, 0), (0, 0, 0, 255): (0, 0, 0), (0, 0, 0, 128): (119, 119, 119)}
    options = {"quality": 100} if format_name == "JPEG" else {}
    for ink, wanted in inks.items():
        data = encoded(Image.new("CMYK", (16, 16), ink), format_name, icc_profile=cmyk_profile(), **options)
        assert np.abs(decoded(data)[8, 8] - wanted).max() <= 12, (
            ink
        )  # the table has two points per ink: half of it is an L* of 50
    without = decoded(encoded(Image.new("CMYK", (16, 16), (0, 0, 0, 64)), format_name, **options))
    assert abs(without[8, 8, 0] - 191) <= 2


def test_threads_may_share_a_profile():
    data = [
        encoded(Image.fromarray(colours(seed)), icc_profile=rgb_profile(ADOBE_RGB, ADOBE_GAMMA))
        for seed in range(40)
    ]
    one_by_one = [decoded(each) for each in data]
    with ThreadPoolExecutor(8) as threads:
        for one, other in zip(one_by_one, threads.map(decoded, data), strict=True):
            assert np.array_equal(one, other)


def test_stored_features_are_keyed_by_what_converts_colours():
    fingerprint = Fingerprint(Preprocessing(), "a", "b", "c", "d", "cpu", "fp32")
    assert "littlecms" in fingerprint.decoder
