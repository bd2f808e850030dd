"""Steps: norms that learn, and losses that are looked at later where looking waits for the device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import headstart as hs
from headstart.errors import TrainingError
from headstart.training.run.run_dir import RunDir

CHECKS_EVERY = 4


class Net(nn.Module):
    """Trained whole; its norm has seen nothing."""

    def __init__(self, bad_step: int | None = None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 8, stride=8)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(8, 3)
        self._bad_step = bad_step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.drop(self.norm(self.conv(x).relu().mean((2, 3))))
        is_step = torch.is_grad_enabled() and self.drop.training and len(x) > 2  # two images are a trial
        if is_step and self._bad_step is not None:
            self._bad_step -= 1
            if self._bad_step == 0:
                y = y * float("nan")
        return self.fc(y)


PHASE: dict[str, Any] = {"name": "all", "unfreeze": "all", "epochs": 2, "head_lr": 0.01, "ema": 0.8}
SETTINGS: dict[str, Any] = {"size_px": 32, "batch_size": 5, "phases": [PHASE]}  # 6 steps an epoch


def newest_checkpoint(run: Path) -> dict[str, torch.Tensor]:
    return load_file(max(path for path in (run / "checkpoints").iterdir() if path.stem.isdecimal()))


@pytest.fixture
def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at losses as on a device that has to be waited for."""
    monkeypatch.setattr("headstart.training.steps.trainer.steps_between_checks", lambda device: CHECKS_EVERY)


def train(photos: Path, run: Path, network: nn.Module, **settings: Any) -> hs.TrainResult:
    return hs.train(photos, run, network=network, **SETTINGS | settings)


@pytest.mark.parametrize(
    "phase", [{"accumulate": 2, "clip_norm": 0.5}, {"optimizer": "sgd", "momentum": 0.9}], ids=str
)
def test_looking_later_changes_no_bits(
    phase: dict[str, Any], photos: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    settings = {"phases": [PHASE | phase]}
    train(photos, tmp_path / "now", Net(), **settings)
    request.getfixturevalue("on_a_gpu")
    train(photos, tmp_path / "later", Net(), **settings)
    now, later = (load_file(tmp_path / name / "model.safetensors") for name in ("now", "later"))
    assert all(torch.equal(now[name], later[name]) for name in now)


@pytest.mark.parametrize("bad_step", [8, *(pytest.param(step, marks=pytest.mark.slow) for step in (1, 3))])
def test_a_step_that_is_not_finite_changes_nothing_though_it_is_seen_later(
    bad_step: int, photos: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    told = []
    for name in ("now", "later"):
        with pytest.raises(TrainingError, match=r"not finite|is nan") as caught:
            train(photos, tmp_path / name, Net(bad_step), checkpoint_seconds=1e6)
        told.append(str(caught.value).partition("(")[2])  # phase, epoch, batch, and the photos
        request.getfixturevalue("on_a_gpu")
    assert told[0] == told[1]
    now, later = newest_checkpoint(tmp_path / "now"), newest_checkpoint(tmp_path / "later")
    assert now.keys() == later.keys()
    for name, tensor in now.items():
        assert torch.equal(tensor, later[name]), name
    assert torch.isfinite(torch.cat([t.flatten().double() for t in now.values()])).all()


def test_what_is_saved_on_the_way_is_known_to_be_finite(
    on_a_gpu: None, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RunDir, "is_checkpoint_due", lambda self: True)
    with pytest.raises(TrainingError, match="batch 2"):
        train(photos, tmp_path / "run", Net(bad_step=2))


def test_a_device_is_waited_for_every_few_steps_at_most(
    on_a_gpu: None, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = {"number": 0}
    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "cpu", "numpy"):
        original = getattr(torch.Tensor, name)

        def counted(self: torch.Tensor, *args: Any, original: Any = original, **named: Any) -> Any:
            if torch.is_grad_enabled() or self.requires_grad:  # neither scoring nor saving
                waits["number"] += 1
            return original(self, *args, **named)

        monkeypatch.setattr(torch.Tensor, name, counted)
    numbers = []
    for epochs in (2, 6):
        waits["number"] = 0
        train(photos, tmp_path / f"{epochs}", Net(), phases=[PHASE | {"epochs": epochs}], batch_size=2)
        numbers.append(waits["number"])
    steps = 4 * 15  # of the four epochs more
    assert numbers[1] - numbers[0] <= steps / CHECKS_EVERY + 4 * 25  # and some between epochs


@pytest.mark.parametrize("batch_size", [5, 29, 1])
def test_a_new_norm_learns_whatever_the_size_of_the_steps(
    batch_size: int, photos: Path, tmp_path: Path
) -> None:
    # 30 photos: of 29 and 1; of one each.
    run = train(photos, tmp_path / "run", Net(), batch_size=batch_size, phases=[PHASE | {"ema": None}])
    weights = load_file(run.path / "model.safetensors")
    assert weights["norm.running_mean"].abs().max() > 1e-3
    assert (weights["norm.running_var"] - 1).abs().max() > 1e-3
    assert torch.isfinite(torch.tensor(run.metrics["best"]["val_loss"]))


class Killed(BaseException):
    """Ends a run as SIGKILL does."""


@pytest.mark.parametrize("batch_size", [5, 1])
def test_statistics_that_learn_are_part_of_checkpoints(
    batch_size: int, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"batch_size": batch_size, "checkpoint_seconds": 1e6}
    train(photos, tmp_path / "whole", Net(), **settings)
    calls = {"number": 0}

    def die(self: RunDir) -> bool:
        calls["number"] += 1
        if calls["number"] == 5:
            raise Killed
        return calls["number"] == 3

    with monkeypatch.context() as patch:
        patch.setattr(RunDir, "is_checkpoint_due", die)
        with pytest.raises(Killed):
            train(photos, tmp_path / "run", Net(), **settings)
    saved = newest_checkpoint(tmp_path / "run")
    assert saved["network/norm.running_mean"].abs().max() > 0
    (average,) = [t for name, t in saved.items() if name.startswith("average/") and "running_mean" in name]
    assert not torch.equal(saved["network/norm.running_mean"], average)
    hs.resume(tmp_path / "run", network=Net())
    names = ("model.safetensors", "model.onnx")
    assert all((tmp_path / "run" / n).read_bytes() == (tmp_path / "whole" / n).read_bytes() for n in names)
