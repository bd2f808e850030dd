from __future__ import annotations

import numpy as np
import pytest

from headstart.config.augmentation import check_augment
from headstart.data.targets import Scale, Targets
from headstart.errors import DataError
from headstart.images.photo import Photo
from headstart.images.settings import Preprocessing
from headstart.images.view import View
from headstart.records import Record
from headstart.views.augmentation import Augmentation

SQUASH = Preprocessing(resize="squash")


def record(number: int = 0, **fields) -> Record:
    return Record(Photo("a.jpg"), fields.pop("label", 0), None, f"{number:064x}", **fields)


def test_rows_of_every_task() -> None:
    assert Targets("classification", ("a", "b"), SQUASH).row(record(label=1)) == 1
    multilabel = Targets("multilabel", ("a", "b", "c"), SQUASH)
    assert multilabel.row(record(labels=(0, 2))).tolist() == [1, 0, 1]
    scale = Scale.of([record(numbers=(1.0,)), record(numbers=(3.0,))], ["kg"])
    assert Targets("regression", (), SQUASH, scale).row(record(numbers=(4.0,))).tolist() == [2]
    boxed = record(label=1, box=(10, 20, 30, 40), size=(100, 200))
    assert Targets("box", ("a",), SQUASH).row(boxed).tolist() == pytest.approx([0.1, 0.1, 0.3, 0.2])
    with_class = Targets("box", ("a", "b"), SQUASH)
    assert with_class.row(boxed).tolist() == pytest.approx([0.1, 0.1, 0.3, 0.2, 1])
    assert with_class.num_outputs == 6


def test_the_scale_is_the_mean_and_the_standard_deviation_of_each_target() -> None:
    records = [record(numbers=(1.0, 10.0)), record(numbers=(3.0, 40.0))]
    assert Scale.of(records, ["kg", "cm"]) == Scale((2.0, 25.0), (1.0, 15.0))
    assert Scale.of(records, []) == Scale()


@pytest.mark.parametrize(
    ("numbers", "message"),
    [((3.0, 3.0), "target 'kg' is 3 for all"), ((1.0, -1e308), r"kg is up to -1e\+308, which is too large")],
)
def test_numbers_that_give_no_scale_are_refused(numbers: tuple[float, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Scale.of([record(numbers=(number,)) for number in numbers], ["kg"])


def test_a_view_that_loses_the_box_is_drawn_again() -> None:
    problems: list[str] = []
    crops = check_augment([{"op": "resized-crop", "area": [0.1, 0.3]}], "", problems)
    assert not problems
    augmentation, targets = Augmentation(crops, 0), Targets("box", ("a",), SQUASH)
    drawn_again = 0
    for number in range(100):
        photo = record(number, box=(5, 5, 45, 45), size=(100, 100))
        drawn, row = targets.view(photo, 1, augmentation)
        assert row.min() >= 0
        assert row.max() <= 1
        if drawn == 0:
            continue
        drawn_again += drawn != 1
        _, visible = targets._row(photo, augmentation.view(photo.sha256, drawn))
        assert visible >= 0.5
    assert 0 < drawn_again < 100
    # Where no view can show it, the photo is taken as it is.
    everything = Targets("box", ("a",), SQUASH, min_visible=1.0)
    drawn, row = everything.view(record(box=(0, 0, 100, 100), size=(100, 100)), 1, augmentation)
    assert (drawn, row.tolist()) == (0, [0, 0, 1, 1])


def test_views_of_other_tasks_are_those_that_were_asked_for() -> None:
    drawn, row = Targets("classification", ("a", "b"), SQUASH).view(record(label=1), 7, None)
    assert (drawn, row.dtype) == (7, np.int64)


def test_view_0_is_the_photo_as_it_is_whatever_the_augmentation() -> None:
    assert Augmentation("strong", 0).view("00" * 32, 0) == View()
