"""The geometry of views: one matrix, checked against moving points by hand and against the pixels."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from headstart.images.preprocess import load_pixels, preprocess
from headstart.images.settings import Preprocessing
from headstart.images.view import WARPS, View, jacobian

RESIZES = ["crop", "pad", "squash"]

SHARES = st.floats(-0.5, 0.5)
STEPS = st.one_of(
    st.just(("flip-x", ())),
    st.just(("flip-y", ())),
    st.tuples(st.just("rotate"), st.tuples(st.floats(-180, 180))),
    st.tuples(st.just("scale"), st.tuples(st.floats(0.1, 10))),
    st.tuples(st.just("shear"), st.tuples(st.floats(-1.7, 1.7), st.floats(-1.7, 1.7))),
    st.tuples(st.just("translate"), st.tuples(SHARES, SHARES)),
    st.tuples(st.just("perspective"), st.tuples(*[st.floats(0, 0.5)] * 8)),
)
SIDES = st.integers(1, 5000)
PARTS = st.tuples(st.floats(0.01, 1), st.floats(0.1, 10), st.floats(0, 1), st.floats(0, 1))


def settings_of(resize: str, size_px: int = 32) -> Preprocessing:
    return Preprocessing(size_px=size_px, resize=resize)  # type: ignore[arg-type]


def at(matrix: np.ndarray, x: float, y: float) -> np.ndarray:
    point = matrix @ (x, y, 1)
    return point[:2] / point[2]


@given(width=SIDES, height=SIDES, part=PARTS, resize=st.sampled_from(RESIZES))
def test_a_part_lies_inside_the_photo_and_keeps_its_aspect(
    width: int, height: int, part: tuple[float, float, float, float], resize: str
) -> None:
    left, top, right, bottom = View(part).box(width, height, settings_of(resize))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    aspect = part[1] * (1 if resize == "crop" else width / height)
    assert (right - left) / (bottom - top) == pytest.approx(aspect, rel=1e-6)
    assert (right - left) * (bottom - top) <= part[0] * width * height * (1 + 1e-6)
    if right - left < width * (1 - 1e-6) and bottom - top < height * (1 - 1e-6):  # it fits as it was drawn
        assert (right - left) * (bottom - top) == pytest.approx(part[0] * width * height, rel=1e-6)


@given(first=st.lists(STEPS, max_size=3), second=st.lists(STEPS, max_size=3))
def test_warps_compose(first: list, second: list) -> None:
    one, two, both = (View(geometry=tuple(steps)).warp() for steps in (first, second, first + second))
    assert np.allclose(both, one @ two, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("step", "seen", "before"),
    [
        (("flip-x", ()), (0.5, 0.3), (-0.5, 0.3)),
        (("flip-y", ()), (0.5, 0.3), (0.5, -0.3)),
        (("rotate", (90,)), (0, -1), (1, 0)),  # what was at the right is now above: counter-clockwise
        (("rotate", (45,)), (math.sqrt(0.5), -math.sqrt(0.5)), (1, 0)),
        (("scale", (2,)), (1, 1), (0.5, 0.5)),  # twice as large: the corner was half-way
        (("translate", (0.25, 0)), (0.5, 0), (0, 0)),  # a quarter of the side to the right
        (("translate", (0, 0.25)), (0, 0.5), (0, 0)),
        (("shear", (0.5, 0)), (0.5, 1), (0, 1)),
        (("shear", (0, 0.5)), (1, 0.5), (1, 0)),
        (("perspective", (0.2, 0.4, 0, 0, 0, 0, 0, 0)), (-0.8, -0.6), (-1, -1)),
        (("perspective", (0, 0, 0.2, 0.4, 0, 0, 0, 0)), (0.8, -0.6), (1, -1)),
        (("perspective", (0, 0, 0, 0, 0.2, 0.4, 0, 0)), (0.8, 0.6), (1, 1)),
        (("perspective", (0, 0, 0, 0, 0, 0, 0.2, 0.4)), (-0.8, 0.6), (-1, 1)),
    ],
)
def test_a_point_is_seen_where_the_warp_moved_it(step, seen, before) -> None:
    assert at(View(geometry=(step,)).warp(), *seen) == pytest.approx(before, abs=1e-12)


def test_every_warp_has_been_tried() -> None:
    tried = {"flip-x", "flip-y", "rotate", "scale", "translate", "shear", "perspective"}
    assert set(WARPS) == tried


@given(moves=st.tuples(*[st.floats(0, 0.5)] * 8))
def test_the_horizon_of_a_perspective_is_never_in_sight(moves: tuple[float, ...]) -> None:
    corners = np.array([(-1, -1, 1), (1, -1, 1), (1, 1, 1), (-1, 1, 1)]).T
    matrix = View(geometry=(("perspective", moves),)).warp()
    assert (matrix @ corners)[2].min() > 0


@pytest.mark.parametrize("resize", RESIZES)
def test_the_matrix_takes_the_inputs_corners_to_the_parts(resize: str) -> None:
    settings = settings_of(resize, 64)
    matrix = View((0.25, 1, 0, 1)).matrix(400, 200, settings)
    corners = [at(matrix, x, y) for x, y in ((0, 0), (64, 64))]
    expected = {
        "crop": [(0, 200 - math.sqrt(20000)), (math.sqrt(20000), 200)],
        "pad": [(0, 50), (200, 250)],  # (200, 100) pixels, between bars
        "squash": [(0, 100), (200, 200)],
    }[resize]
    assert np.allclose(corners, expected)


def test_with_pad_the_matrix_knows_the_bars() -> None:
    matrix = View().matrix(400, 200, settings_of("pad", 64))
    assert at(matrix, 0, 16) == pytest.approx((0, 0))
    assert at(matrix, 64, 48) == pytest.approx((400, 200))
    assert at(matrix, 0, 0) == pytest.approx((0, -100))


@given(x=st.floats(-0.9, 0.9), y=st.floats(-0.9, 0.9), step=STEPS)
def test_the_jacobian_is_the_limit_of_differences(x: float, y: float, step) -> None:
    matrix, h = View(geometry=(step,)).warp(), 1e-6
    by_x = (at(matrix, x + h, y) - at(matrix, x - h, y)) / (2 * h)
    by_y = (at(matrix, x, y + h) - at(matrix, x, y - h)) / (2 * h)
    assert np.allclose(jacobian(matrix, x, y), np.stack([by_x, by_y], axis=1), rtol=1e-3, atol=1e-3)


def dot(width: int, height: int, x: float, y: float) -> Image.Image:
    """A soft dot on black, so that its middle is found to a fraction of a pixel."""
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    bright = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 12**2))
    return Image.fromarray(np.repeat(bright[..., None], 3, axis=2).astype(np.uint8))


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize(
    "geometry",
    [
        (),
        (("flip-x", ()),),
        (("flip-x", ()), ("flip-y", ())),
        (("rotate", (25.0,)),),
        (("flip-x", ()), ("rotate", (-40.0,)), ("scale", (0.8,))),
        (("shear", (0.3, -0.1)), ("translate", (0.1, -0.05))),
        (("perspective", (0.1, 0.3, 0.2, 0.0, 0.3, 0.1, 0.0, 0.2)),),
    ],
)
@pytest.mark.parametrize("part", [None, (0.6, 1.2, 0.4, 0.7)])
def test_the_pixels_are_where_the_matrix_says(resize: str, geometry, part) -> None:
    """What boxes will be moved by is what the photo was moved by."""
    settings, view = settings_of(resize, 128), View(part, geometry)
    width, height = 500, 400
    inverse = np.linalg.inv(view.matrix(width, height, settings))
    x, y = 240, 220
    seen = preprocess(dot(width, height, x, y), settings, view)[..., 0].astype(float)
    seen[seen == 128] = 0  # where there is no photo
    seen[seen < 60] = 0
    columns, rows = np.meshgrid(np.arange(128) + 0.5, np.arange(128) + 0.5)
    middle = (columns * seen).sum() / seen.sum(), (rows * seen).sum() / seen.sum()
    assert middle == pytest.approx(at(inverse, x, y), abs=0.5)


NOISY = Image.fromarray(np.random.default_rng(1).integers(0, 255, (90, 140, 3), dtype=np.uint8))
WAVES = Image.fromarray(
    (128 + 100 * np.sin(np.add.outer(np.arange(300) / 9, np.arange(400) / 11)))[..., None]
    .repeat(3, axis=2)
    .astype(np.uint8)
)
NOTHING = [
    (),
    (("rotate", (0.0,)),),
    (("scale", (1.0,)), ("translate", (0.0, 0.0)), ("shear", (0.0, 0.0))),
    (("flip-x", ()), ("flip-x", ())),
    (("flip-y", ()), ("flip-x", ()), ("flip-y", ()), ("flip-x", ())),
]


@pytest.mark.parametrize("geometry", NOTHING, ids=str)
@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_a_view_that_moves_nothing_is_what_prediction_sees(geometry, resize: str, interpolation: str) -> None:
    """Bit for bit, from the bytes of a photo that is decoded at reduced scale too."""
    settings = Preprocessing(size_px=24, resize=resize, interpolation=interpolation)  # type: ignore[arg-type]
    view = View(geometry=geometry)
    assert (preprocess(NOISY, settings, view) == preprocess(NOISY, settings)).all()
    file = io.BytesIO()
    NOISY.resize((700, 450)).save(file, "JPEG")
    seen, plain = (load_pixels(file.getvalue(), settings, path="", view=each) for each in (view, None))
    assert (seen == plain).all()


@pytest.mark.parametrize("resize", RESIZES)
def test_flips_are_exact(resize: str) -> None:
    settings = settings_of(resize, 33)
    plain = preprocess(NOISY, settings)
    assert (preprocess(NOISY, settings, View(geometry=(("flip-x", ()),))) == plain[:, ::-1]).all()
    assert (preprocess(NOISY, settings, View(geometry=(("flip-y", ()),))) == plain[::-1]).all()
    both = View(geometry=(("flip-y", ()), ("flip-x", ())))
    assert (preprocess(NOISY, settings, both) == plain[::-1, ::-1]).all()


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("part", [None, (0.5, 1.2, 0.3, 0.8)])
def test_a_photo_that_is_hardly_turned_hardly_changes(resize: str, part) -> None:
    """The two ways of making a view, by a resize and by a transform, agree."""
    settings = Preprocessing(size_px=64, resize=resize, interpolation="bicubic")  # type: ignore[arg-type]
    straight = preprocess(WAVES, settings, View(part)).astype(int)
    turned = preprocess(WAVES, settings, View(part, (("rotate", (0.001,)),)))
    inside = (straight != 128).all(axis=-1) & (turned != 128).all(axis=-1)
    assert inside.mean() > 0.4
    assert np.abs(straight - turned)[inside].mean() < 3


def test_details_do_not_alias_in_views_that_are_turned() -> None:
    """A pattern of single pixels, seen at an eighth of its size, is grey; nothing survives as lines."""
    checks = np.indices((512, 512)).sum(axis=0) % 2 * 255
    photo = Image.fromarray(np.repeat(checks[..., None], 3, axis=2).astype(np.uint8))
    settings = Preprocessing(size_px=64, crop_fraction=1)
    seen = preprocess(photo, settings, View(geometry=(("rotate", (20.0,)),)))
    assert seen.astype(float).std() < 4


def test_a_photo_that_is_moved_out_of_sight_is_grey() -> None:
    for resize in RESIZES:
        seen = preprocess(NOISY, settings_of(resize), View(geometry=(("translate", (9.0, 0.0)),)))
        assert (seen == 128).all()


@given(
    geometry=st.lists(STEPS, max_size=4),
    part=st.none() | PARTS,
    resize=st.sampled_from(RESIZES),
    width=st.integers(1, 60),
    height=st.integers(1, 60),
)
def test_every_view_of_every_photo_fills_the_input(
    geometry, part, resize: str, width: int, height: int
) -> None:
    photo = Image.new("RGB", (width, height), (10, 200, 90))
    seen = preprocess(photo, settings_of(resize, 16), View(part, tuple(geometry)))
    assert (seen.shape, seen.dtype) == ((16, 16, 3), np.uint8)


@given(part=st.none() | PARTS, resize=st.sampled_from(RESIZES), width=SIDES, height=SIDES)
def test_what_is_kept_of_a_photo_is_enough_for_what_is_seen(
    part, resize: str, width: int, height: int
) -> None:
    """The photo's shorter side, at the pixels that are kept, gives the input at least its own pixels."""
    if part is None and resize == "crop":
        return  # load_pixels counts the crop itself
    settings, view = settings_of(resize), View(part)
    kept = settings.size_px * view.magnification() / min(width, height)
    left, top, right, bottom = view.box(width, height, settings)
    shown = max if resize == "pad" else min
    assert kept * shown(right - left, bottom - top) >= settings.size_px * (1 - 1e-9)
