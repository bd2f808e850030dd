"""Which photos backbones are compared on."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from headstart.images.photo import Photo
from headstart.recommendation.sample import choose_photos
from headstart.records import Candidate


def photos(counts: dict[str, int], **more: object) -> list[Candidate]:
    return [
        Candidate(Photo(f"{name}/{number:05}.jpg"), name, None, **more)  # type: ignore[arg-type]
        for name, count in counts.items()
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("counts", "most", "expected"),
    [
        ({"a": 60, "b": 30}, 90, {"a": 60, "b": 30}),  # all
        ({"a": 600, "b": 300}, 90, {"a": 60, "b": 30}),  # the same fraction
        ({"a": 990, "b": 10}, 50, {"a": 45, "b": 5}),  # as many as there are folds
        ({"a": 990, "b": 3}, 50, {"a": 47, "b": 3}),
        ({str(n): 9 for n in range(20)}, 40, {str(n): 2 for n in range(20)}),
    ],
    ids=["few", "fraction", "rare", "rarer", "many classes"],
)
def test_classes_keep_their_fractions_and_rare_ones_some_photos(
    counts: dict[str, int], most: int, expected: dict[str, int]
) -> None:
    assert Counter(each.class_name for each in choose_photos(photos(counts), most)) == expected


def test_chosen_photos_are_in_their_order_far_apart_and_always_the_same() -> None:
    listed = photos({"a": 64})
    chosen = choose_photos(listed, 8)
    places = [listed.index(each) for each in chosen]
    assert places == list(range(0, 64, 8))
    assert choose_photos(listed, 8) == chosen


def test_groups_are_chosen_whole_but_for_one_that_is_larger_than_a_fold() -> None:
    listed = [
        Candidate(Photo(f"{number:05}.jpg"), "ab"[number % 2], None, group=str(number // 10))
        for number in range(1000)
    ]
    chosen = Counter(each.group for each in choose_photos(listed, 100))
    assert set(chosen.values()) == {10}
    assert sum(chosen.values()) == 100
    large = [Candidate(each.photo, each.class_name, None, group="large") for each in listed]
    chosen = Counter(each.group for each in choose_photos([*large, *listed[:100]], 100))
    assert chosen["large"] == 20
    assert sum(chosen.values()) > 60


def test_all_ranges_of_a_number_and_rare_labels_are_there() -> None:
    numbers = [Candidate(Photo(f"{n}.jpg"), "", None, numbers=(n * 7919 % 1000,)) for n in range(1000)]
    chosen = sorted(each.numbers[0] for each in choose_photos(numbers, 50))
    assert max(b - a for a, b in pairwise(chosen)) < 40
    labels = [
        Candidate(Photo(f"{n}.jpg"), "", None, labels=("all", "rare") if n % 100 == 7 else ("all",))
        for n in range(1000)
    ]
    assert sum("rare" in each.labels for each in choose_photos(labels, 50)) >= 5
