"""The numbered steps in model files are what ``decode`` and ``preprocess`` do."""

from __future__ import annotations

import io
import itertools
import json
import math
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image
from PIL import __version__ as pillow_version

from headstart.images.decode import decode
from headstart.images.preprocess import preprocess
from headstart.images.settings import Preprocessing
from headstart.images.steps import numbered_steps, steps_json
from headstart.inference.model_file import ModelInfo, seal_onnx

TURNS = {
    "mirror left and right": lambda pixels: pixels[:, ::-1],
    "mirror top and bottom": lambda pixels: pixels[::-1],
    "rotate by 180°": lambda pixels: pixels[::-1, ::-1],
    "rotate by 90° clockwise": lambda pixels: np.rot90(pixels, -1),
    "rotate by 90° anticlockwise": np.rot90,
    "exchange rows and columns": lambda pixels: pixels.swapaxes(0, 1),
    "exchange rows and columns, then rotate by 180°": lambda pixels: pixels.swapaxes(0, 1)[::-1, ::-1],
}


def kernel(step: dict[str, Any], x: np.ndarray) -> np.ndarray:
    x = np.abs(x)
    if step["filter"] == "bilinear":
        return np.maximum(1 - x, 0)
    if step["filter"] == "lanczos":
        return np.where(x < step["reach"], np.sinc(x) * np.sinc(x / step["reach"]), 0)
    a = step["coefficient"]
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def along_rows(pixels: np.ndarray, begin: float, end: float, number: int, step: dict[str, Any]) -> np.ndarray:
    """Resample the first axis from begin to end, with the numbers of step 4."""
    scale = (end - begin) / number
    centres = begin + (np.arange(number) + 0.5) * scale
    if step["filter"] == "nearest":
        return pixels[np.floor(centres).astype(int)]
    widened = max(1.0, scale) if step["antialias"] else 1.0
    reach = step["reach"] * widened
    positions = np.arange(len(pixels))
    first, last = np.floor(centres - reach + 0.5)[:, None], np.floor(centres + reach + 0.5)[:, None]
    weights = kernel(step, (positions + 0.5 - centres[:, None]) / widened)
    weights *= (positions >= first) & (positions < last)
    found = np.tensordot(weights / weights.sum(1, keepdims=True), pixels.astype(float), 1)
    assert step["rounded_after_each_axis"]
    return np.clip(np.rint(found), 0, 255)


def followed(pixels: np.ndarray, steps: list[dict[str, Any]]) -> np.ndarray:
    """Follow steps 4 and 5 for decoded pixels, (H, W, 3), in floating point."""
    resize, place = steps[3], steps[4]
    height, width = pixels.shape[:2]
    columns, rows = resize.get("width_px"), resize.get("height_px")
    left, top, right, bottom = 0.0, 0.0, float(width), float(height)
    if resize["part"] == "centre square":
        side = resize["fraction_of_shorter_side"] * min(width, height)
        left, right = (width - side) / 2, (width + side) / 2
        top, bottom = (height - side) / 2, (height + side) / 2
    if "longer_side_px" in resize:
        factor = resize["longer_side_px"] / max(width, height)
        columns, rows = max(1, round(factor * width)), max(1, round(factor * height))
    assert resize["height_first_if"] == "versions.pillow >= 13 and H - h > 0 and H - h > 2 (W - w)"
    is_new = int(pillow_version.partition(".")[0]) >= 13
    for axis in (0, 1) if is_new and height - rows > max(0, 2 * (width - columns)) else (1, 0):
        part = (left, right, columns) if axis else (top, bottom, rows)
        pixels = along_rows(pixels.swapaxes(0, axis), *part, resize).swapaxes(0, axis)
    whole = np.full((place["height_px"], place["width_px"], 3), place.get("colour", 0), float)
    at_row, at_column = math.floor((len(whole) - rows) / 2), math.floor((len(whole) - columns) / 2)
    whole[at_row : at_row + rows, at_column : at_column + columns] = pixels
    return whole


@pytest.mark.parametrize(
    ("resize", "filter_"),
    [*itertools.product(("crop", "pad", "squash"), ("nearest", "bilinear", "bicubic", "lanczos"))],
)
def test_a_program_that_follows_the_numbers_gets_the_pixels(resize: Any, filter_: Any) -> None:
    settings = Preprocessing(24, 0.8, filter_, resize)
    steps = json.loads(steps_json(settings))
    for size in ((41, 90, 3), (30, 17, 3), (90, 41, 3)):
        pixels = np.random.default_rng(0).integers(0, 256, size, np.uint8)
        wanted = preprocess(Image.fromarray(pixels), settings)
        assert list(wanted.shape) == steps[5]["shape"][1:]
        # In floating point instead of Pillow's integers.
        assert np.abs(followed(pixels, steps) - wanted).max() <= 1


def test_the_orientations_are_those_of_decoding() -> None:
    steps = numbered_steps(Preprocessing())
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    assert steps[1]["exif"].keys() == {str(value) for value in range(2, 9)}
    for value, turn in steps[1]["exif"].items():
        exif, file = Image.Exif(), io.BytesIO()
        exif[274] = int(value)
        Image.fromarray(pixels).save(file, "PNG", exif=exif)
        assert np.array_equal(decode(file.getvalue(), path="photo"), TURNS[turn](pixels)), value


def test_decoding_does_what_the_first_step_says() -> None:
    step = numbered_steps(Preprocessing())[0]
    file = io.BytesIO()
    frames = [Image.new("RGBA", (1, 1), colour) for colour in ((10, 20, 30, 0), (9, 9, 9, 255))]
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:])
    assert np.asarray(decode(file.getvalue(), path="photo")).ravel().tolist() == step["background"]
    file = io.BytesIO()
    Image.fromarray(np.array([[0x12FF]], np.uint16)).save(file, "PNG")
    assert step["of_16_bits"] == "higher 8"
    assert np.asarray(decode(file.getvalue(), path="photo")).ravel().tolist() == [0x12] * 3


def test_steps_are_numbered_and_in_words() -> None:
    steps = json.loads(steps_json(Preprocessing(mean=(0.5, 0.25, 0.125))))
    assert [step["step"] for step in steps] == [1, 2, 3, 4, 5, 6]
    assert all(step["name"] and step["text"] for step in steps)
    assert steps[5]["normalisation"]["mean"] == [0.5, 0.25, 0.125]


def test_a_model_file_states_them() -> None:
    settings = Preprocessing(33, resize="pad")
    model = onnx.load_from_string(seal_onnx(b"", ModelInfo("classification", "net", ("a",), settings)))
    stated = {entry.key: entry.value for entry in model.metadata_props}["preprocessing"]
    assert json.loads(stated) == numbered_steps(settings)
    assert stated.isascii()
