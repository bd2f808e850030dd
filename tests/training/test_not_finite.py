"""Photos for which a network does not return finite numbers end a run with their names, on every path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import headstart as hs
from headstart.images.settings import Preprocessing
from headstart.model.prefix import NetworkPrefix
from headstart.model.stage import Stage, StageSequence

HEAD = {"name": "head", "unfreeze": "head", "epochs": 1}
EVERYTHING = {"name": "all", "unfreeze": "all", "epochs": 1, "head_lr": 1e-6}
PHASES: dict[str, dict[str, Any]] = {
    "solved": {**HEAD, "optimizer": "exact"},
    "steps": HEAD,
    "views": {**HEAD, "augment": [{"op": "horizontal-flip"}]},
    "nothing frozen": EVERYTHING,
}


class ContrastNet(nn.Module):
    """Divides each photo by its contrast: a photo of a single colour gives NaN."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, stride=2)
        self.fc = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        return self.fc(self.conv((x - low) / (high - low)).relu().mean((2, 3)))


@pytest.fixture
def make_data(tmp_path: Path) -> Callable[[str], Path]:
    """Photos of two classes, and two of a single colour in the split that is named."""

    def make(split: str) -> Path:
        generator = np.random.default_rng(0)
        for part, count in (("train", 10), ("val", 4)):
            for number in range(count):
                folder = tmp_path / "photos" / part / "ab"[number % 2]
                folder.mkdir(parents=True, exist_ok=True)
                pixels = generator.integers(0, 256, (32, 32, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
        for name, colour in (("grey.png", (120, 130, 140)), ("red.png", (200, 10, 10))):
            Image.new("RGB", (32, 32), colour).save(tmp_path / "photos" / split / "a" / name)
        return tmp_path / "photos"

    return make


@pytest.mark.parametrize(
    ("name", "split", "features"),
    [
        ("solved", "train", "store"),
        ("solved", "train", "live"),
        ("steps", "val", "store"),
        ("steps", "train", "live"),
        ("views", "train", "store"),
        ("nothing frozen", "train", "auto"),
        ("nothing frozen", "val", "auto"),
    ],
)
def test_a_run_ends_with_the_names_of_the_photos(
    name: str, split: str, features: str, make_data: Callable[[str], Path], tmp_path: Path
) -> None:
    settings = {"size_px": 32, "batch_size": 16, "phases": [PHASES[name]], "features": features}
    with pytest.raises(hs.HeadstartError, match="not finite") as caught:
        hs.train(make_data(split), tmp_path / "run", network=ContrastNet(), **settings)
    message = str(caught.value)
    named = [each for each in ("grey.png", "red.png") if each in message]
    assert len(named) == (1 if features == "live" else 2)  # computed anew, the first one ends the run
    assert "0.png" not in message


class Standardised(nn.Module):
    """Subtracts a photo's mean and divides by its standard deviation, which runtimes round differently."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        centred = x - x.mean((2, 3), keepdim=True)
        return (centred / centred.square().mean((2, 3), keepdim=True).sqrt()).relu().mean((2, 3))


def test_a_photo_of_one_colour_is_computed_by_both_runtimes() -> None:
    stages = StageSequence([Stage("standardised", [Standardised()])])
    prefix = NetworkPrefix(stages, Preprocessing(size_px=32), torch.device("cpu"))
    noise = np.random.default_rng(0).integers(0, 256, (prefix.batch_size, 32, 32, 3), np.uint8)
    assert np.isfinite(prefix(noise)).all()
    assert prefix.runtime.startswith("onnxruntime")
    for colour in ((120, 130, 140), (0, 0, 0), (200, 10, 10)):
        pixels = noise.copy()
        pixels[1] = colour
        by_torch = prefix._by_torch(pixels)[0]
        assert np.isfinite(prefix(pixels)).all(1).tolist() == np.isfinite(by_torch).all(1).tolist()
    pixels[1] = (120, 130, 140)
    assert np.isnan(prefix(pixels)[1]).all()
