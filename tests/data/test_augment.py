from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from headstart.data.augment import PRESETS, Augmentation
from headstart.errors import ConfigError
from headstart.images.preprocess import Preprocessing, View, preprocess

LIGHT = Augmentation("light", seed=0)


@given(number=st.integers(1, 1000), photo=st.binary(min_size=32, max_size=32))
def test_a_view_keeps_to_its_ranges(number: int, photo: bytes) -> None:
    view, ranges = LIGHT.view(photo.hex(), number), PRESETS["light"]
    assert ranges.smallest_area <= view.area <= 1
    assert 1 / ranges.largest_aspect <= view.aspect <= ranges.largest_aspect
    assert 0 <= view.x < 1
    assert 0 <= view.y < 1
    assert all(abs(f - 1) <= ranges.jitter for f in (view.brightness, view.contrast, view.saturation))


def test_half_of_the_views_are_mirrored_and_no_two_are_alike() -> None:
    views = [LIGHT.view("ab" * 32, number) for number in range(1, 401)]
    assert 150 < sum(view.flip for view in views) < 250
    assert len({(view.area, view.x, view.y) for view in views}) == 400


def test_views_are_pinned() -> None:
    """Another value here means that every user's stored features and trained bits change: bump the code."""
    view = LIGHT.view("00" * 32, 1)
    assert (round(view.area, 6), view.flip) == (0.987661, True)


@given(
    width=st.integers(1, 5000),
    height=st.integers(1, 5000),
    area=st.floats(0.01, 1),
    aspect=st.floats(0.5, 2),
    x=st.floats(0, 1),
    y=st.floats(0, 1),
)
def test_a_part_lies_inside_the_photo(
    width: int, height: int, area: float, aspect: float, x: float, y: float
) -> None:
    left, top, right, bottom = View(area=area, aspect=aspect, x=x, y=y).box(width, height)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height


def test_a_view_shows_its_part_mirrored_and_brightened() -> None:
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:20, :20] = (100, 0, 0)  # red above left
    pixels[:20, 20:] = (0, 100, 0)  # green above right
    image, settings = Image.fromarray(pixels), Preprocessing(size_px=10, interpolation="nearest")
    above = preprocess(image, settings, View(area=0.5, aspect=2, x=0, y=0))
    assert (above[5, 1] == (100, 0, 0)).all()
    assert (above[5, 8] == (0, 100, 0)).all()
    mirrored = preprocess(image, settings, View(area=0.5, aspect=2, x=0, y=0, flip=True))
    assert (mirrored == above[:, ::-1]).all()
    bright = preprocess(image, settings, View(area=0.5, aspect=2, x=0, y=0, brightness=1.5))
    assert (bright[5, 1] == (150, 0, 0)).all()


@pytest.mark.parametrize("resize", ["crop", "pad", "squash"])
def test_the_whole_photo_as_a_view_is_the_photo_squashed_or_padded(resize: str) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 50, 3), np.uint8))
    settings = Preprocessing(size_px=16, resize=resize)  # type: ignore[arg-type]
    whole = preprocess(image, settings, View(area=1, aspect=50 / 30))
    same = Preprocessing(size_px=16, resize="pad" if resize == "pad" else "squash")
    assert (whole == preprocess(image, same)).all()


def test_an_unknown_preset_is_told() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'light'"):
        Augmentation("lite", 0)


def test_another_seed_is_another_fingerprint() -> None:
    assert LIGHT.fingerprint() != Augmentation("light", 1).fingerprint()
