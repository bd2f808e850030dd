"""The example clients in Python, curl and JavaScript, and the service behind nginx."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from serving_calls import free_port, jpeg, open_service, running, write_model

EXAMPLES = Path(__file__).parents[2] / "examples" / "serving"
TOKEN = "0123456789abcdef0123456789abcdef"

CLIENTS = {
    "client.py": [sys.executable, "-W", "error::SyntaxWarning"],
    "client.sh": ["sh"],
    "client.mjs": ["node"],
}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "a photo.jpg"
    path.write_bytes(jpeg("green"))
    return path


@pytest.mark.proxy
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_of_ten_lines_prints_the_answer(client: str, photo: Path, tmp_path: Path) -> None:
    service = open_service(write_model(tmp_path / "colours.onnx"), token=TOKEN)
    with running(service) as (_, port):
        command = [*CLIENTS[client], str(EXAMPLES / client), f"http://127.0.0.1:{port}", str(photo)]
        environment = os.environ | {"HEADSTART_TOKEN": TOKEN}
        found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        (tmp_path / "notes.jpg").write_bytes(b"no photo")
        command[-1] = str(tmp_path / "notes.jpg")
        refused = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert re.search(r"\bgreen\b.* 0?\.?\d+", found.stdout), found.stdout
    assert "The photo cannot be read" in refused.stdout + refused.stderr
    assert refused.returncode == (0 if client == "client.sh" else 1)  # a form is answered photo by photo
    lines = (EXAMPLES / client).read_text("utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) <= 15


@contextmanager
def nginx(folder: Path, service_port: int, port: int) -> Iterator[str]:
    """Run nginx with the example's location, and yield the address of the service behind it."""
    location = (
        (EXAMPLES / "nginx.conf").read_text("utf-8").replace("127.0.0.1:8000", f"127.0.0.1:{service_port}")
    )
    places = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; {places}\nserver {{ listen 127.0.0.1:{port};\n{location}\n}} }}\n"
    )
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program
    command = [program, "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield f"http://127.0.0.1:{port}/photos/"
        finally:
            process.terminate()


@pytest.mark.proxy
def test_behind_nginx_under_a_path_everything_is_as_without(tmp_path: Path) -> None:
    service = open_service(
        write_model(tmp_path / "colours.onnx"),
        token=TOKEN,
        root_path="/photos",
        allow_hosts=("photos.example",),
    )
    headers = {"Authorization": f"Bearer {TOKEN}", "Host": "photos.example"}
    with (
        running(service) as (_, port),
        nginx(tmp_path, port, free_port()) as address,
        httpx.Client(headers=headers, transport=httpx.HTTPTransport(retries=5)) as client,
    ):
        page = client.get(address)
        assert page.status_code == 200
        assert "Content-Security-Policy" in page.text
        for name in re.findall(r'(?:src|href)="([^"]+)"', page.text):
            assert client.get(address + name).status_code == 200, name
        answer = client.post(f"{address}v1/predict", content=jpeg("red")).json()
        assert answer["predictions"][0]["label"] == "red"
        assert re.fullmatch("[0-9a-f]{32}", answer["request_id"])  # nginx's, which is in both logs
        assert client.get(f"{address}openapi.json").json()["servers"] == [{"url": "/photos"}]
        large = client.post(f"{address}v1/predict", content=bytes(70_000_000))
        assert (large.status_code, large.json()["error"]["code"]) == (413, "too_many_bytes")
        assert client.get(f"{address}metrics").status_code == 404
        redirect = client.get(address.rstrip("/"))
        assert redirect.status_code == 301
        assert redirect.headers["location"].endswith("/photos/")
        origin = address.removesuffix("/photos/")
        own = {"Host": origin.partition("//")[2], "Origin": origin}  # as the page sends them, with the port
        assert client.post(f"{address}v1/predict", content=jpeg("red"), headers=own).status_code == 200
        foreign = client.post(f"{address}v1/predict", content=jpeg("red"), headers={"Host": "other.example"})
        assert foreign.json()["error"]["code"] == "forbidden_host"


@pytest.mark.proxy
def test_while_the_service_is_gone_nginx_answers_in_its_form(tmp_path: Path) -> None:
    with (
        nginx(tmp_path, free_port(), free_port()) as address,
        httpx.Client(transport=httpx.HTTPTransport(retries=5)) as client,
    ):
        for answer in (
            client.get(f"{address}v1/models"),
            client.post(f"{address}v1/predict", content=jpeg()),
        ):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            assert answer.headers["content-type"] == "application/json"
            body = answer.json()
            assert body["error"].keys() == {"code", "message"}
            assert body["error"]["code"] == "restarting"
            assert re.fullmatch("[0-9a-f]{32}", body["request_id"])
