"""A run of several processes that is stopped and resumed gives what it would have given."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
RECIPE = '[[phases]]\nname = "last"\nunfreeze = 1\nepochs = 2\nhead_lr = 0.01\n'

# Trains or resumes; in the second epoch, RANK gets SIGNAL after BATCH.
PROGRAM = """
import os, signal, sys
import headstart as hs
from headstart.training.run import run_dir
from headstart.training.upper import UpperFloor

photos, recipe, weights, run, rank, name, batch = sys.argv[1:]
run_dir._SHARE_FOR_CHECKPOINTS = 1e9  # one after each step, however long it takes

def look(self):
    progress = self._run.progress
    if (progress.epoch, progress.batch, os.environ["RANK"]) == (1, int(batch), rank):
        os.kill(os.getpid(), getattr(signal, name))

UpperFloor._look_at_the_time = look
if os.path.exists(os.path.join(run, "config.toml")):
    hs.resume(run)
else:
    hs.train(photos, run, recipe=recipe, backbone="timm/test_resnet", weights=weights, size_px=32,
             batch_size=6, checkpoint_seconds=0)
"""


def history(run: Path) -> list[dict[str, str]]:
    rows = list(csv.DictReader((run / "history.csv").read_text().splitlines()))
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL on Windows")
def test_the_training_score_of_an_interrupted_epoch_has_the_photos_of_all_processes(
    photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "program.py").write_text(PROGRAM)
    torch.manual_seed(0)  # the weights are a file's, because norms of random weights would learn
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "weights.pth")
    inputs = [photos, *(tmp_path / name for name in ("recipe.toml", "weights.pth"))]

    def call(run: Path, rank: int, signal: str, batch: int) -> tuple[int, str]:
        words = [*TORCHRUN, tmp_path / "program.py", *inputs, run, rank, signal, batch]
        done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False, timeout=300)
        return done.returncode, done.stderr

    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    code, err = call(whole, -1, "SIGKILL", 0)
    assert code == 0, err
    code, err = call(stopped, 0, "SIGKILL", 2)
    assert code != 0, err
    code, err = call(stopped, 1, "SIGTERM", 3)
    assert code != 0, err
    assert "Resuming in phase last, after 1 epoch and 2 batches" in err
    code, err = call(stopped, -1, "SIGKILL", 0)
    assert code == 0, err
    assert "Resuming in phase last, after 1 epoch and 4 batches" in err  # the signal came during the fourth
    assert history(stopped) == history(whole)
    assert "broadcast_buffers" not in err  # about which PyTorch warns, and Accelerate cannot help it
