"""A plan names what training would do, and does none of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import headstart as hs
from headstart.config import PhaseConfig
from headstart.frozen.cache import cache_folder
from headstart.training.steps.schedule import lr_factor
from headstart.training.tools.phase_plan import epoch_axis, sparkline
from headstart.training.tools.plan import plan

TINY: dict[str, Any] = {"backbone": "timm/test_resnet", "weights": "random", "size_px": 32, "batch_size": 8}
PHASES: list[dict[str, Any]] = [
    {"name": "probe", "optimizer": "exact"},
    {
        "name": "deep",
        "unfreeze": "layer3",
        "epochs": 12,
        "optimizer": "adamw",
        "head_lr": 2e-3,
        "backbone_lr": 2e-4,
        "layer_decay": 0.5,
        "weight_decay": 0.01,
        "schedule": "one-cycle",
        "augment": "light",
        "views": 3,
        "mixup": 0.2,
        "ema": 0.9,
        "accumulate": 2,
    },
    {"name": "all", "unfreeze": "all", "epochs": 1, "optimizer": "sgd", "norm": "train", "head_lr": 1e30},
]


@pytest.fixture(scope="module")
def text(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return plan(
        photos, tmp_path_factory.mktemp("plan") / "run", phases=PHASES, **TINY | {"backbone": "resnet18"}
    )


def section(text: str, name: str) -> str:
    """The lines about one phase."""
    (found,) = (part for part in text.split("\n\n") if part.splitlines()[0].endswith(f": {name}"))
    return found


def line(text: str, name: str) -> str:
    (found,) = (each for each in text.splitlines() if each.startswith(f"  {name} "))
    return found


def test_a_plan_names_what_goes_in_and_what_it_takes(text: str) -> None:
    assert line(text, "data").endswith("48 photos to use")
    assert "classification" in line(text, "task")
    assert line(text, "classes").startswith("  classes    3: ")
    assert "given: 36 train, 12 test; 20% held out" in line(text, "splits")
    assert line(text, "splits").endswith("about 30 to train, 6 to validate, 12 to test")
    assert line(text, "left out") == "  left out   nothing"
    assert "resnet18.IMAGENET1K_V1" in text
    assert "random" in line(text, "weights")
    assert line(text, "head").endswith(
        "reads the last stage, and layer2 and layer3 if cross-validation chooses them"
    )
    assert "Together about " in text
    assert "Disk: at most about " in text


def test_a_plan_names_what_each_phase_trains_and_freezes(text: str) -> None:
    probe, deep, everything = (section(text, phase["name"]) for phase in PHASES)
    assert line(probe, "trained") == "  trained    head: 3,843 parameters"
    assert line(probe, "frozen") == "  frozen     stem, layer1, layer2, layer3, layer4, pool"
    assert "solved exactly" in line(probe, "optimiser")
    assert "layer3, layer4, head: " in line(deep, "trained")  # a pooling has nothing to train
    assert line(deep, "frozen") == "  frozen     stem, layer1, layer2"
    assert line(everything, "frozen") == "  frozen     nothing"
    assert "norm = 'train'" in line(everything, "also")


def test_a_plan_shows_the_groups_the_schedule_and_the_views(text: str) -> None:
    deep = section(text, "deep")
    rows = [each.split() for each in deep.splitlines()]
    assert ["head", "3,840", "0.002", "0.01"] in rows
    assert ["head,", "biases", "and", "norms", "3", "0.002", "0"] in rows
    assert ["layer4", "8,388,608", "0.0002", "0.01"] in rows
    assert any(row[:1] == ["layer3"] and row[-2:] == ["0.0001", "0.01"] for row in rows)
    assert "one-cycle" in line(deep, "schedule")
    assert "to 0.002, the largest of the groups" in deep
    assert "12 epochs of 2 steps" in line(deep, "time")
    assert "light: " in line(deep, "photos")
    assert "3 views" in line(deep, "photos")
    assert line(deep, "features").startswith("  features   stored: ")
    assert "ema = 0.9" in line(deep, "also")


def test_a_plan_names_the_folder_that_training_would_take(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "photos-2"):
        assert line(plan(photos, phases=PHASES[:1], **TINY), "run folder") == f"  run folder runs/{name}"
        (tmp_path / "runs" / name).mkdir(parents=True)


def test_a_plan_says_why_features_are_not_stored(photos: Path) -> None:
    text = plan(photos, phases=PHASES[:1], features="live", **TINY)
    told = line(section(text, "probe"), "features")
    assert told == "  features   computed in every epoch: the setting features = 'live' says so"


def files_below(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*"))


def test_a_plan_writes_nothing_deletes_nothing_and_reads_no_photo(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Path(shutil.copytree(photos, tmp_path / "photos"))
    for path in data.rglob("*.jpg"):
        path.write_bytes(b"\xff\xd8 no photo")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    cache_folder().mkdir(parents=True)
    (cache_folder() / "old.sqlite").write_bytes(bytes(10**6))
    monkeypatch.setattr("headstart.frozen.cache.BUDGET_BYTES", 10**6)  # storing more would evict that
    torch.manual_seed(5)
    state = torch.get_rng_state()
    before = files_below(tmp_path, cache_folder())
    text = plan(data, phases=PHASES[:2], features="store", **TINY)
    assert "stored: " in text
    assert files_below(tmp_path, cache_folder()) == before
    assert torch.equal(torch.get_rng_state(), state)


WRONG: list[dict[str, Any]] = [
    {"backbone": "resnet81"},
    {"phases": [{"unfreeze": "layer9"}]},
    {"phases": [{"optimizer": "exact", "unfreeze": 1}]},
    {"phases": [{"cutmix": 1.0}]},
    {"recipe": "prob", "seed": "x"},
    {"device": "mps"},
    {"val": "nowhere"},
    {"weights": "nowhere.pth"},
]


@pytest.mark.parametrize("settings", WRONG, ids=str)
def test_a_plan_refuses_what_training_refuses(settings: dict[str, Any], photos: Path, tmp_path: Path) -> None:
    told = []
    for function in (hs.train, plan):
        with pytest.raises(hs.HeadstartError) as caught:
            function(photos, tmp_path / "run", **TINY | settings)
        told.append((type(caught.value), str(caught.value)))
    assert told[0] == told[1]
    assert not (tmp_path / "run").exists()


def test_a_plan_refuses_a_folder_that_training_refuses(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "config.toml").touch()
    with pytest.raises(hs.HeadstartError, match="already holds a run"):
        plan(photos, tmp_path, **TINY)


@pytest.mark.parametrize("width", [7, 60])
@pytest.mark.parametrize("steps", [1, 10, 1000])
def test_a_drawing_is_as_high_as_the_rates(steps: int, width: int) -> None:
    def drawn(**settings: Any) -> str:
        phase = PhaseConfig(epochs=5, **settings)
        return sparkline([lr_factor(phase, step, steps) for step in range(5 * steps)], width)

    assert drawn() == "█" * width
    cosine = drawn(schedule="cosine")
    assert cosine[0] == "█"
    assert list(cosine) == sorted(cosine, reverse=True)
    assert len(cosine) == width
    if width == 60:
        assert drawn(schedule="step", step_epochs=1, gamma=0.5) == "".join(12 * block for block in "█▄▂▁▁")
    if width == 60 and steps > 1:
        rising = drawn(schedule="one-cycle")
        assert rising[0] in "▁▂"
        assert "█" in rising
        assert rising[-1] == "▁"


@pytest.mark.parametrize(
    ("epochs", "named"),
    [(1, [1]), (6, [1, 2, 3, 4, 5, 6]), (12, list(range(1, 13))), (40, [1, 5, 10, 15, 20, 25, 30, 35, 40])],
)
def test_the_axis_names_epochs_where_they_begin(epochs: int, named: list[int]) -> None:
    axis = epoch_axis(epochs)
    assert [int(word) for word in axis.split()[:-1]] == named
    for epoch in named:
        assert axis[(epoch - 1) * 60 // epochs :].startswith(str(epoch))
