"""Hostile requests from a seeded generator, and slow connections: the service goes on."""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headstart.serving.log import Log
from headstart.serving.problems import PROBLEMS
from serving_calls import call, connect, jpeg, open_service, raw_request, read_all, running, start, wait_until

STATUSES = {status for status, _ in PROBLEMS.values()} | {200, 204}
PHOTO = jpeg("green", (64, 48))
BOUNDARY = b"--------xyz"
PATHS = [
    *(b"/v1/predict?top_k=1", b"/v1/predict?heat_map=1", b"/v1/models", b"/v1/predict?model=../../x"),
    *(
        b"/v1/predict?top_k=%ff",
        b"/../../etc/passwd",
        b"//x",
        b"*",
        b"http://evil/",
        b"/%00",
        b"/metrics?x=1",
    ),
    *(
        b"/v1/predict?top_k=99999999999999999999",
        b"?",
        b"/v1/predict?model=%00&model=%f0%9f%98%80",
        b"/%2e%2e",
    ),
]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Change, cut, repeat or insert bytes in a few places."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(5):
            case 0:
                changed[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del changed[at : at + chance.randint(1, 40)]
            case 2:
                changed[at:at] = changed[max(0, at - 20) : at]
            case 3:
                changed[at:at] = chance.choice(
                    [b"\r\n", b"\0", b"\r\n\r\n", b"%00", b"../", b"\xff" * 9, b":", b"0"]
                )
            case _:
                changed[at:at] = chance.randbytes(chance.randint(1, 200))
    return bytes(changed)


def form(chance: random.Random) -> bytes:
    parts = []
    for _ in range(chance.randint(0, 4)):
        name = chance.choice([b"photo", b"photo", b"photo", b"x", b"", b'a"b'])
        file = chance.choice(
            [b'; filename="a.jpg"', b'; filename="../../etc/passwd"', b"", b'; filename="\xff\0"']
        )
        parts += [b"--" + BOUNDARY, b'Content-Disposition: form-data; name="' + name + b'"' + file, b""]
        parts += [chance.choice([PHOTO, mutated(PHOTO, chance), b"", b"{}"])]
    return b"\r\n".join([*parts, b"--" + BOUNDARY + chance.choice([b"--", b"", b"-"]), b""])


def hostile_requests(seed: int, count: int) -> Iterator[bytes]:
    """Yield the bytes of requests, most of them wrong in some way."""
    chance = random.Random(seed)

    def usually(usual: bytes, *others: bytes) -> bytes:
        return usual if chance.random() < 0.85 else chance.choice(others)

    def sometimes(*lines: bytes) -> list[bytes]:
        return [chance.choice(lines)] if chance.random() < 0.05 else []

    for _ in range(count):
        body, kind = usually(PHOTO, mutated(PHOTO, chance), b"", chance.randbytes(90)), b"image/jpeg"
        if chance.random() < 0.4:
            body, kind = form(chance), b"multipart/form-data; boundary=" + BOUNDARY
        head = [
            usually(b"POST", b"GET", b"PUT", b"HEAD", b"OPTIONS", b"FOO", b"CONNECT")
            + b" "
            + usually(b"/v1/predict", *PATHS)
            + usually(b" HTTP/1.1", b" HTTP/1.0", b" HTTP/1.9"),
            b"Host: " + usually(b"localhost", b"127.0.0.1:1", b"evil", b"[", b"localhost:\xe9"),
            b"Content-Type: " + usually(kind, b"text/html", b"multipart/form-data", b"image/\xe9;", b""),
            b"Content-Length: " + usually(str(len(body)).encode(), b"0", b"5", b"10%d" % len(body), b"-1"),
            *sometimes(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip"),
            *sometimes(b"Expect: 100-continue"),
            *sometimes(b"Origin: null", b"Origin: http://evil", b"Origin: http://[", b"Origin: \xe9"),
            *sometimes(b"Authorization: Bearer \xff"),
            *sometimes(b"Connection: upgrade\r\nUpgrade: websocket", b"Content-Encoding: gzip"),
            b"Connection: " + usually(b"close", b"keep-alive"),
        ]
        request = b"\r\n".join([*head, b"", b""]) + body
        yield mutated(request, chance) if chance.random() < 0.3 else request


def check(received: bytes, sent: bytes) -> int:
    """Check the first answer: a known status, and errors in the usual form. Return the status."""
    received = received.replace(b"HTTP/1.1 100 \r\n\r\n", b"").replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
    if not received:
        return 0
    head, _, body = received.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert status in STATUSES, sent
    length = next(
        (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
    )
    assert status != 500, sent
    if status >= 400 and not sent.startswith(b"HEAD"):
        error = json.loads(body[:length])
        assert error["error"]["code"] in PROBLEMS, sent
    return status


def send_all(port: int, requests: Iterable[bytes], patience: float = 20) -> Counter[int]:
    """Send requests, 24 at a time, check the answers, and count their statuses.

    Args:
        port: Of the service.
        requests: What is sent.
        patience: Seconds of silence after which a connection is closed.
    """

    def send(request: bytes) -> int:
        received = b""
        with connect(port) as connection, contextlib.suppress(ConnectionError):
            connection.settimeout(patience)
            connection.sendall(request)
            received = read_all(connection)
        return check(received, request)

    with ThreadPoolExecutor(24) as pool:
        return Counter(pool.map(send, requests))


def test_hostile_requests_have_errors_and_the_next_request_is_answered(model: Path, tmp_path: Path) -> None:
    log_file = tmp_path / "log.jsonl"
    log = Log(os.open(log_file, os.O_WRONLY | os.O_CREAT))
    service = open_service(model, log=log)
    with running(service, header_seconds=0.2, body_seconds=0.2) as (server, port):
        server.config.timeout_keep_alive = 0
        statuses = send_all(port, hostile_requests(300, 300))
        assert statuses[0] < 30  # connections that end without an answer
        assert statuses[200] > 30
        assert len(statuses) >= 8
        with connect(port) as connection:
            connection.sendall(raw_request(PHOTO, "Connection: close"))
            assert read_all(connection).startswith(b"HTTP/1.1 200")
        wait_until(lambda: service._workers._unfinished == service._memory._used == 0)
        wait_until(lambda: not server.server_state.tasks)
    assert 'code="internal_error"' not in call(service, "GET", "/metrics").text
    service.close()
    log.close()
    lines = [json.loads(line) for line in log_file.read_text("utf-8").splitlines()]
    assert not [line for line in lines if line["event"] == "fault"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory of a process from /proc")
def test_10_000_hostile_requests_neither_stop_the_command_nor_fill_its_memory(
    model: Path, tmp_path: Path
) -> None:
    log_file = tmp_path / "log.jsonl"
    with open(log_file, "wb") as log, start(model, stdout=log) as process:
        wait_until(lambda: '"ready"' in log_file.read_text("utf-8"))
        port = int(json.loads(log_file.read_text("utf-8").splitlines()[0])["url"].rpartition(":")[2])

        def megabytes() -> float:
            status = Path(f"/proc/{process.pid}/status").read_text()
            return int(status.partition("VmRSS:")[2].split()[0]) / 1000

        huge = [raw_request(b"x" * 60_000_000, "Connection: close")] * 12
        send_all(port, hostile_requests(1, 500), 0.5)
        before = megabytes()
        statuses = send_all(port, hostile_requests(2, 10_000), 0.5)
        statuses += send_all(port, huge)
        wait_until(lambda: megabytes() - before <= 64)  # once the last photo is freed
        assert not {status for status in statuses if status >= 500} - {503}
        with connect(port) as connection:
            connection.sendall(raw_request(PHOTO, "Connection: close"))
            assert read_all(connection).startswith(b"HTTP/1.1 200")
        process.terminate()
    assert process.returncode == 0
    assert '"fault"' not in log_file.read_text("utf-8")


@pytest.mark.slow
def test_500_slow_connections_do_not_keep_others_from_being_answered(model: Path) -> None:
    service = open_service(model)
    with (
        running(service, header_seconds=3, body_seconds=3) as (server, port),
        contextlib.ExitStack() as stack,
    ):
        slow = [stack.enter_context(connect(port)) for _ in range(500)]
        for number, each in enumerate(slow):
            each.sendall(raw_request(PHOTO)[: 20 if number % 2 else -20])
        for _ in range(20):
            with connect(port) as connection:
                connection.sendall(raw_request(PHOTO, "Connection: close"))
                assert read_all(connection).startswith(b"HTTP/1.1 200")
        for each in slow:
            assert read_all(each).startswith(b"HTTP/1.1 408")
        wait_until(lambda: not server.server_state.connections and service._memory._used == 0)
    service.close()
