"""Commands in messages can be pasted."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from headstart.errors import shell_command

NAMES = ["runs/a", "my run", "it's", 'a "b"', "$HOME", "a;b", "é", "a\nb", "*", "~x", "a&b", "-run"]


@pytest.mark.parametrize("name", NAMES)
def test_a_shell_passes_the_words_on_as_they_are(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir(parents=True)
    command = shell_command("resume", name)
    program, *words = shlex.split(command)
    assert program == "headstart"
    assert words == ["resume", f"./{name}" if name == "-run" else name]
    script = f"headstart() {{ printf '%s\\0' \"$@\"; }}; {command}"
    found = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout
    assert found.split("\0")[:-1] == words


def test_words_are_quoted_as_windows_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "name", "nt")
    assert shell_command("resume", "my run") == 'headstart resume "my run"'
