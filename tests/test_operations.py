"""Augmentation as a user writes it: what is understood, and what is refused with which hint."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from headstart.config import PhaseConfig, TrainConfig
from headstart.config.augmentation import check_augment
from headstart.config.operations import (
    OPERATIONS,
    PRESETS,
    Brightness,
    HorizontalFlip,
    Hue,
    Rotation,
)
from headstart.errors import ConfigError


def checked(value: Any) -> Any:
    problems: list[str] = []
    result = check_augment(value, "phase 1: ", problems)
    assert not problems
    return result


def problems_of(value: Any) -> list[str]:
    problems: list[str] = []
    check_augment(value, "phase 1: ", problems)
    return problems


# What a user may get wrong, and what the message must say.
WRONG: list[tuple[Any, list[str]]] = [
    ("lite", ["'lite'", "Did you mean 'light'?", "none, light, medium, strong"]),
    ("rotation", ["'rotation'", '[{op = "rotation"}]']),
    (3, ["augment is 3", "none, light, medium, strong", "list of operations"]),
    ({"op": "rotation"}, ["augment is {'op': 'rotation'}", "a list"]),
    (["rotation"], ["augment 1 is 'rotation'", '{op = "rotation", degrees = 15}']),
    ([{"degrees": 3}], ["augment 1", "no operation is named"]),
    ([{"op": 3}], ["no operation 3"]),
    ([{"op": "rotatoin"}], ["'rotatoin'", "Did you mean 'rotation'?", "Operations are resized-crop, "]),
    ([{"op": "RandomResizedCrop"}], ["Did you mean 'resized-crop'?"]),
    ([{"op": "RandomHorizontalFlip"}], ["Did you mean 'horizontal-flip'?"]),
    ([{"op": "RandomGrayscale"}], ["Did you mean 'greyscale'?"]),
    ([{"op": "GaussianBlur"}], ["Did you mean 'blur'?"]),
    ([{"op": "TrivialAugmentWide"}], ["Did you mean 'trivialaugment'?"]),
    ([{"op": "posterize"}], ["Did you mean 'posterise'?"]),
    ([{"op": "ColorJitter"}], ["brightness, contrast, saturation and hue"]),
    (
        [{"op": "rotation", "degree": 3}],
        ["rotation: unknown setting 'degree'", "Did you mean 'degrees'?", "degrees, p"],
    ),
    ([{"op": "rotation", "degrees": 0.2}], ["that is 0.2 degrees", "Did you mean 20?"]),
    ([{"op": "rotation", "degrees": [-0.3, 0.3]}], ["that is 0.3 degrees", "Did you mean 30?"]),
    ([{"op": "affine", "shear": 0.1}], ["that is 0.1 degrees", "Did you mean 10?"]),
    ([{"op": "rotation", "degrees": -15}], ["Did you mean 15?"]),
    ([{"op": "rotation", "degrees": 200}], ["must be from 0 to 180"]),
    ([{"op": "rotation", "degrees": "15"}], ["'15'", "a number, or two numbers, as in [from, to]"]),
    ([{"op": "rotation", "degrees": [1, 2, 3]}], ["two numbers, as in [from, to]"]),
    ([{"op": "rotation", "degrees": [1, float("nan")]}], ["two numbers, as in [from, to]"]),
    ([{"op": "hue", "amount": 18}], ["Did you mean 0.05 (18 degrees)?"]),
    ([{"op": "hue", "amount": 0.6}], ["must be from 0 to 0.5: shift"]),
    ([{"op": "brightness", "amount": 20}], ["Did you mean 0.2 (20 %)?"]),
    ([{"op": "contrast", "amount": [1.2, 0.8]}], ["Did you mean [0.8, 1.2]?"]),
    ([{"op": "saturation", "amount": [-1, 1]}], ["must be from 0 to 10"]),
    ([{"op": "horizontal-flip", "p": 50}], ["Did you mean 0.5 (50 %)?"]),
    ([{"op": "horizontal-flip", "p": [0, 1]}], ["must be a number"]),
    ([{"op": "horizontal-flip", "p": True}], ["must be a number"]),
    ([{"op": "resized-crop", "area": 0.5}], ["two numbers, as in [from, to]"]),
    ([{"op": "resized-crop", "area": [50, 100]}], ["Did you mean [0.5, 1] (100 %)?"]),
    ([{"op": "resized-crop", "area": [0, 1]}], ["must be from 0.01 to 1"]),
    ([{"op": "solarise", "threshold": 0.5}], ["Did you mean 128?"]),
    ([{"op": "posterise", "bits": 3.5}], ["a whole number"]),
    ([{"op": "posterise", "bits": 0}], ["must be from 1 to 8"]),
    ([{"op": "randaugment", "magnitude": 31}], ["must be from 0 to 30"]),
    ([{"op": "perspective", "distortion": 0.7}], ["must be from 0 to 0.5"]),
    ([{"op": "rotation"}, {"op": "rotation"}], ["rotation occurs twice"]),
    ([{"op": "resized-crop"}, {"op": "padded-crop"}], ["two crops", "Choose one"]),
    ([{"op": "randaugment"}, {"op": "trivialaugment"}], ["two policies", "Choose one"]),
]


@pytest.mark.parametrize(("value", "told"), WRONG, ids=lambda v: str(v)[:50])
def test_what_is_wrong_is_told_with_its_value_and_a_hint(value: Any, told: list[str]) -> None:
    (problem,) = problems_of(value)
    assert problem.startswith("phase 1: augment")
    for words in told:
        assert words in problem


@pytest.mark.parametrize(
    "wrong",
    [
        {"op": "resized-crop", "area": [0.5, 1.5]},
        {"op": "perspective", "distortion": 80},
        {"op": "affine", "shear": 0.9},
        {"op": "affine", "translate": -5},
        {"op": "hue", "amount": 270},
    ],
    ids=str,
)
def test_nothing_is_suggested_that_would_be_refused(wrong: dict[str, Any]) -> None:
    (problem,) = problems_of([wrong])
    assert "Did you mean" not in problem


def test_all_that_is_wrong_is_told_at_once() -> None:
    wrong = [{"op": "rotation", "degrees": 0.2, "p": 2, "angle": 1}, {"op": "blurr"}, {"op": "hue", "p": -1}]
    assert len(problems_of(wrong)) == 5


def test_a_single_number_is_the_way_to_both_sides() -> None:
    given = [
        {"op": "rotation", "degrees": 15},
        {"op": "brightness", "amount": 0.25},
        {"op": "hue", "amount": 0.1},
    ]
    assert checked(given) == (Rotation((-15, 15)), Brightness((0.75, 1.25)), Hue((-0.1, 0.1)))
    assert checked([{"op": "rotation", "degrees": [0, 15]}]) == (Rotation((0, 15)),)


def test_the_order_of_the_list_is_not_the_users_business() -> None:
    one = [{"op": "brightness"}, {"op": "horizontal-flip"}, {"op": "rotation"}]
    assert checked(one) == checked(one[::-1]) == (HorizontalFlip(), Rotation(), Brightness())


def test_an_empty_list_is_no_augmentation() -> None:
    assert checked([]) == "none"


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_has_defaults_within_its_own_limits(name: str) -> None:
    """What an operation is without parameters is allowed when it is written out."""
    operation = OPERATIONS[name]()
    assert operation.op == name
    assert checked([{"op": name}]) == (operation,)
    assert checked([dataclasses.asdict(operation)]) == (operation,)
    assert checked([operation]) == (operation,)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_parameter_is_checked(name: str) -> None:
    for field in dataclasses.fields(OPERATIONS[name]):
        if field.name != "op":
            assert len(problems_of([{"op": name, field.name: "x"}])) == 1
            assert len(problems_of([{"op": name, field.name: [-1e9, 1e9]}])) == 1
            assert field.metadata["setting"].text


@pytest.mark.parametrize("name", PRESETS)
def test_a_presets_list_is_allowed_and_in_order(name: str) -> None:
    assert checked(PRESETS[name]) == (PRESETS[name] or "none")


# As a setting of a phase.


def test_an_augmentation_survives_toml(tmp_path: Path) -> None:
    everything = [{"op": name} for name in OPERATIONS if name not in ("padded-crop", "randaugment")]
    phases = [
        {"name": "a", "augment": "strong", "views": 3},
        {"name": "b", "augment": [{"op": "brightness", "amount": 0.2}, {"op": "rotation", "degrees": 15}]},
        {"name": "c", "augment": everything},
        PhaseConfig("d", augment=(Rotation((0.0, 5.0)),)),
        {"name": "e", "augment": []},
    ]
    config = TrainConfig.from_settings("photos", phases=phases)
    assert config.phases[1].augment == (Rotation((-15, 15)), Brightness((0.8, 1.2)))
    assert config.phases[4].augment == "none"
    path = tmp_path / "config.toml"
    path.write_text(tomli_w.dumps(config.to_dict()))
    assert TrainConfig.from_toml(path) == config


def test_all_phases_problems_are_told_at_once_with_their_phase() -> None:
    phases = [
        {"augment": "lite", "epochs": 0},
        {"augment": [{"op": "rotation", "degrees": 0.2}, {"op": "x"}]},
    ]
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_settings("photos", phases=phases)
    told = caught.value.problems
    assert len(told) == 4
    assert sum(each.startswith("phase 1: ") for each in told) == 2
    assert sum(each.startswith("phase 2: augment ") for each in told) == 2
