"""What TensorBoard, MLflow and W&B have stored, read back with their own libraries, is history.csv."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import guard
import headstart as hs
from headstart.training.watch.named import NAMED
from headstart.training.watch.tracked import final_numbers

# Of the trackers' own code.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PHASES = [{"name": "head", "epochs": 2}, {"name": "all", "unfreeze": "all", "epochs": 2}]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3, stride=2)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(x).relu().mean((2, 3)))


class StopsInTheMiddle(hs.Watcher):
    """Stops the run after its third epoch, of which no checkpoint knows yet."""

    def __init__(self) -> None:
        self.epochs = 0

    def epoch_done(self, record: Any, is_best: bool) -> None:
        self.epochs += 1
        if self.epochs == 3:
            raise KeyboardInterrupt


@dataclass
class Stored:
    """What a tracker holds of one run."""

    rows: dict[int, dict[str, float]] = field(default_factory=dict)
    final: dict[str, float] = field(default_factory=dict)
    seed: str = ""

    def add(self, step: int, name: str, value: float) -> None:
        if "/" in name:
            self.final[name] = value
        else:
            self.rows.setdefault(step, {})[name] = value


def read_tensorboard(run: Path) -> Stored:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    stored = Stored()
    for name in events.Tags()["scalars"]:
        found = events.Scalars(name)
        assert len({event.step for event in found}) == len(found)
        for event in found:
            stored.add(event.step, name, event.value)
    settings = events.Tensors("settings")[0].tensor_proto.string_val[0].decode()
    stored.seed = next(line for line in settings.splitlines() if "seed =" in line).split()[-1]
    return stored


def read_mlflow(run: Path) -> Stored:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{run.parent / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("headstart")
    assert experiment is not None
    (found,) = [
        each for each in client.search_runs([experiment.experiment_id]) if each.info.run_name == run.name
    ]
    assert found.info.status == "FINISHED"
    stored = Stored(seed=found.data.params["seed"])
    for name in found.data.metrics:
        for metric in sorted(
            client.get_metric_history(found.info.run_id, name), key=lambda metric: metric.timestamp
        ):
            stored.add(metric.step, name, metric.value)
    return stored


def read_wandb(run: Path) -> Stored:
    stored, ids = Stored(), set()
    for file in sorted(run.glob("wandb/offline-run-*/*.wandb")):
        inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
        lines = subprocess.run(inspect, check=True, capture_output=True, text=True).stdout.splitlines()
        for record in map(json.loads, lines):
            if record["type"] == "run":
                ids.add(record["run"]["run_id"])
                stored.seed = str(record["run"]["config"]["update"]["seed"])
            if record["type"] == "history":
                for name, value in record["history"]["item"].items():
                    if name != "phase" and not name.startswith("_"):
                        stored.add(record["history"]["step"]["num"], name, value)
            if record["type"] == "summary":
                values = record["summary"]["update"].items()
                stored.final |= {name: value for name, value in values if "/" in name}
    assert len(ids) == 1
    return stored


READERS: Mapping[str, tuple[Callable[[Path], Stored], Callable[[float], float]]] = {
    "tensorboard": (read_tensorboard, lambda value: float(np.float32(value))),  # its format's precision
    "mlflow": (read_mlflow, float),
    "wandb": (read_wandb, float),
}


def test_every_tracker_is_read_back() -> None:
    assert READERS.keys() == NAMED.keys()


@pytest.fixture(scope="module")
def runs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, hs.TrainResult]]:
    """A run in steps that was stopped and resumed, and a probe, both seen by all trackers."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"HOME": "home", "HEADSTART_CACHE": "cache", "XDG_CACHE_HOME": "xdg"}.items():
            patch.setenv(name, str(folder / value))
        patch.setenv("WANDB_MODE", "offline")
        common: dict[str, Any] = {"size_px": 32, "device": "cpu", "seed": 3}
        with pytest.raises(KeyboardInterrupt):
            hs.train(
                photos,
                folder / "steps",
                network=Net(),
                phases=PHASES,
                batch_size=12,
                checkpoint_seconds=0,
                watch=[*NAMED, StopsInTheMiddle()],
                **common,
            )
        steps = hs.resume(folder / "steps", network=Net())
        probe = hs.train(photos, folder / "probe", recipe="probe", watch=",".join(NAMED), **common)
        yield {"steps": steps, "probe": probe}


@pytest.mark.parametrize("kind", ["steps", "probe"])
@pytest.mark.parametrize("name", sorted(NAMED))
def test_a_tracker_holds_what_history_csv_holds(
    name: str, kind: str, runs: dict[str, hs.TrainResult]
) -> None:
    run = runs[kind]
    read, rounded = READERS[name]
    stored = read(run.path)
    with open(run.path / "history.csv", newline="") as file:
        rows = [
            {column: rounded(float(value)) for column, value in row.items() if column != "phase"}
            for row in csv.DictReader(file)
        ]
    assert len(rows) == {"steps": 4, "probe": 1}[kind]
    assert stored.rows == dict(enumerate(rows, 1))
    final = {key: rounded(value) for key, value in final_numbers(run.metrics).items()}
    assert stored.final == final
    assert {"best/val_loss", "test/accuracy"} <= final.keys()
    assert stored.seed == "3"


@pytest.mark.skipif(sys.platform != "linux", reason="the guard is a filter of Linux's kernel")
@pytest.mark.slow
def test_nothing_appears_in_the_home_and_nothing_is_sent(photos: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    # urllib3 asks, when it is imported, whether the machine has IPv6: by a socket that it does not connect.
    code = "import runpy, sys, urllib3.util.connection; sys.argv[:] = sys.argv[1:]; " + (
        "runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    arguments = ["train", str(photos), "--recipe", "probe", "--size-px", "32", "--watch", ",".join(NAMED)]
    done = subprocess.run(
        [sys.executable, "-c", code, guard.__file__, *arguments, "--out", str(tmp_path / "run")],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path), "HOME": str(home)}
        | {"WANDB_MODE": "offline"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "failed" not in done.stderr
    assert {str(path.relative_to(home)) for path in home.glob(".*/*")} <= {".cache/headstart"}
    assert {path.name for path in tmp_path.iterdir()} == {"home", "run", "mlflow.db"}
