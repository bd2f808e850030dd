"""The service asks nobody for anything: no connections to other places, and no other programs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from serving_calls import connect, jpeg, raw_request, read_all

WATCHED = """
import os, runpy, sys

def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.gethostbyname", "subprocess.Popen", "os.system"):
        os.write(2, f"OUTBOUND {event} {arguments}".encode())
        os._exit(99)

sys.addaudithook(watch)
sys.argv[0] = "headstart"
runpy.run_module("headstart", run_name="__main__")
"""


@pytest.mark.skipif(os.name == "nt", reason="asyncio connects to itself on Windows")
def test_no_connection_is_opened_and_no_program_started(model: Path) -> None:
    command = [sys.executable, "-c", WATCHED, "serve", model, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            lines = [json.loads(process.stdout.readline()) for _ in range(2)]
            port = int(lines[0]["url"].rpartition(":")[2])
            for request in (
                raw_request(jpeg("red"), "Connection: close"),
                raw_request(b"http://127.0.0.1:9/photo.jpg", "Connection: close"),
                raw_request(jpeg("red"), "Connection: close").replace(
                    b"predict", b"predict?model=http://127.0.0.1:9/x"
                ),
                b"GET http://127.0.0.1:9/ HTTP/1.1\r\nHost: 127.0.0.1:9\r\nConnection: close\r\n\r\n",
            ):
                with connect(port) as connection:
                    connection.sendall(request)
                    assert read_all(connection).startswith(b"HTTP/1.1 ")
        finally:
            process.terminate()
        assert "OUTBOUND" not in process.stderr.read()
    assert process.returncode == 0
