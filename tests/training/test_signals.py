"""A command that a signal stopped ends, resumed, in the bits of one that nothing stopped."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tomli_w

import headstart as hs

# Dropout, mixing, averages, views, several batches per step: all that could depend on what ran before. Many
# epochs, so that a signal finds it at work.
PHASES: list[dict[str, Any]] = [
    {"name": "probe", "epochs": 8, "head_lr": 0.01, "augment": "light", "views": 2},
    {
        "name": "last",
        "unfreeze": 1,
        "epochs": 8,
        "optimizer": "adamw",
        "head_lr": 1e-3,
        "mixup": 0.4,
        "ema": 0.9,
        "accumulate": 2,
        "schedule": "one-cycle",
        "augment": "light",
        "views": 2,
    },
    {"name": "all", "unfreeze": "all", "epochs": 4, "optimizer": "sgd", "head_lr": 1e-3, "norm": "train"},
]
SETTINGS: dict[str, Any] = {
    "backbone": "mobilenet_v3_small",
    "weights": "random",
    "size_px": 32,
    "batch_size": 5,
    "checkpoint_seconds": 0,
}


def command(photos: Path, run: Path, workers: int) -> list[str]:
    recipe = run.with_suffix(".toml")
    recipe.write_text(tomli_w.dumps({"phases": PHASES}))
    options = [f"--set={key}={value}" for key, value in SETTINGS.items()]
    options += [f"--workers={workers}", f"--recipe={recipe}", f"--out={run}"]
    return [sys.executable, "-m", "headstart", "train", str(photos), *options]


def wait_for(run: Path, phase: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 100
    while not ((run / "history.csv").exists() and f"\n{phase}," in (run / "history.csv").read_text()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hs.train(photos, tmp_path_factory.mktemp("whole") / "run", phases=PHASES, **SETTINGS).path


def read_history(run: Path) -> list[dict[str, str]]:
    rows = list(csv.DictReader((run / "history.csv").read_text().splitlines()))
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.mark.parametrize(
    ("number", "code", "phase", "workers"),
    [
        pytest.param(signal.SIGTERM, 128 + signal.SIGTERM, "last", 2, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, -signal.SIGKILL, "probe", 0, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 128 + signal.SIGINT, "all", 0, marks=pytest.mark.slow),
    ],
)
def test_signals_save_and_exit_and_the_run_goes_on(
    number: int, code: int, phase: str, workers: int, photos: Path, whole: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with subprocess.Popen(command(photos, run, workers), stderr=subprocess.PIPE, text=True) as process:
        wait_for(run, phase, process)
        os.kill(process.pid, number)
        begun = time.monotonic()
        process.communicate(timeout=30)
        assert process.returncode == code
        assert time.monotonic() - begun < 10
    done = subprocess.run(
        [sys.executable, "-m", "headstart", "resume", str(run)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.search(rf"Resuming in phase {phase}, after \d+ epochs?", done.stderr)
    assert read_history(run) == read_history(whole)
    for name in ("model.safetensors", "model.onnx"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    assert not list(run.rglob("*.part"))
