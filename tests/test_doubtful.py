"""Numbers that are allowed and surely not meant have a warning; usual ones have none."""

from __future__ import annotations

import re
from typing import Any

import pytest

from headstart.config import PhaseConfig, TrainConfig, doubtful_settings
from headstart.config.checking import nearest_value, settings_of
from headstart.config.peers import _VALUES
from headstart.products.export import FORMATS

STEPS = PhaseConfig("finetune", epochs=5, optimizer="adamw")


def doubts(
    num_train: int = 1000, phase: PhaseConfig = STEPS, lacking: Any = frozenset(), **settings: Any
) -> str:
    config = TrainConfig(data="photos", phases=(phase,), **settings)
    return "\n".join(doubtful_settings(config, num_train, lacking))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"size_px": 10}, "size_px is 10, so the network sees photos of 10 × 10 pixels"),
        ({"val": 0.9}, "val is 0.9, which leaves 10% of the photos for training"),
        ({"val": 0.4, "test": 0.3}, "val is 0.4 and test is 0.3, which leaves 30%"),
        ({"batch_size": 512, "num_train": 60}, "batch_size is 512, and there are about 60 training photos"),
        ({"phase": PhaseConfig("full", epochs=10_000)}, "phase full has 10,000 epochs"),
        ({"phase": PhaseConfig("full", optimizer="adamw", head_lr=5)}, "head_lr is 5, with which"),
        ({"phase": PhaseConfig("full", "all", optimizer="sgd", backbone_lr=5)}, "backbone_lr is 5, .*sgd"),
    ],
)
def test_a_number_that_is_hardly_meant_has_one_warning(settings: dict[str, Any], expected: str) -> None:
    text = doubts(**settings)
    assert text.startswith("Warning: ")
    assert "\n" not in text
    assert re.search(expected, text)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"size_px": 28},
        {"val": 0.5},
        {"val": 0.9, "lacking": {"split"}},
        {"num_train": 9},  # the batch size is not the user's
        {"batch_size": 512, "num_train": 60, "phase": PhaseConfig("probe", optimizer="exact")},
        {"phase": PhaseConfig("full", optimizer="sgd", head_lr=0.5)},
    ],
)
def test_usual_numbers_have_none(settings: dict[str, Any]) -> None:
    assert doubts(**settings) == ""


@pytest.mark.parametrize(
    ("word", "setting", "meant"),
    [
        ("gpu", "device", "cuda"),
        ("CUDA", "device", "cuda"),
        ("half", "precision", "fp16"),
        ("acc", "select", "val_accuracy"),
        ("detection", "task", "box"),
        ("letterbox", "resize", "pad"),
        ("tensorbord", "watch", "tensorboard"),
        ("xyz", "device", ""),
    ],
)
def test_the_value_that_another_program_calls_so_is_suggested(word: str, setting: str, meant: str) -> None:
    expected = f" Did you mean {meant!r}?" if meant else ""
    assert nearest_value(word, settings_of(TrainConfig)[setting].choices) == expected


def test_every_suggested_value_exists() -> None:
    about = [*settings_of(TrainConfig).values(), *settings_of(PhaseConfig).values()]
    known = {choice for each in about for choice in each.choices} | {*FORMATS, "drop", "keep", "label"}
    assert not _VALUES.keys() - known
