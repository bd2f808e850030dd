"""The server over sockets: limits on time, clients that go away, signals, and errors of the command."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import headstart as hs
from commands import here
from headstart.serving import app as serving_app
from headstart.serving.app import Service
from headstart.serving.serve import listen
from serving_calls import (
    connect,
    jpeg,
    open_service,
    raw_request,
    read_all,
    read_answer,
    running,
    start,
    wait_until,
)

RED = raw_request(jpeg("red"))
CHUNKED = raw_request(b"", "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")


def answers_in(received: bytes) -> list[tuple[int, Any]]:
    """Parse answers of known length: status and JSON."""
    found = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        lines = head.decode().lower().split("\r\n")
        length = next(int(line.partition(":")[2]) for line in lines if line.startswith("content-length:"))
        found.append((int(lines[0].split()[1]), json.loads(received[:length])))
        received = received[length:]
    return found


def code_in(received: bytes) -> str:
    """Return the code of the only answer, which is an error."""
    ((status, body),) = answers_in(received)
    assert status >= 400
    return str(body["error"]["code"])


def test_requests_on_one_connection_are_answered_in_their_order(service: Service) -> None:
    with running(service) as (_, port), connect(port) as connection:
        blue = raw_request(jpeg("blue"), "Connection: close")
        connection.sendall(RED + RED[:50])  # the second one comes in two parts, the third behind it
        time.sleep(0.05)
        connection.sendall(RED[50:] + blue)
        found = answers_in(read_all(connection))
    assert [status for status, _ in found] == [200] * 3
    assert [body["predictions"][0]["label"] for _, body in found] == ["red", "red", "blue"]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\n", "too_slow"),
        (b"", None),
        (raw_request(jpeg())[:-9], "too_slow"),
        (raw_request(b"", "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b""), "too_slow"),
    ],
    ids=["headers", "nothing", "body", "chunks"],
)
@pytest.mark.parametrize("before", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"])
def test_what_arrives_too_slowly_is_closed(
    service: Service, sent: bytes, code: str | None, before: bytes
) -> None:
    with running(service, header_seconds=0.3, body_seconds=0.4) as (server, port), connect(port) as slow:
        server.config.timeout_keep_alive = 1
        if before:
            slow.sendall(before)
            time.sleep(0.05)
        slow.sendall(sent)
        *first, last = answers_in(read_all(slow)) or [None]
    if before and code is None:
        first, last = [last], None
    assert [each[0] for each in first if each] == [200] * bool(before)
    assert (last and last[1]["error"]["code"]) == code
    assert not last or last[0] == 408


@pytest.mark.parametrize("limits", [{"body_seconds": 1.0}, {"least_rate": 1e6, "body_seconds": 60}])
def test_a_body_that_drips_is_closed_although_something_always_arrives(
    service: Service, limits: dict[str, float]
) -> None:
    with running(service, **({"header_seconds": 0.3, "least_rate": 1} | limits)) as (_, port):
        with connect(port) as slow, contextlib.suppress(ConnectionError):
            slow.sendall(raw_request(b"x" * 100_000)[:200])
            slow.settimeout(0.05)
            received = b""
            while not received:
                slow.sendall(b"x")
                with contextlib.suppress(TimeoutError):
                    received = slow.recv(65536)
        assert code_in(received) == "too_slow"


def test_many_open_connections_are_answered_with_an_error(service: Service) -> None:
    with running(service, most_connections=2) as (_, port), contextlib.ExitStack() as stack:
        open_ = [stack.enter_context(connect(port)) for _ in range(2)]
        for each in open_:  # until both are known
            each.sendall(RED)
            assert read_answer(each).startswith(b"HTTP/1.1 200")
        with connect(port) as third:
            assert code_in(read_all(third)) == "too_many_connections"
        open_[0].close()
        open_[1].sendall(RED)
        assert read_answer(open_[1]).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "invalid_request"),
        (b"GET / HTTP/1.1\r\n\r\n", "invalid_request"),  # no host
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", "invalid_request"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 70_000, "headers_too_large"),
        (RED.replace(b"Length: ", b"Length: -"), "invalid_request"),
        (RED.replace(b"Content-Type", b"Content-Length: 3\r\nContent-Type"), "invalid_request"),
        (
            raw_request(b"zz\r\n", "Transfer-Encoding: chunked").replace(b"Content-Length: 4\r\n", b""),
            "invalid_request",
        ),
        (raw_request(b"0\r\n\r\nGET /healthz", "Transfer-Encoding: chunked"), "invalid_request"),
        (CHUNKED + b"1\r\nx\r\n" * 2000 + b"0\r\n\r\n", "invalid_request"),
        (
            b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: %s\r\n\r\n" % (b"9" * 5000),
            "invalid_request",
        ),
    ],
    ids=[
        "TLS",
        "no host",
        "not ASCII",
        "large",
        "negative",
        "two lengths",
        "chunk",
        "smuggled",
        "tiny chunks",
        "digits",
    ],
)
def test_what_is_not_http_has_an_error_of_the_usual_form(service: Service, sent: bytes, code: str) -> None:
    with running(service) as (_, port), connect(port) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(sent)
        assert code_in(read_all(connection)) == code


def test_chunks_of_usual_size_are_a_body(service: Service) -> None:
    photo = jpeg("blue")
    chunks = b"".join(b"%x;a=b\r\n%s\r\n" % (len(each), each) for each in (photo[:100], photo[100:]))
    with running(service) as (_, port), connect(port) as connection:
        connection.sendall(CHUNKED + chunks + b"0\r\nTrailer: x\r\n\r\n" + RED)
        assert b'"label": "blue"' in read_answer(connection)
        assert b'"label": "red"' in read_answer(connection)


def test_a_client_that_sends_before_it_reads_sees_why_a_large_photo_is_refused(service: Service) -> None:
    sent = raw_request(b"x" * 8_000_000, "Connection: close").replace(b"localhost", b"elsewhere")
    with running(service) as (_, port), connect(port) as connection:
        connection.sendall(sent)
        assert code_in(read_all(connection)) == "forbidden_host"


def test_head_has_the_headers_of_get_without_the_body(service: Service) -> None:
    with running(service) as (_, port):
        for path, status in (
            ("/healthz", 200),
            ("/", 200),
            ("/v1/models", 200),
            ("/v1/predict", 405),
            ("/x", 404),
        ):
            with connect(port) as connection:
                connection.sendall(
                    f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
                )
                head, _, body = read_all(connection).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 %d" % status), path
            assert b"content-length: 0" not in head.lower()
            assert body == b""


def test_a_large_body_is_refused_before_it_is_sent(model: Path) -> None:
    service = open_service(model, max_mb=1)
    with running(service) as (_, port), connect(port) as connection:
        connection.sendall(
            raw_request(b"", "Expect: 100-continue").replace(b"Length: 0", b"Length: 99999999")
        )
        assert code_in(read_answer(connection)) == "too_many_bytes"
    service.close()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Semaphore, threading.Event]]:
    """Hold every prediction back: what has begun, and what lets all of them end."""
    begun, end = threading.Semaphore(0), threading.Event()
    real = serving_app.predict_upload

    def slow(*arguments: Any) -> Any:
        begun.release()
        assert end.wait(20)
        return real(*arguments)

    monkeypatch.setattr(serving_app, "predict_upload", slow)
    yield begun, end
    end.set()


def test_the_work_of_a_client_that_has_gone_is_dropped(
    model: Path, held: tuple[threading.Semaphore, threading.Event]
) -> None:
    begun, end = held
    service = open_service(model)
    workers = service._workers
    with running(service) as (_, port):
        clients = [connect(port) for _ in range(8)]
        for client in clients:
            client.sendall(RED)
        wait_until(lambda: workers._unfinished == 8)
        for _ in range(workers._threads):
            assert begun.acquire(timeout=20)
        for client in clients:
            client.close()
        wait_until(lambda: workers._unfinished == workers._threads)  # what had begun
        end.set()
        wait_until(lambda: workers._unfinished == 0)
    assert not begun.acquire(blocking=False)  # no other one has begun
    service.close()


def test_a_server_that_is_stopped_finishes_what_it_is_answering(
    model: Path, held: tuple[threading.Semaphore, threading.Event]
) -> None:
    begun, end = held
    service = open_service(model)
    with running(service) as (server, port), connect(port) as client, connect(port) as idle:
        client.sendall(RED)
        assert begun.acquire(timeout=20)
        server.should_exit = True
        assert read_all(idle) == b""
        end.set()
        ((status, _),) = answers_in(read_all(client))
    assert status == 200


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM that a process can handle")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_command_with_exit_code_0(model: Path, number: int) -> None:
    with start(f"one={model}", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [json.loads(process.stdout.readline()) for _ in range(2)]
        assert [line["event"] for line in lines] == ["listening", "ready"]
        with connect(int(lines[0]["url"].rpartition(":")[2])) as connection:
            connection.sendall(RED.replace(b"Content-Type", b"Authorization: Bearer secret\r\nContent-Type"))
            assert b'"label": "red"' in read_answer(connection)
            process.send_signal(number)
            assert read_all(connection) == b""
        rest = [json.loads(line) for line in process.stdout]
        told = process.stderr.read()
    assert process.returncode == 0
    request, stopped = rest
    assert (request["event"], request["status"], request["model"], request["photos"]) == (
        "request",
        200,
        "one",
        1,
    )
    assert "secret" not in str(request)
    assert stopped["event"] == "stopped"
    assert told == f"headstart: Serving one at {lines[0]['url']}. Stop with Ctrl+C.\n"


def test_a_killed_service_leaves_its_port_free_and_its_clients_without_an_answer(model: Path) -> None:
    with start(model, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = int(json.loads(process.stdout.readline())["url"].rpartition(":")[2])
        with connect(port) as connection:
            connection.sendall(RED[:-10])
            process.kill()
            assert read_all(connection) == b""
            process.wait()
            with listen("127.0.0.1", port):  # at once, although a client is still connected
                pass


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_for_the_log_does_not_stop_the_service(model: Path) -> None:
    with open("/dev/full", "wb") as full, start(model, stdout=full) as process:
        assert process.stderr is not None
        (port,) = re.findall(r":(\d+)\. Stop", process.stderr.readline())
        with connect(int(port)) as connection:
            for _ in range(200):  # until it is ready
                connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                if read_answer(connection).startswith(b"HTTP/1.1 200"):
                    break
                time.sleep(0.05)
            connection.sendall(RED)
            assert b'"label": "red"' in read_answer(connection)
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            dropped = [
                line
                for line in read_all(connection).decode().splitlines()
                if line.startswith("headstart_log")
            ]
        process.terminate()
        assert process.stderr.read() == ""
    assert process.returncode == 0
    assert float(dropped[0].split()[1]) >= 3


def test_errors_of_the_command_are_sentences(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEADSTART_TOKEN", raising=False)
    with listen("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        for arguments, told in (
            ([model, "--port", port], f"port is {port}, which another program uses. Choose another one with"),
            (
                [model, "--host", "192.0.2.1", "--no-token"],
                "'192.0.2.1', which is not an address of this machine",
            ),
            ([model, "--host", "0.0.0.0"], "so the service needs a token. Make one with: openssl rand"),
            ([tmp_path / "nowhere"], "There is no file or folder"),
            ([model, model], "Two models are called 'colours'"),
            ([model, "--queue", "0"], "queue is 0; it must be a whole number from 1 to 10,000."),
        ):
            code, out, err = here("serve", *arguments)
            assert (code, out) == (2, "")
            assert err.startswith("headstart: ")
            assert told in err
    damaged = tmp_path / "model.onnx"
    damaged.write_bytes(model.read_bytes()[:-80] + b"x" * 80)
    assert here("serve", damaged, "--port", "0")[0] != 0
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "headstart.serving.server")
    code, _, err = here("serve", model)
    assert code == 2
    assert "The command serve needs the package uvicorn" in err
    assert "pip install 'headstart[serve]'" in err


def test_a_notebook_is_told_to_use_a_shell(model: Path) -> None:
    async def in_a_notebook() -> None:
        hs.serve(model, port=0)

    with pytest.raises(hs.UsageError, match="Start it in a shell: headstart serve"):
        asyncio.run(in_a_notebook())
    with pytest.raises(hs.UsageError, match="unexpected keyword argument 'max_photo'"):
        hs.serve(model, port=0, max_photo=1)


def test_a_free_port_and_addresses_of_version_6_are_taken() -> None:
    if not socket.has_ipv6:
        return
    with contextlib.suppress(OSError), listen("::1", 0) as listener:
        assert listener.family == socket.AF_INET6
