"""/openapi.json tells the truth: schemathesis makes requests from it and compares the answers with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headstart.serving.app import Service
from serving_calls import running


@pytest.mark.slow
def test_answers_are_as_openapi_describes_them(service: Service, tmp_path: Path) -> None:
    with running(service) as (_, port):
        url = f"http://127.0.0.1:{port}/openapi.json"
        command = "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())"
        options = ["run", url, "--max-examples", "50", "--seed", "1", "--no-color"]
        done = subprocess.run(
            [sys.executable, "-c", command, *options],
            cwd=tmp_path,
            env=os.environ | {"PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 selected / 5 total" in done.stdout
