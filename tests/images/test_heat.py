"""Heat maps drawn on photos: each value at its place, and the rest of the photo as it is."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from headstart.images.heat import draw_heat

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 100, 3), np.uint8))


@pytest.mark.parametrize("area", [(20.0, 0.0, 80.0, 60.0), (0.0, 0.0, 100.0, 60.0), (10.5, 7.25, 70.0, 50.0)])
@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 3), (3, 2)])
def test_one_hot_position_is_lightest_where_it_lies(
    area: tuple[float, float, float, float], row: int, column: int
) -> None:
    values = np.full((4, 4), -1.0, np.float32)
    values[row, column] = 5
    grey = Image.new("RGB", PHOTO.size, (90, 90, 90))
    drawn = np.asarray(draw_heat(grey, values, area)).astype(int)
    left, top, right, bottom = area
    light = drawn.sum(2)
    y, x = np.argwhere(light == light.max()).mean(0) + 0.5
    cell = (right - left) / 4, (bottom - top) / 4
    assert left + column * cell[0] < x < left + (column + 1) * cell[0]
    assert top + row * cell[1] < y < top + (row + 1) * cell[1]


def test_outside_its_area_the_photo_is_as_it_is_and_inside_grey_where_nothing_speaks_for_the_class() -> None:
    before = np.asarray(PHOTO)
    drawn = np.asarray(draw_heat(PHOTO, np.full((7, 7), -1.0), (20, 0, 80, 60)))
    np.testing.assert_array_equal(drawn[:, :20], before[:, :20])
    np.testing.assert_array_equal(drawn[:, 80:], before[:, 80:])
    inside = drawn[:, 20:80].astype(int)
    assert (inside.max(2) == inside.min(2)).all()
    assert (np.asarray(PHOTO) == before).all()


def test_an_area_beyond_the_photo_is_cut_at_its_edges() -> None:
    values = np.zeros((4, 4))
    values[1, 0] = 1  # rows 1 and 2 are on the photo, 0 and 3 on bars above and below
    grey = Image.new("RGB", (100, 50), (90, 90, 90))
    drawn = np.asarray(draw_heat(grey, values, (0, -25, 100, 75))).astype(int).sum(2)
    y, x = np.argwhere(drawn == drawn.max()).mean(0)
    assert y < 25
    assert x < 25


def test_lightness_rises_with_the_value_on_black_and_on_white() -> None:
    values = np.tile(np.linspace(0.3, 1, 50, dtype=np.float32), (2, 1))
    for shade in ("black", "white"):
        drawn = draw_heat(Image.new("RGB", (200, 20), shade), values, (0, 0, 200, 20))
        light = np.asarray(drawn.convert("L")).astype(int)[10]
        change = np.diff(light[5:-5:10])
        assert (change >= -1).all() if shade == "black" else np.asarray(drawn)[10, :, 2].std() > 10
