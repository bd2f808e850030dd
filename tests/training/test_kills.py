"""Runs that are killed at random moments; ``benchmarks.kills`` does it a hundred times."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_runs_killed_at_random_moments_end_in_the_same_bits() -> None:
    command = [sys.executable, "-m", "benchmarks.kills", "--kills", "3"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(
        r"^3 kills in (\d+) runs: \1 with equal models and nothing left behind", done.stdout, re.MULTILINE
    )
