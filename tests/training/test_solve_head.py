from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import headstart as hs
from headstart.probe.solve import STRENGTHS
from headstart.training.steps.solve_head import linear_head


def test_only_a_single_linear_layer_can_be_solved() -> None:
    linear = nn.Linear(4, 2)
    assert linear_head(nn.Sequential(nn.Sequential(nn.Dropout(0.2), linear))) is linear
    assert linear_head(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), linear)) is None
    assert linear_head(nn.Sequential(nn.Conv2d(4, 2, 1), nn.Flatten())) is None


class AsItIs(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight, self.bias)


class Twice(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def test_a_linear_layer_that_does_more_than_its_weight_and_bias_say_is_not_solved() -> None:
    subclass, twice, hooked = AsItIs(4, 2), Twice(4, 2), nn.Linear(4, 2)
    for layer in (subclass, twice, hooked):
        nn.init.zeros_(layer.weight)  # of a new head, which hide it
        nn.init.zeros_(layer.bias)
    hooked.register_forward_hook(lambda _, inputs, output: output.tanh())
    assert linear_head(subclass) is subclass
    assert linear_head(twice) is None
    assert linear_head(hooked) is None


class PixelNet(nn.Module):
    """Its features are the photo's own 8 × 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(8)
        self.fc = nn.Linear(192, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.pool(x).flatten(1))


def write_series(data: Path, *, copied: bool, grouped: bool) -> Path:
    """Write 24 series of four photos that look alike, whose class has nothing to do with their looks."""
    generator = np.random.default_rng(0)
    data.mkdir()
    rows = [["image", "label", "split", *(["group"] if grouped else [])]]
    for number in range(30):
        split = "val" if number >= 24 else "train"
        looks = generator.integers(20, 235, (8, 8, 3))
        for photo in range(4):
            path = data / f"{number:02}-{photo}.png"
            if copied and photo:
                shutil.copy(data / f"{number:02}-0.png", path)
            else:
                pixels = looks + generator.integers(-2, 3, (8, 8, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(path)
            rows.append([path.name, "ab"[number % 2], split, *([f"series {number}"] if grouped else [])])
    with open(data / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return data / "labels.csv"


@pytest.mark.parametrize(
    ("copied", "grouped", "features"),
    [
        (False, True, "store"),
        (True, False, "store"),
        (False, False, "store"),
        pytest.param(False, False, "live", marks=pytest.mark.slow),
    ],
)
def test_groups_copies_and_near_duplicates_stay_in_one_fold_and_the_run_records_its_estimate(
    copied: bool, grouped: bool, features: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = write_series(tmp_path / "photos", copied=copied, grouped=grouped)
    options: dict[str, Any] = {"size_px": 8, "recipe": "probe", "features": features}
    run = hs.train(table, tmp_path / "run", network=PixelNet(), **options)
    head = run.metrics["head"]
    assert list(head) == ["kind", "penalty", "cv_loss", "cv_accuracy"]
    assert head["kind"] == "own"
    assert head["penalty"] in STRENGTHS
    assert head["cv_loss"] > 0.6  # no better than guessing: what a fold has seen of a series, it would know
    assert head["cv_accuracy"] < 0.8
    shown = f"penalty {head['penalty']:.2g}, chosen by cross-validation on the training photos: loss "
    assert shown + f"{head['cv_loss']:.3f} accuracy {head['cv_accuracy']:.3f}" in capfd.readouterr().err


def test_a_run_without_anything_to_cross_validate_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for split, name, colour in (("train", "a", 50), ("train", "b", 200), ("val", "a", 60), ("val", "b", 190)):
        folder = tmp_path / "photos" / split / name
        folder.mkdir(parents=True)
        Image.new("RGB", (8, 8), (colour, 90, 90)).save(folder / f"{split}{name}.png")
    run = hs.train(tmp_path / "photos", tmp_path / "run", network=PixelNet(), size_px=8, recipe="probe")
    assert run.metrics["head"] == {"kind": "own", "penalty": 0.0001, "cv_loss": None, "cv_accuracy": None}
    assert run.metrics["best"]["val_accuracy"] == 1.0
    assert "Cross-validation is not possible" in capfd.readouterr().err
