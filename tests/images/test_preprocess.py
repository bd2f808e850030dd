"""Preprocessing: geometry against an independent computation, one resampling, settings in and out of JSON."""

import io
import json
import math

import numpy as np
import pytest
from PIL import Image

import headstart.images.preprocess as preprocess_module
from headstart.errors import ConfigError, ImageError
from headstart.images.preprocess import load_pixels, preprocess
from headstart.images.settings import Preprocessing

RESIZES = ("crop", "pad", "squash")


def photo(width: int, height: int) -> Image.Image:
    """Smooth waves with noise, so that both geometry and filter show."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    waves = [np.sin(x / 17 + phase) + np.cos(y / 23 - phase) for phase in range(3)]
    noise = np.random.default_rng(width * height).normal(scale=0.2, size=(height, width, 3))
    return Image.fromarray(np.clip((np.stack(waves, axis=-1) + noise) * 40 + 128, 0, 255).astype(np.uint8))


def filter_matrix(num_in: int, num_out: int, shape, radius: float) -> np.ndarray:
    """Rows of weights of an antialiased resampling, written from its definition."""
    scale = max(num_in / num_out, 1.0)
    centres = (np.arange(num_out)[:, None] + 0.5) * num_in / num_out
    distances = np.abs(np.arange(num_in)[None] + 0.5 - centres) / scale
    weights = np.where(distances < radius, shape(distances), 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


def triangle(distance: np.ndarray) -> np.ndarray:
    return 1 - distance


def cubic(distance: np.ndarray, a: float = -0.5) -> np.ndarray:
    near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    far = a * (distance**3 - 5 * distance**2 + 8 * distance - 4)
    return np.where(distance < 1, near, far)


FILTERS = {"bilinear": (triangle, 1.0), "bicubic": (cubic, 2.0)}


def resize_then_centre_crop(image: Image.Image, size_px: int, crop_fraction: float, interpolation: str):
    """What torchvision does in two steps: Resize(shorter side), CenterCrop(size_px)."""
    array = np.asarray(image).astype(float)
    height, width = array.shape[:2]
    shorter = round(size_px / crop_fraction)
    new_height, new_width = (shorter * side // min(width, height) for side in (height, width))
    rows = filter_matrix(height, new_height, *FILTERS[interpolation])
    columns = filter_matrix(width, new_width, *FILTERS[interpolation])
    resized = np.einsum("ih,hwc,jw->ijc", rows, array, columns, optimize=True)
    top, left = round((new_height - size_px) / 2), round((new_width - size_px) / 2)
    return np.clip(resized[top : top + size_px, left : left + size_px], 0, 255)


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize(
    ("size", "size_px", "crop_fraction"),
    [
        ((400, 320), 56, 0.875),  # sizes at which torchvision's whole pixels are exact
        ((320, 400), 56, 0.875),
        ((256, 256), 64, 1.0),
        ((40, 32), 56, 0.875),  # enlarged
    ],
)
def test_crop_equals_resize_and_centre_crop(size, size_px, crop_fraction, interpolation):
    image = photo(*size)
    settings = Preprocessing(size_px=size_px, crop_fraction=crop_fraction, interpolation=interpolation)
    expected = resize_then_centre_crop(image, size_px, crop_fraction, interpolation)
    assert np.abs(preprocess(image, settings) - expected).max() <= 1.5


def test_crop_is_within_a_pixel_of_torchvisions_where_it_rounds():
    ramp = np.broadcast_to(np.linspace(0, 255, 500)[None, :, None], (375, 500, 3)).astype(np.uint8)
    image, settings = Image.fromarray(ramp), Preprocessing(size_px=224, crop_fraction=0.875)
    expected = resize_then_centre_crop(image, 224, 0.875, "bilinear")
    one_pixel = 255 / 341
    assert np.abs(preprocess(image, settings) - expected).max() <= one_pixel + 1


def test_squash_shows_the_whole_photo_distorted():
    rows, columns = filter_matrix(320, 64, triangle, 1.0), filter_matrix(400, 64, triangle, 1.0)
    expected = np.einsum("ih,hwc,jw->ijc", rows, np.asarray(photo(400, 320)), columns, optimize=True)
    decoded = preprocess(photo(400, 320), Preprocessing(size_px=64, resize="squash"))
    assert np.abs(decoded - expected).max() <= 1.5


@pytest.mark.parametrize("size", [(400, 200), (200, 400)])
def test_pad_shows_the_whole_photo_between_equal_grey_bars(size):
    padded = preprocess(Image.new("RGB", size, "red"), Preprocessing(size_px=100, resize="pad"))
    if size[0] < size[1]:
        padded = padded.swapaxes(0, 1)
    assert (padded[:25] == 128).all()
    assert (padded[25:75] == (255, 0, 0)).all()
    assert (padded[75:] == 128).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000), (10_000, 1), (3, 2), (224, 224), (5000, 7)])
@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_every_shape_of_photo_fills_the_input(size, resize, interpolation):
    settings = Preprocessing(size_px=32, resize=resize, interpolation=interpolation)
    array = preprocess(Image.new("RGB", size, (10, 200, 90)), settings)
    assert (array.shape, array.dtype) == ((32, 32, 3), np.uint8)
    assert array.flags["C_CONTIGUOUS"]
    assert array.flags["WRITEABLE"]  # or torch.from_numpy warns
    assert (array == (10, 200, 90)).all(axis=-1).any()


def test_smallest_and_largest_crop_fraction_and_size():
    for settings in (Preprocessing(size_px=1), Preprocessing(size_px=8, crop_fraction=1e-6)):
        assert preprocess(photo(50, 40), settings).shape == (settings.size_px, settings.size_px, 3)


def encode(image: Image.Image, format_name: str, **parameters) -> bytes:
    file = io.BytesIO()
    image.save(file, format_name, **parameters)
    return file.getvalue()


@pytest.mark.parametrize("resize", RESIZES)
def test_load_pixels_is_decode_and_preprocess(resize):
    image, settings = photo(120, 90), Preprocessing(size_px=32, resize=resize)
    array = load_pixels(encode(image, "PNG"), settings, path="photo")
    assert np.array_equal(array, preprocess(image, settings))


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("size", [(1600, 1200), (900, 2000)])
def test_reduced_jpeg_differs_little_from_a_full_decode(resize, size):
    settings = Preprocessing(size_px=64, resize=resize)
    data = encode(photo(*size), "JPEG", quality=95)
    full = Image.open(io.BytesIO(data))
    difference = np.abs(load_pixels(data, settings, path="photo").astype(int) - preprocess(full, settings))
    assert difference.mean() <= 1
    assert difference.max() <= 8


def test_large_jpegs_are_decoded_at_reduced_scale(monkeypatch):
    sizes = []

    def record(image, settings, view):
        sizes.append(image.size)
        return preprocess(image, settings, view)

    monkeypatch.setattr(preprocess_module, "preprocess", record)
    load_pixels(encode(photo(2048, 1024), "JPEG"), Preprocessing(size_px=56), path="photo")
    assert sizes == [(256, 128)]


def test_load_pixels_names_the_photo_in_its_error():
    with pytest.raises(ImageError, match=r"here\.jpg: empty file"):
        load_pixels(b"", Preprocessing(), path="here.jpg")


def test_settings_survive_json():
    settings = Preprocessing(
        size_px=96,
        crop_fraction=0.9,
        interpolation="bicubic",
        resize="pad",
        mean=(0.5, 0, 1),
        std=(0.5, 1, 2),
    )
    assert Preprocessing.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings
    assert hash(Preprocessing(mean=[0.5, 0.5, 0.5])) == hash(Preprocessing(mean=(0.5, 0.5, 0.5)))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"size_px": 0}, "size_px is 0; it must be at least 1: side of the square input"),
        ({"size_px": 224.0}, "size_px"),
        ({"size_px": True}, "size_px"),
        ({"size_px": 10**9}, "size_px"),
        ({"crop_fraction": 0}, "crop_fraction is 0; it must be above 0: share"),
        ({"crop_fraction": 1.01}, "crop_fraction"),
        ({"crop_fraction": math.nan}, "crop_fraction"),
        ({"crop_fraction": "0.875"}, "crop_fraction"),
        ({"interpolation": "bilinaer"}, "Did you mean 'bilinear'?"),
        ({"interpolation": None}, "interpolation"),
        ({"interpolation": ["bilinear"]}, "interpolation"),
        ({"resize": "stretch"}, "it must be one of crop, pad, squash"),
        ({"mean": 0.5}, "three numbers"),
        ({"mean": [0.5, 0.5]}, "three numbers"),
        ({"mean": [0.5, 0.5, math.inf]}, "three numbers"),
        ({"std": [0.5, 0.5, 0.0]}, "std is [0.5, 0.5, 0.0]; each must be above 0"),
        ({"sise_px": 3}, "unknown setting 'sise_px'. Did you mean 'size_px'?"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_allowed(change, expected):
    with pytest.raises(ConfigError) as caught:
        Preprocessing.from_dict(Preprocessing().to_dict() | change)
    assert expected in str(caught.value)


def test_all_wrong_settings_are_named_at_once():
    with pytest.raises(ConfigError) as caught:
        Preprocessing(size_px=-1, crop_fraction=2, interpolation="x", resize="y", mean=(), std=())
    assert len(caught.value.problems) == 6


@pytest.mark.parametrize("key", Preprocessing().to_dict())
def test_a_missing_setting_is_refused_rather_than_guessed(key):
    settings = Preprocessing().to_dict()
    del settings[key]
    with pytest.raises(ConfigError, match=f"{key} is missing"):
        Preprocessing.from_dict(settings)
