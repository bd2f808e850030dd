"""The scripts in ``examples`` that start several processes train as torchrun does."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"
OPTIONS = ["--backbone=timm/test_resnet", "--size-px=32", "--batch-size=29", "--seed=3"]
RECIPE = (
    '[[phases]]\nname = "head"\nepochs = 1\nhead_lr = 0.01\n\n'
    '[[phases]]\nname = "last"\nunfreeze = 1\nepochs = 2\nhead_lr = 0.001\noptimizer = "adamw"\n'
)
FILES = ("model.safetensors", "model.onnx")

# Slurm on one machine: one command per node, side by side.
SRUN = """#!/usr/bin/env bash
pids=()
for ((node = 0; node < SLURM_NNODES; node++)); do "$@" & pids+=($!); done
for pid in "${pids[@]}"; do wait "$pid" || code=$?; done
exit "${code:-0}"
"""
SCONTROL = "#!/usr/bin/env bash\necho localhost\necho localhost\n"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("bash") is None, reason="the scripts are for bash"),
]


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("localhost", 0))
        return int(server.getsockname()[1])


def call(*command: object, **variables: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    words = [str(word) for word in command]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("options")
    (folder / "recipe.toml").write_text(RECIPE)
    torch.manual_seed(0)  # the weights are a file's, because norms of random weights would learn
    torch.save(timm.create_model("test_resnet").state_dict(), folder / "weights.pth")
    return [*OPTIONS, f"--recipe={folder / 'recipe.toml'}", f"--weights={folder / 'weights.pth'}"]


@pytest.fixture(scope="module")
def by_torchrun(photos: Path, options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("torchrun") / "run"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = call(*torchrun, "-m", "headstart", "train", photos, "--out", run, *options)
    assert done.returncode == 0, done.stderr
    return run


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder with the programs that the scripts call; its ``python`` is the one that runs the tests."""
    folder = tmp_path / "bin"
    folder.mkdir()
    texts = {"srun": SRUN, "scontrol": SCONTROL, "python": f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'}
    for name, text in texts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.parametrize("script", ["torchrun.sh", "slurm.sh"])
def test_a_script_trains_the_same_bits_as_torchrun_and_finds_a_run_again(
    script: str, photos: Path, options: list[str], by_torchrun: Path, programs: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    variables: dict[str, object] = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "NUM_PROCESSES": 2}
    if script == "slurm.sh":
        variables |= {
            "NUM_PROCESSES": 1,
            "SLURM_NNODES": 2,
            "SLURM_JOB_ID": 7,
            "SLURM_JOB_NODELIST": "n[1-2]",
        }
        variables["RENDEZVOUS_PORT"] = free_port()
    done = call("bash", EXAMPLES / script, photos, run, *options, **variables)
    assert done.returncode == 0, done.stderr
    for name in FILES:
        assert (run / name).read_bytes() == (by_torchrun / name).read_bytes(), name
    again = call("bash", EXAMPLES / script, photos, run, *options, **variables)
    assert again.returncode == 0, again.stderr
    assert "is finished" in again.stderr


def test_a_script_without_arguments_shows_how_it_is_called() -> None:
    for script in ("torchrun.sh", "slurm.sh"):
        done = call("bash", EXAMPLES / script)
        assert done.returncode == 2
        assert "PHOTOS RUN" in done.stderr
