"""Memory that runs out, simulated: smaller passes with the same step, or a sentence."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torchvision.models import resnet18

import headstart as hs
from headstart.errors import HeadstartError, TrainingError
from headstart.images.settings import Preprocessing
from headstart.model.memory import is_out_of_memory, memory_explained
from headstart.model.prefix import NetworkPrefix
from headstart.model.stages import cut
from headstart.training.run.progress import Progress
from headstart.training.steps.memory import MicroBatch

ERRORS: list[Callable[[], Exception]] = [
    lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    lambda: RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"),
    lambda: RuntimeError("MPS backend out of memory (MPS allocated: 9.05 GB)"),
    lambda: RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    lambda: MemoryError(),
]


class Net(nn.Module):
    """A network whose convolution needs memory for each photo."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 8, stride=8)
        self.norm = nn.BatchNorm2d(8) if norm else nn.Identity()
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.drop(self.norm(self.conv(x)).relu().mean((2, 3))))


class Limited:
    """A device that holds a number of photos, and counts how many it has been given at a time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.limit, self.scoring_limit = 10**9, 10**9
        self.error = ERRORS[0]
        self.seen: list[int] = []
        self._conv2d = torch.nn.functional.conv2d
        monkeypatch.setattr(torch.nn.functional, "conv2d", self)

    def __call__(self, input: torch.Tensor, weight: torch.Tensor, *more: Any, **named: Any) -> torch.Tensor:
        is_training = torch.is_grad_enabled() and weight.requires_grad
        if len(input) > (self.limit if is_training else self.scoring_limit):
            raise self.error()
        if is_training:
            self.seen.append(len(input))
        return self._conv2d(input, weight, *more, **named)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Limited:
    return Limited(monkeypatch)


PHASE: dict[str, Any] = {"name": "all", "unfreeze": "all", "epochs": 2, "head_lr": 0.01}
SETTINGS: dict[str, Any] = {"size_px": 32, "batch_size": 12, "phases": [PHASE]}


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


@pytest.mark.parametrize("error", ERRORS, ids=lambda make: f"{type(make()).__name__} {make()}"[:50])
def test_memory_that_runs_out_is_known_by_whoever_says_it(error: Callable[[], Exception]) -> None:
    assert is_out_of_memory(error())
    with (
        pytest.raises(TrainingError, match=r"--size-px.*--batch-size.*smaller backbone.*fewer"),
        memory_explained(),
    ):
        raise error()


def test_other_errors_are_not_taken_for_it() -> None:
    for error in (RuntimeError("shapes do not fit"), ValueError("x"), KeyboardInterrupt()):
        assert not is_out_of_memory(error)
    with pytest.raises(ZeroDivisionError), memory_explained():
        _ = 1 / 0


@pytest.mark.parametrize(
    ("size", "num", "expected"), [(None, 9, [9]), (4, 9, [3, 3, 3]), (4, 8, [4, 4]), (1, 2, [1, 1])]
)
def test_parts_are_few_and_equal(size: int | None, num: int, expected: list[int]) -> None:
    parts = MicroBatch(size).parts(num)
    assert [part.stop - part.start for part in parts] == expected
    assert [i for part in parts for i in range(num)[part]] == list(range(num))


@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        ({}, 1e-5),
        ({"accumulate": 2, "clip_norm": 1.0, "ema": 0.9}, 1e-5),
        pytest.param({"mixup": 0.4, "label_smoothing": 0.1}, 1e-5, marks=pytest.mark.slow),
        pytest.param({"class_weights": "balanced", "optimizer": "sgd"}, 1e-5, marks=pytest.mark.slow),
    ],
)
def test_smaller_passes_take_the_same_steps(
    settings: dict[str, Any],
    tolerance: float,
    device: Limited,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Still(Net):
        def __init__(self) -> None:
            super().__init__()
            self.drop = nn.Identity()  # the numbers that it draws depend on the passes

    given = SETTINGS | {"phases": [PHASE | settings]}
    whole = hs.train(photos, tmp_path / "whole", network=Still(), **given)
    assert "micro_batch" not in whole.metrics["phases"][0]
    capsys.readouterr()
    device.limit, device.seen = 4, []
    parted = hs.train(photos, tmp_path / "parted", network=Still(), **given)
    assert set(device.seen[1:]) == {3}  # 12, then 6 did not fit; the first are two that try the network
    assert parted.metrics["phases"][0]["micro_batch"] == {"training": 3}
    assert "Memory ran out" in capsys.readouterr().err
    for name, tensor in weights(whole.path).items():
        torch.testing.assert_close(weights(parted.path)[name], tensor, rtol=tolerance, atol=tolerance)
    rows = [run.metrics["phases"][0]["epochs"] for run in (whole, parted)]
    for one, other in zip(*rows, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)


def test_norms_that_learn_are_named_when_passes_become_smaller(
    device: Limited, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    device.limit = 6
    run = hs.train(photos, tmp_path / "run", network=Net(norm=True), **SETTINGS)
    assert run.metrics["phases"][0]["micro_batch"] == {"training": 6}
    assert "batch norms that learn" in capsys.readouterr().err
    assert weights(run.path)["norm.running_mean"].abs().max() > 1e-3


def test_scoring_takes_fewer_photos_too(device: Limited, photos: Path, tmp_path: Path) -> None:
    whole = hs.train(photos, tmp_path / "whole", network=Net(), **SETTINGS)
    device.scoring_limit = 4
    parted = hs.train(photos, tmp_path / "parted", network=Net(), **SETTINGS)
    assert parted.metrics["phases"][0]["micro_batch"] == {"scoring": 3}  # of 6 validation photos
    assert parted.metrics["best"]["val_loss"] == pytest.approx(whole.metrics["best"]["val_loss"], rel=1e-5)


def test_where_one_photo_does_not_fit_the_message_says_what_to_set(
    device: Limited, photos: Path, tmp_path: Path
) -> None:
    device.limit = 0
    with pytest.raises(HeadstartError, match=r"one photo at a time\..*--size-px.*--batch-size"):
        hs.train(photos, tmp_path / "run", network=Net(), **SETTINGS)


def test_a_frozen_part_that_pytorch_runs_takes_fewer_photos_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stages = cut(resnet18().eval(), "head")[0]
    prefix = NetworkPrefix(stages, Preprocessing(size_px=32), torch.device("meta"))
    seen: list[int] = []

    def forward(pixels: np.ndarray) -> list[np.ndarray]:
        seen.append(len(pixels))
        if len(pixels) > 10:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return [np.zeros((len(pixels), 512), np.float32)]

    before = prefix.batch_size
    monkeypatch.setattr(prefix, "_forward", forward)
    assert prefix.row(32).shape == (512,)
    assert (before, prefix.batch_size) == (32, 8)
    assert "batch 8" in prefix.runtime  # under which its rows are stored
    prefix.row(32)
    assert seen == [32, 16, 8, 1, 1]
    monkeypatch.setattr(prefix, "_forward", fail)
    with pytest.raises(TrainingError, match="--size-px"):
        prefix(np.zeros((8, 32, 32, 3), np.uint8))


@pytest.mark.parametrize("seam", ["fit_head", "finish"])
def test_wherever_else_memory_runs_out_the_message_says_what_to_set(
    seam: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases = [{"optimizer": "exact"}]
    monkeypatch.setattr(f"headstart.training.upper.{seam}", fail)
    with pytest.raises(TrainingError, match=r"Memory ran out.*--size-px"):
        hs.train(
            photos, tmp_path / "run", size_px=32, backbone="timm/test_resnet", weights="random", phases=phases
        )


def fail(*arguments: Any, **named: Any) -> None:
    raise MemoryError


class Killed(BaseException):
    """Ends a run as SIGKILL does."""


@pytest.mark.parametrize("steps", [4, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_that_ran_out_of_memory_is_resumed_exactly(
    steps: int, device: Limited, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Memory runs out in the second step, and there is more again when the run is resumed.
    counted = {"steps": 0}
    note = Progress.note_micro_batches

    def shrink_after_a_step(self: Progress, *arguments: Any) -> bool:
        counted["steps"] += 1
        if counted["steps"] == 1:
            device.limit = 5
        if counted["steps"] == steps and counted.get("dies"):
            note(self, *arguments)
            raise Killed
        return note(self, *arguments)

    monkeypatch.setattr(Progress, "note_micro_batches", shrink_after_a_step)
    settings = SETTINGS | {"checkpoint_seconds": 0}
    hs.train(photos, tmp_path / "whole", network=Net(), **settings)
    device.limit = 10**9
    counted.update(steps=0, dies=1)
    with pytest.raises(Killed):
        hs.train(photos, tmp_path / "run", network=Net(), **settings)
    counted["steps"] = 10**6
    if steps > 2:  # the checkpoint knows; before it, memory has to run out in the same step again
        device.limit = 10**9
    resumed = hs.resume(tmp_path / "run", network=Net())
    assert resumed.metrics["phases"][0]["micro_batch"] == {"training": 3}
    for name, tensor in weights(tmp_path / "whole").items():
        assert torch.equal(weights(tmp_path / "run")[name], tensor), name


PROGRAM = """
import os, runpy, sys
import torch

conv2d = torch.nn.functional.conv2d

def limited(input, weight, *args, **kwargs):
    # Only one of the processes has a small device.
    is_small = os.environ.get("RANK", "1") == "1"
    if is_small and torch.is_grad_enabled() and weight.requires_grad and len(input) > 4:
        raise torch.OutOfMemoryError("CUDA out of memory.")
    return conv2d(input, weight, *args, **kwargs)

torch.nn.functional.conv2d = limited
sys.argv = ["headstart", *sys.argv[1:]]
runpy.run_module("headstart", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
def test_of_several_processes_all_take_smaller_passes(photos: Path, tmp_path: Path) -> None:
    weights_file = tmp_path / "weights.pth"
    torch.manual_seed(0)
    torch.save(resnet18().state_dict(), weights_file)
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "recipe.toml").write_text(
        '[[phases]]\nname = "last"\nunfreeze = 1\nepochs = 2\nhead_lr = 0.001\noptimizer = "adamw"\n'
    )
    arguments = ["train", str(photos), "--recipe", str(tmp_path / "recipe.toml"), "--backbone", "resnet18"]
    arguments += ["--weights", str(weights_file), "--size-px", "32", "--batch-size", "12"]
    several = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    runs = []
    for name, start in (("one", []), ("two", several)):
        command = [
            sys.executable,
            *start,
            str(tmp_path / "program.py"),
            *arguments,
            "--out",
            str(tmp_path / name),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
        assert done.returncode == 0, done.stderr
        runs.append(weights(tmp_path / name))
    for name, tensor in runs[0].items():
        np.testing.assert_allclose(runs[1][name], tensor, rtol=1e-3, atol=1e-4)
