"""Fine-tuning beside other work; ``benchmarks.busy`` also compares it with PyTorch's own default."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_fine_tuning_beside_busy_processes_takes_at_most_four_times_as_long() -> None:
    command = [sys.executable, "-m", "benchmarks.busy", "--photos", "64", "--size-px", "64", "--rounds", "1"]
    command += ["--settings", "brief", "--at-most", "4"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "beside 2 on one core" in done.stdout
