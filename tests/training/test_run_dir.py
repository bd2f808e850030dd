"""A run folder whose files are open in other programs."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.windows import HeldFiles
from torch import nn

import headstart as hs
from headstart.errors import FileWriteError
from headstart.training.run.history import EpochRecord
from headstart.training.run.run_dir import RunDir
from headstart.training.watch import curves

PHASES = [{"name": "all", "unfreeze": "all", "epochs": 3, "head_lr": 0.01}]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3, stride=2)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(x).relu().mean((2, 3)))


@pytest.fixture
def train(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    monkeypatch.setattr("headstart.files.PATIENCE_SECONDS", 0.1)
    return lambda: hs.train(
        photos, tmp_path / "run", network=Net(), phases=PHASES, size_px=32, batch_size=12, device="cpu"
    )


def as_in_a_long_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the curves be drawn in every epoch."""
    monkeypatch.setattr("headstart.training.watch.curves.SECONDS_BETWEEN_CURVES", 0.0)
    monkeypatch.setattr("headstart.training.watch.curves.SHARE_FOR_CURVES", float("inf"))


LOOKED_AT = ("history.csv", "curves.png", "quarantine.csv", "photos.csv")


def test_files_that_people_look_at_cost_a_warning_each(
    train: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    as_in_a_long_run(monkeypatch)
    monkeypatch.setattr(
        "headstart.training.watch.curves.curves_png", lambda history, *_, **__: str(len(history)).encode()
    )
    held = HeldFiles(monkeypatch, lambda path: path.name in LOOKED_AT)
    run = train()
    assert {"history.csv", "curves.png"} <= set(held.refused)
    assert json.loads((run.path / "metrics.json").read_text()) == run.metrics
    assert len(run.metrics["phases"][0]["epochs"]) == 3  # what the file does not have is not lost
    assert hs.load(run.path).class_names == ("blue", "green", "red")
    said = capsys.readouterr().err
    for name in ("history.csv", "curves.png"):
        assert 1 <= said.count(f"{name} is not up to date") <= 2  # at first, and at the end


def test_a_file_that_is_closed_before_the_end_is_brought_up_to_date(
    train: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = HeldFiles(monkeypatch, lambda path: path.name == "history.csv")
    end_phase = RunDir.end_phase

    def let_go(self: RunDir) -> None:
        end_phase(self)
        held.let_go()

    monkeypatch.setattr(RunDir, "end_phase", let_go)
    run = train()
    assert held.refused
    with open(run.path / "history.csv", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]


def test_curves_take_a_small_share_of_the_time(
    train: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[float] = []

    def draw_slowly(*_: object, **__: object) -> bytes:
        drawn.append(time.monotonic())
        time.sleep(0.2)
        return b"a picture"

    monkeypatch.setattr("headstart.training.watch.curves.SECONDS_BETWEEN_CURVES", 0.0)
    monkeypatch.setattr("headstart.training.watch.curves.SECONDS_TO_DRAW_FIRST", 0.0)
    monkeypatch.setattr("headstart.training.watch.curves.SHARE_FOR_CURVES", 1e-4)
    monkeypatch.setattr("headstart.training.watch.curves.curves_png", draw_slowly)
    train()
    assert len(drawn) == 2  # once on the way, as half an hour must pass before the next, and at the end


def test_a_drawing_that_fails_costs_a_warning(
    train: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no font")

    as_in_a_long_run(monkeypatch)
    monkeypatch.setattr("headstart.training.watch.curves.curves_png", fail)
    assert (train().path / "metrics.json").exists()
    assert capsys.readouterr().err.count("the watcher Curves failed") == 1


@pytest.mark.parametrize(
    "name", ["metrics.json", "model.onnx", pytest.param("model.safetensors", marks=pytest.mark.slow)]
)
def test_results_that_cannot_be_written_end_in_an_error_and_the_run_can_be_resumed(
    name: str, train: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_phase = RunDir.end_phase

    def somebody_comes(self: RunDir) -> None:
        end_phase(self)
        (self.path / name).write_text("somebody's")  # and keeps it open

    held = HeldFiles(monkeypatch, lambda path: path.name == name)
    monkeypatch.setattr(RunDir, "end_phase", somebody_comes)
    with pytest.raises(FileWriteError, match=name.replace(".", r"\.")) as caught:
        train()
    assert caught.value.kept is not None
    assert Path(caught.value.kept).stat().st_size > 0
    assert (tmp_path / "run" / name).read_text() == "somebody's"
    held.let_go()
    (tmp_path / "run" / name).unlink()
    run = hs.resume(tmp_path / "run", network=Net())
    assert run.metrics["best"]["phase"] == "all"
    assert hs.load(run.path).class_names == ("blue", "green", "red")


def test_half_written_files_that_cannot_be_deleted_do_not_stop_a_run_from_being_resumed(
    train: Callable[[], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = curves.curves_png
    part = tmp_path / "run" / f".{'0a' * 8}.part"

    class KilledError(BaseException):
        pass

    def killed(history: list[EpochRecord], *arguments: Any, **named: Any) -> bytes:
        if len(history) == 3:
            raise KilledError
        return draw(history, *arguments, **named)

    as_in_a_long_run(monkeypatch)
    monkeypatch.setattr(curves, "curves_png", killed)
    with pytest.raises(KilledError):
        train()
    monkeypatch.setattr(curves, "curves_png", draw)
    part.write_text("half")
    held = HeldFiles(monkeypatch, lambda path: path == part or path.name in LOOKED_AT)
    assert hs.resume(tmp_path / "run", network=Net()).metrics["best"]["phase"] == "all"
    assert part.name in held.refused
