from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstart.images.boxes import iou, to_input, to_photo
from headstart.images.settings import Preprocessing
from headstart.images.view import View

UPRIGHT = View(geometry=(("flip-x", ()), ("scale", (0.7,)), ("translate", (0.1, -0.05)), ("flip-y", ())))


@st.composite
def boxes_in_photos(draw: st.DrawFn) -> tuple[tuple[float, float, float, float], tuple[int, int]]:
    width, height = draw(st.integers(20, 3000)), draw(st.integers(20, 3000))
    shares = st.floats(0, 0.9)
    left, top = draw(shares) * width, draw(shares) * height
    right = left + (width - left) * draw(st.floats(0.05, 1))
    bottom = top + (height - top) * draw(st.floats(0.05, 1))
    return (left, top, right, bottom), (width, height)


@given(boxes_in_photos(), st.sampled_from(["pad", "squash"]))
def test_a_box_in_the_networks_input_and_back_is_the_same_box(photo, resize) -> None:
    box, size = photo
    settings = Preprocessing(resize=resize)
    shares, visible = to_input(box, size, View(), settings)
    assert visible == pytest.approx(1)
    assert to_photo(shares, size, settings) == pytest.approx(box, abs=1e-6 * max(size))


@given(boxes_in_photos(), st.sampled_from(["crop", "pad", "squash"]))
def test_a_box_moved_by_an_upright_view_and_back_is_the_same_box(photo, resize) -> None:
    box, size = photo
    settings = Preprocessing(resize=resize)
    moved, visible = to_input(box, size, UPRIGHT, settings)
    if visible < 1 - 1e-9:
        return  # cut off: what is lost cannot come back
    back = UPRIGHT.matrix(*size, settings) @ [
        np.array([moved[0], moved[2]]) * settings.size_px,
        np.array([moved[1], moved[3]]) * settings.size_px,
        np.ones(2),
    ]
    points = back[:2] / back[2]
    assert [*points.min(1), *points.max(1)] == pytest.approx(box, abs=1e-6 * max(size))


@given(boxes_in_photos(), st.floats(-180, 180))
def test_a_turned_box_holds_what_the_box_held(photo, degrees) -> None:
    box, size = photo
    view = View(geometry=(("rotate", (degrees,)), ("scale", (0.3,))))
    settings = Preprocessing(resize="squash")
    moved, _ = to_input(box, size, view, settings)
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    u, v, w = np.linalg.inv(view.matrix(*size, settings)) @ (x, y, 1)
    u, v = u / w / settings.size_px, v / w / settings.size_px
    if 0 <= u <= 1 and 0 <= v <= 1:
        assert moved[0] - 1e-9 <= u <= moved[2] + 1e-9
        assert moved[1] - 1e-9 <= v <= moved[3] + 1e-9


def test_what_a_crop_leaves_of_a_box() -> None:
    settings = Preprocessing(resize="crop", crop_fraction=1.0)
    shares, visible = to_input((0, 0, 100, 100), (200, 100), View(), settings)  # the crop shows 50 to 150
    assert shares == pytest.approx((0, 0, 0.5, 1))
    assert visible == pytest.approx(0.5)


def test_a_predicted_box_stays_within_its_photo() -> None:
    box = to_photo((0, 0, 1, 1), (400, 100), Preprocessing(resize="pad"))  # of which the bars are part
    assert box == pytest.approx((0, 0, 400, 100))


def test_iou_by_hand() -> None:
    first = np.array([[0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 2, 2], [2, 2, 0, 0], [0, 0, 2, 2.0]])
    second = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 6, 6], [0, 0, 2, 2], [0, 0, 0, 0.0]])
    assert iou(first, second).tolist() == pytest.approx([1, 1 / 7, 0, 0, 0])
