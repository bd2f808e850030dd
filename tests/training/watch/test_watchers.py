"""Watchers see a run and can change nothing in it."""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import headstart as hs
from headstart.config import TrainConfig
from headstart.config.checking import settings_of
from headstart.training.watch.named import NAMED, split_watch
from headstart.training.watch.terminal import Terminal
from headstart.training.watch.watcher import METHODS
from headstart.training.watch.watchers import Watchers

PHASES = [{"name": "head", "epochs": 1}, {"name": "all", "unfreeze": "all", "epochs": 2, "wise_ft": True}]


class Net(nn.Module):
    """Draws from PyTorch's global generator in each step."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3, stride=2)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.drop(self.conv(x).relu().mean((2, 3))))


class Recorder(hs.Watcher):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, tuple[Any, ...]]] = []

    def names(self) -> list[str]:
        return [name for name, _ in self.told if name != "progressed"]

    def of(self, method: str) -> list[tuple[Any, ...]]:
        return [facts for name, facts in self.told if name == method]


def _recording(name: str) -> Callable[..., None]:
    return lambda self, *facts: self.told.append((name, facts))


for _name in METHODS:
    setattr(Recorder, _name, _recording(_name))


class Vandal(Recorder):
    """Changes everything that it can reach."""


def _vandalising(name: str) -> Callable[..., None]:
    def method(self: Vandal, *facts: Any) -> None:
        random.seed(7)
        np.random.seed(7)  # noqa: NPY002
        torch.manual_seed(7)
        if name == "epoch_done":
            facts[0].val["loss"] = facts[0].train["loss"] = -1.0
        if name in ("head_solved", "run_finished"):
            facts[0].clear()

    return method


for _name in METHODS:
    setattr(Vandal, _name, _vandalising(_name))


def train(photos: Path, out: Path, **settings: Any) -> hs.TrainResult:
    common = {"phases": PHASES, "size_px": 32, "batch_size": 12, "device": "cpu"}
    return hs.train(photos, out, network=Net(), **(common | settings))


def probe(photos: Path, out: Path, **settings: Any) -> hs.TrainResult:
    return hs.train(photos, out, recipe="probe", size_px=32, **settings)


def without_times(metrics: Any) -> Any:
    if isinstance(metrics, dict):
        return {key: without_times(value) for key, value in metrics.items() if key != "seconds"}
    return [without_times(each) for each in metrics] if isinstance(metrics, list) else metrics


def test_a_watcher_changes_nothing(photos: Path, tmp_path: Path) -> None:
    alone = train(photos, tmp_path / "alone")
    watched = train(photos, tmp_path / "watched", watch=[Vandal()])
    assert without_times(watched.metrics) == without_times(alone.metrics)
    for name in ("model.safetensors", "answers.csv"):
        assert (watched.path / name).read_bytes() == (alone.path / name).read_bytes()
    assert without_times(watched.history) == without_times(alone.history)


def test_the_global_generators_stay_as_they_are() -> None:
    def states() -> tuple[object, ...]:
        numpy = np.random.get_state()  # noqa: NPY002
        return random.getstate(), numpy[1].tolist(), torch.get_rng_state().tolist()

    before = states()
    watchers = Watchers([Vandal()], print)
    watchers.phase_begun(hs.PhaseConfig(), (), 3)
    with watchers.counting("Photos", 8) as counter:
        counter.advance(8)
    assert states() == before


def test_what_a_run_in_steps_tells(photos: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    run = train(photos, tmp_path / "run", watch=[recorder])
    epoch, phase = "epoch_done", "phase_begun"
    names = [name for name in recorder.names() if name != "mixture_found"]
    assert names == ["run_begun", "photos_read", phase, epoch, phase, epoch, epoch, "run_finished"]
    ((start,),) = recorder.of("run_begun")
    assert (start.path, start.is_resumed, start.history) == (run.path, False, ())
    assert start.config == TrainConfig.from_toml(run.path / "config.toml")
    assert [record.flat() for record, _ in recorder.of(epoch)] == run.history
    assert recorder.of("run_finished") == [(run.metrics,)]
    counts = [count for (count,) in recorder.of("progressed")]
    assert {count.description for count in counts} == {"Photos", "Features", "head", "all"}
    begun = [count for count in counts if count.done == 0 and not count.is_over]
    assert sum(count.is_over for count in counts) == len(begun) == 5  # features are looked for in each phase


def test_what_a_probe_tells(photos: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    run = probe(photos, tmp_path / "run", watch=[recorder])
    assert recorder.names() == [
        *("run_begun", "photos_read", "phase_begun", "head_solved", "epoch_done", "run_finished"),
    ]
    ((start,),) = recorder.of("run_begun")
    assert start.config.recipe == "probe"
    assert recorder.of("head_solved")[0][0] == {
        name: value for name, value in run.metrics["head"].items() if name != "kind"
    }
    assert recorder.of("run_finished") == [(run.metrics,)]


@pytest.mark.parametrize("method", METHODS)
def test_a_watcher_that_fails_is_named_once_and_left_out(
    method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    class Fails(hs.Watcher):
        calls = 0

    def fail(self: Fails, *facts: object) -> None:
        self.calls += 1
        raise RuntimeError("no disk")

    setattr(Fails, method, fail)
    broken, recorder = Fails(), Recorder()
    watchers = Watchers([broken, recorder], Terminal().say)
    for _ in range(2):
        watchers._tell(method, {}, {}, {})
    assert broken.calls == 1
    assert len(recorder.of(method)) == 2
    assert capsys.readouterr().err == (
        "Warning: the watcher Fails failed and is not called again in this run, which continues: "
        "RuntimeError: no disk\n"
    )


def test_a_tracker_that_cannot_be_imported_is_left_out(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "__init__.py").write_text("raise ImportError('half of it is missing')")
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    run = train(photos, tmp_path / "run", phases=PHASES[:1], watch="tensorboard")
    assert (run.path / "metrics.json").is_file()
    said = capsys.readouterr().err
    assert said.count("TensorBoard failed") == 1
    assert "half of it is missing" in said


@pytest.mark.parametrize("name", sorted(NAMED))
def test_a_tracker_that_is_not_installed_is_an_error_before_any_photo_is_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
    with pytest.raises(hs.MissingPackageError, match=r"pip install 'headstart\[watch\]'") as caught:
        hs.train(tmp_path / "no-photos", tmp_path / "run", watch=name, backbone="resnet18")
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    ("watch", "message"),
    [
        ("tensorbord", "watch is .*tensorbord.*one of tensorboard, mlflow, wandb"),
        ([Recorder], "watch holds .*Recorder.*make an object of it"),
        ([3], "watch holds 3, which lacks progressed, run_begun"),
        (5, "watch holds 5, which lacks progressed, run_begun"),
    ],
)
def test_what_is_no_watcher_is_refused(watch: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(hs.ConfigError, match=message):
        hs.train(tmp_path, watch=watch)


def test_none_means_no_watchers(photos: Path, tmp_path: Path) -> None:
    assert split_watch(None) == ((), [])
    with pytest.raises(hs.RunFolderError, match="is not the folder of a run"):
        hs.resume(tmp_path, watch=None)
    with pytest.raises(hs.UsageError, match="no-photos"):
        hs.train(tmp_path / "no-photos", watch=None)


def test_the_settings_name_the_trackers_that_there_are() -> None:
    assert settings_of(TrainConfig)["watch"].choices == tuple(NAMED)


class Stops(Recorder):
    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.error = error

    def epoch_done(self, record: Any, is_best: bool) -> None:
        raise self.error


def test_a_run_that_is_stopped_says_so_and_its_successor_knows_its_history(
    photos: Path, tmp_path: Path
) -> None:
    first = Recorder()
    with pytest.raises(KeyboardInterrupt):
        train(photos, tmp_path / "run", watch=[first, Stops(KeyboardInterrupt)])
    assert first.names()[-1] == "run_stopped"
    assert isinstance(first.of("run_stopped")[0][0], KeyboardInterrupt)
    assert json.loads(json.dumps(first.of("epoch_done")[0][0].epoch)) == 1
    second = Recorder()
    run = hs.resume(tmp_path / "run", network=Net(), watch=[second])
    ((start,),) = second.of("run_begun")
    assert start.is_resumed
    assert len(start.history) + len(second.of("epoch_done")) == len(run.history) == 3


@pytest.mark.parametrize("watch", ["tensorboard", ["mlflow"]])
def test_a_resumed_run_ignores_no_tracker_that_is_named(watch: Any, tmp_path: Path) -> None:
    with pytest.raises(hs.ConfigError, match=re.escape(str(tmp_path / "config.toml"))):
        hs.resume(tmp_path, watch=watch)


def test_a_run_that_never_began_tells_no_end(tmp_path: Path) -> None:
    recorder = Recorder()
    with pytest.raises(hs.UsageError):
        train(tmp_path / "no-photos", tmp_path / "run", watch=[recorder])
    assert "run_stopped" not in recorder.names()
