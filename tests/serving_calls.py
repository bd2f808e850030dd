"""Calls of the service: in process, or over a socket to a server in a thread."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from colours import INFO, colours_model
from headstart.inference.run_self_test import seal_with_self_test
from headstart.serving.app import Service
from headstart.serving.log import Log
from headstart.serving.models import Models
from headstart.serving.serve import listen
from headstart.serving.server import Server
from headstart.serving.settings import ServeSettings


def write_model(file: Path, **info: Any) -> Path:
    """Write a model of colours with a self-test."""
    from dataclasses import replace

    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(seal_with_self_test(colours_model(), replace(INFO, **info)))
    return file


def jpeg(colour: str = "red", size: tuple[int, int] = (20, 30)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "JPEG")
    return file.getvalue()


def open_service(*paths: Path, log: Log | None = None, **settings: Any) -> Service:
    """Return a service that is ready, of models that are called by their files."""
    models = Models({path.stem: path for path in paths})
    models.prove_all()
    return Service(models, ServeSettings(**settings), log or Log(os.open(os.devnull, os.O_WRONLY)))


def call(service: Service, method: str, path: str, **request: Any) -> httpx.Response:
    """Send a request in process."""

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app=service.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            return await client.request(method, path, **request)

    return asyncio.run(send())


def predict(service: Service, content: bytes, query: str = "", **headers: str) -> httpx.Response:
    """Send a photo as a raw body."""
    given = {"Content-Type": "image/jpeg"} | {name.replace("_", "-"): each for name, each in headers.items()}
    return call(service, "POST", f"/v1/predict{query}", content=content, headers=given)


def code_of(answer: httpx.Response) -> str:
    """Return the code of an error, whose form is checked."""
    body = answer.json()
    assert body.keys() == {"error", "request_id"}
    assert body["error"].keys() == {"code", "message"}
    assert body["request_id"] == answer.headers["x-request-id"]
    return str(body["error"]["code"])


@contextmanager
def running(service: Service, **limits: float) -> Iterator[tuple[Server, int]]:
    """Run a server in a thread, and stop it at the end of the block; yield it and its port."""
    log = Log(os.open(os.devnull, os.O_WRONLY))
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        server = Server(service, log, **limits)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield server, port
        finally:
            server.should_exit = True
            thread.join()
            log.close()


@contextmanager
def start(*arguments: str | Path, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Start the command at a free port; it is killed if the block fails."""
    command = [sys.executable, "-m", "headstart", "serve", *map(os.fspath, arguments), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def free_port() -> int:
    """Return a port that nothing listens to."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def read_all(connection: socket.socket) -> bytes:
    """Read until the server closes the connection, or says nothing for the connection's timeout."""
    received = b""
    try:
        while data := connection.recv(65536):
            received += data
    except (ConnectionResetError, TimeoutError):
        pass
    return received


def read_answer(connection: socket.socket) -> bytes:
    """Read one answer of known length."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536) or b"HTTP/1.1 000 closed\r\ncontent-length: 0\r\n\r\n"
    head, _, body = received.partition(b"\r\n\r\n")
    length = next(
        int(each[15:]) for each in head.lower().split(b"\r\n") if each.startswith(b"content-length:")
    )
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def raw_request(photo: bytes, *more: str) -> bytes:
    head = [
        "POST /v1/predict HTTP/1.1",
        "Host: localhost",
        "Content-Type: image/jpeg",
        f"Content-Length: {len(photo)}",
        *more,
    ]
    return "\r\n".join([*head, "", ""]).encode() + photo


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait up to 20 s until a condition holds."""
    for _ in range(2000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("It did not come about.")
