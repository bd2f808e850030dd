"""Flips that change labels are told; others are not."""

from __future__ import annotations

import pytest

from headstart.config.operations import HorizontalFlip, Rotation, VerticalFlip
from headstart.views.flips import flip_warnings

HORIZONTAL, VERTICAL = (HorizontalFlip(),), (VerticalFlip(),)

EXCHANGED = [
    (("left", "right"), HORIZONTAL),
    (("turn_left", "turn_right", "ahead"), HORIZONTAL),
    (("TurnLeft", "TurnRight"), HORIZONTAL),
    (("Keep Left", "keep right"), HORIZONTAL),
    (("left-hand", "right-hand"), HORIZONTAL),
    (("arrow left", "arrow right"), HORIZONTAL),
    (("hand_L", "hand_R"), HORIZONTAL),
    (("a", "b", "c", "d"), HORIZONTAL),
    (("p", "q"), HORIZONTAL),
    (("←", "→"), HORIZONTAL),
    (("<", ">"), HORIZONTAL),
    (("west", "east"), HORIZONTAL),
    (("clockwise", "counterclockwise"), HORIZONTAL),
    (("links", "rechts"), HORIZONTAL),
    (("thumbs_up", "thumbs_down"), VERTICAL),
    (("↑", "↓"), VERTICAL),
    (("b", "p"), VERTICAL),
    (("M", "W"), ()),
    (("cat", "dog"), HORIZONTAL),
    (("B", "D"), HORIZONTAL),
    (("L", "R"), HORIZONTAL),
    (("left", "right"), VERTICAL),
    (("up", "down"), HORIZONTAL),
    (("left", "right"), (Rotation(),)),
    (("left", "right"), (HorizontalFlip(p=0),)),
    (("left", "right"), "none"),
    (("cleft", "bright"), HORIZONTAL),
]
NUM_WARNED = 17


@pytest.mark.parametrize(("names", "augment"), EXCHANGED[:NUM_WARNED], ids=str)
def test_classes_that_a_flip_exchanges_are_named(names: tuple[str, ...], augment) -> None:
    (warning,) = flip_warnings(names, augment)
    assert augment[0].op in warning
    assert "look like each other" in warning
    assert "list of operations without it" in warning
    assert sum(repr(name) in warning for name in names) == 2


@pytest.mark.parametrize(("names", "augment"), EXCHANGED[NUM_WARNED:], ids=str)
def test_other_classes_are_not(names: tuple[str, ...], augment) -> None:
    assert flip_warnings(names, augment) == []


def test_presets_with_a_flip_are_warned_of() -> None:
    for preset in ("light", "medium", "strong"):
        assert len(flip_warnings(("left", "right"), preset)) == 1


def test_a_class_with_a_direction_but_no_counterpart_is_told() -> None:
    (warning,) = flip_warnings(("turn_left", "stop"), "none", mirror=True)
    assert warning.startswith("mirror reverses directions")
    assert warning.endswith("leave mirror out.")
    assert flip_warnings(("cat", "dog"), "none", mirror=True) == []
    (warning,) = flip_warnings(("turn_left", "stop"), HORIZONTAL)
    assert "'turn_left'" in warning
    assert flip_warnings(("turn_left", "stop"), VERTICAL) == []
    assert flip_warnings(("arrow_blue", "stop"), HORIZONTAL)


def test_many_pairs_are_counted() -> None:
    names = [
        f"{side} {place}" for side in ("left", "right") for place in ("eye", "ear", "hand", "foot", "knee")
    ]
    (warning,) = flip_warnings(tuple(names), HORIZONTAL)
    assert "and 2 more pairs" in warning


def test_each_flip_has_its_own_warning() -> None:
    assert len(flip_warnings(("b", "d", "p", "q"), (HorizontalFlip(), VerticalFlip()))) == 2
