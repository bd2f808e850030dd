"""Where a page is run: a home, a folder with photos, a shell whose state is kept, a Python interpreter."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.docs.markdown import ROOT
from tests.docs.start import copy_start, make_photos

SECONDS = 900  # for a block; a shared machine may need ten times as long as a free one
_HERE = Path(__file__).parent
_SHELL = """\
set -eo pipefail
. {state}/environment
cd "$(cat {state}/folder)"
trap 'code=$?; pwd > {state}/folder; export -p > {state}/environment; exit $code' EXIT
. {state}/block
"""
_PROGRAMS = {
    "pip": 'exec "{python}" "{here}/stand_in_pip.py" "$@"',
    "pip3": 'exec "{python}" "{here}/stand_in_pip.py" "$@"',
    "python": """\
case "$1 $2" in
"-m venv") mkdir -p "$3/bin"; cp "$(dirname "$0")"/* "$3/bin"
           echo 'export PATH="$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd):$PATH"' > "$3/bin/activate" ;;
"-m pip") shift 2; exec "{python}" "{here}/stand_in_pip.py" "$@" ;;
*) exec "{python}" "$@" ;;
esac""",
}


class Session:
    """The folder ``work`` in a new home, with the programs that pages call, and everything they start."""

    def __init__(self, home: Path, *, photos: bool, start: Path | None = None) -> None:
        self.home, self.folder, self.state = home, home / "work", home / ".state"
        self.state.mkdir(parents=True)
        if start is not None:
            copy_start(start, home, photos=photos)
        elif photos:
            make_photos(self.folder)
        self.folder.mkdir(exist_ok=True)
        shutil.copytree(
            ROOT / "examples", self.folder / "examples", ignore=shutil.ignore_patterns("__pycache__")
        )
        shutil.copy(ROOT / "Makefile", self.folder)
        self._groups: list[subprocess.Popen[bytes]] = []
        self._python: subprocess.Popen[bytes] | None = None
        (self.state / "folder").write_text(str(self.folder))
        (self.state / "environment").write_text("")
        self._environment = self._make_environment()

    def _make_environment(self) -> dict[str, str]:
        programs = self.home / ".programs"
        programs.mkdir()
        for name, body in [*_PROGRAMS.items(), ("python3", _PROGRAMS["python"])]:
            (programs / name).write_text(
                "#!/bin/sh\n" + body.format(python=sys.executable, here=_HERE) + "\n"
            )
            (programs / name).chmod(0o755)
        # Like the script that pip makes, so that messages call the program headstart.
        start = "import sys\n\nfrom headstart.__main__ import main\n\nsys.exit(main())\n"
        script = f"#!{sys.executable}\n{start}"
        (programs / "headstart").write_text(script)
        (programs / "headstart").chmod(0o755)
        path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
            "HOME": str(self.home),
            "PATH": path,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
            "PYTHONUNBUFFERED": "1",  # lines of standard output and error come in their order
            "HEADSTART_CACHE": str(self.home / ".cache" / "headstart"),
            "XDG_CACHE_HOME": str(self.home / ".cache"),
            "TORCH_HOME": str(self.home / ".cache" / "torch"),
            "HF_HUB_CACHE": str(self.home / ".cache" / "huggingface"),
            "HF_HUB_OFFLINE": "1",
            "WANDB_MODE": "offline",
            "MPLBACKEND": "agg",
            "MAKEFLAGS": "n",  # make prints the commands of a target and does not run them
            **dict.fromkeys(
                ("http_proxy", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9"
            ),  # no internet
            **dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1,localhost,0.0.0.0,::1"),
        }

    @property
    def places(self) -> dict[str, str]:
        """Return how the paths of this test are shown on a page."""
        return {
            str(self.home): "~",
            str(ROOT / "src" / "headstart"): "~/.venv/lib/python3/site-packages/headstart",
            sys.prefix: "~/.venv",
        }

    def bash(self, code: str) -> tuple[int, str]:
        """Run a block of commands; the first that fails ends it. Return the exit code and all output."""
        process, output = self._start_bash(code)
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            return -1, f"{output.read_text('utf-8', 'replace')}\nstopped after {SECONDS} s"
        return process.returncode, output.read_text("utf-8", "replace")

    def in_background(self, code: str, until: str) -> tuple[int, str]:
        """Start a block that runs until the page ends, and wait until it has printed a text."""
        process, output = self._start_bash(code)
        deadline = time.monotonic() + SECONDS / 5
        while until not in (text := output.read_text("utf-8", "replace")):
            if process.poll() is not None or time.monotonic() > deadline:
                return 1, f"{text}\nended, or did not print {until!r} in {SECONDS // 5} s"
            time.sleep(0.1)
        return 0, text

    def _start_bash(self, code: str) -> tuple[subprocess.Popen[bytes], Path]:
        (self.state / "block").write_text(code)
        output = self.state / f"output-{len(self._groups)}"
        with output.open("ab") as file:
            process = subprocess.Popen(
                ["bash", "-c", _SHELL.format(state=self.state)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        self._groups.append(process)
        return process, output

    def python(self, code: str, page: str, line: int) -> tuple[int, str]:
        """Run a block in the page's interpreter, in the folder and with the variables of its shell."""
        output = self.state / "output-python"
        if self._python is None:
            replies, reply = os.pipe()
            with output.open("ab") as file:
                self._python = subprocess.Popen(
                    [sys.executable, str(_HERE / "interpreter.py"), str(reply)],
                    env=self._environment,
                    stdin=subprocess.PIPE,
                    stdout=file,
                    stderr=file,
                    pass_fds=[reply],
                    start_new_session=True,
                )
            os.close(reply)
            self._groups.append(self._python)
            self._replies = os.fdopen(replies)
        begin = output.stat().st_size
        request = {
            "code": code,
            "page": page,
            "line": line,
            "cwd": (self.state / "folder").read_text().strip(),
            "environment": self._exported(),
        }
        assert self._python.stdin is not None
        self._python.stdin.write(json.dumps(request).encode() + b"\n")
        self._python.stdin.flush()
        limit = threading.Timer(SECONDS, os.killpg, (self._python.pid, signal.SIGKILL))
        limit.start()
        status = self._replies.readline().strip()
        limit.cancel()
        with output.open("rb") as file:
            file.seek(begin)
            text = file.read().decode("utf-8", "replace")
        if not status:
            return 1, f"{text}\nthe interpreter has ended, or was stopped after {SECONDS} s"
        return int(status), text

    def _exported(self) -> dict[str, str]:
        """Return the variables that the page's shell exports, apart from those of the shell itself."""
        read = f". {self.state}/environment; env -0"
        text = subprocess.run(
            ["bash", "-c", read], env=self._environment, capture_output=True, check=True
        ).stdout
        pairs = [item.partition("=") for item in text.decode().split("\0") if item]
        return {name: value for name, _, value in pairs if name not in ("_", "PWD", "OLDPWD", "SHLVL")}

    def close(self) -> None:
        """End everything that the page has started, and what that has started."""
        if self._python is not None and self._python.stdin is not None:
            self._python.stdin.close()
            self._replies.close()
        for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            for process in self._groups:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, ending)
            deadline = time.monotonic() + 3
            while time.monotonic() < deadline and any(process.poll() is None for process in self._groups):
                time.sleep(0.05)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
