"""The Dockerfile: its steps are taken without a container engine, and what they make serves a model."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from serving_calls import free_port, jpeg, write_model

PROJECT = Path(__file__).parents[2]
DOCKERFILE = PROJECT / "examples" / "serving" / "Dockerfile"
TOKEN = "0123456789abcdef0123456789abcdef"
PORT = "8000"
USER = 65532


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile: the word, and the rest of the line."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text("utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in text.splitlines()) if word]


def test_hadolint_finds_no_fault() -> None:
    found = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), DOCKERFILE], capture_output=True, text=True, check=False
    )
    assert (found.stdout, found.stderr, found.returncode) == ("", "", 0)


def test_the_container_needs_no_rights_and_writes_nothing_but_temporary_files() -> None:
    steps = instructions()
    last = next(number for number, (word, _) in reversed(list(enumerate(steps))) if word == "FROM")
    final = dict(steps[last:])
    assert [int(number) > 1000 for number in final["USER"].split(":")] == [True, True]
    assert "HOME=/tmp" in final["ENV"]
    assert "HEALTHCHECK" in final
    assert "RUN" not in final  # nothing is installed with the rights of the final user


class Engine:
    """Takes the steps of the Dockerfile below a folder instead of in a container.

    Args:
        root: What stands for ``/`` of all stages.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.environment: dict[str, str] = {"PATH": os.environ["PATH"]}
        self.command: list[str] = []
        self.check: list[str] = []

    def here(self, text: str) -> str:
        """Return a command with the container's folders replaced by those below the root."""
        return re.sub(r"(?<![\w./])/(?=opt/|source|tmp)", f"{self._root}/", text)

    def take(self, word: str, rest: str) -> None:
        """Take one step."""
        if word == "COPY":
            *sources, target = rest.split()
            if not rest.startswith("--from"):  # one root serves both stages
                self._copy(sources, target)
        elif word == "RUN":
            python = f"{Path(sys.executable).parent}{os.pathsep}{self.environment['PATH']}"
            command = ["sh", "-c", self.here(rest)]
            subprocess.run(command, check=True, env=os.environ | {"PATH": python}, stdout=subprocess.DEVNULL)
        elif word == "ENV":
            for pair in rest.split():
                name, _, value = pair.partition("=")
                self.environment[name] = self.here(value).replace("$PATH", self.environment["PATH"])
        elif word == "ENTRYPOINT":
            self.command = [self.here(each) for each in json.loads(rest)]
        elif word == "HEALTHCHECK":
            self.check = json.loads(rest[rest.index("[") :])
        else:
            assert word in ("FROM", "USER", "EXPOSE"), f"{word} is not known here"

    def _copy(self, sources: list[str], target: str) -> None:
        for source in sources:
            to = Path(self.here(target)) / (Path(source).name if target.endswith("/") else "")
            to.parent.mkdir(parents=True, exist_ok=True)
            if (PROJECT / source).is_dir():
                shutil.copytree(PROJECT / source, self.here(target), dirs_exist_ok=True)
            else:
                shutil.copy(PROJECT / source, to)

    @contextmanager
    def run(self, model: Path, port: int, *, token: str | None = TOKEN) -> Iterator[subprocess.Popen[str]]:
        """Start the container's command, as the container's user where that one may run this Python."""
        environment = self.environment | {"HEADSTART_MODEL": str(model)}
        environment |= {"HEADSTART_TOKEN": token} if token else {}
        with subprocess.Popen(
            [*self.command, "--port", str(port)],
            env=environment,
            cwd="/",
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            **self._user(),
        ) as process:
            try:
                yield process
            finally:
                process.terminate()

    def _user(self) -> dict[str, Any]:
        user: dict[str, Any] = {"user": USER, "group": USER}
        python = self.here("/opt/headstart/bin/python")
        try:
            subprocess.run([python, "-c", ""], check=True, **user)
        except (OSError, subprocess.CalledProcessError):  # not root, or a Python in root's home
            return {}
        return user


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    root = tmp_path_factory.mktemp("container")
    for folder in (root, *list(root.parents)[:2]):
        folder.chmod(0o755)
    engine = Engine(root)
    (root / "tmp").mkdir(mode=0o777)
    (root / "tmp").chmod(0o777)
    for word, rest in instructions():
        engine.take(word, rest)
    return engine


def wait_for(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout
    said = ""
    for line in process.stdout:
        said += line
        if text in line:
            return said
    raise AssertionError(said)


@pytest.mark.slow
def test_the_container_verifies_the_model_serves_it_and_is_healthy(engine: Engine) -> None:
    model = write_model(Path(engine.here("/tmp")) / "model.onnx")
    model.chmod(0o644)
    port = free_port()
    with engine.run(model, port) as process:
        said = wait_for(process, '"ready"')
        assert "self-test" in said  # of headstart verify
        kind = {"Content-Type": "image/jpeg"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/predict", jpeg("blue"), kind)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(request, timeout=10)
        request.add_header("Authorization", f"Bearer {TOKEN}")
        answer = json.load(urllib.request.urlopen(request, timeout=10))
        assert answer["model"] == "model"
        assert answer["predictions"][0]["label"] == "blue"
        check = [each.replace(f":{PORT}/", f":{port}/") for each in engine.check]
        assert subprocess.run(check, env=engine.environment, check=False).returncode == 0
        process.terminate()
        assert process.wait(30) == 0
    assert subprocess.run(check, env=engine.environment, check=False, stderr=subprocess.DEVNULL).returncode
    has_torch = [Path(engine.here("/opt/headstart")) / "bin" / "python", "-c", "import torch"]
    assert subprocess.run(has_torch, check=False, stderr=subprocess.DEVNULL).returncode == 1


@pytest.mark.slow
def test_a_damaged_model_and_a_missing_token_stop_the_container(engine: Engine) -> None:
    model = write_model(Path(engine.here("/tmp")) / "damaged.onnx")
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    with engine.run(model, free_port()) as process:
        assert process.stdout
        assert "checksum" in process.stdout.read()
        assert process.wait(30) == 1
    model = write_model(Path(engine.here("/tmp")) / "model.onnx")
    with engine.run(model, free_port(), token=None) as process:
        assert process.stdout
        assert "HEADSTART_TOKEN" in process.stdout.read()
        assert process.wait(30) != 0
