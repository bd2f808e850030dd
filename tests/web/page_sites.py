"""Sites with the page: a web folder on any server, or a service; and what all tests do with a page."""

from __future__ import annotations

import csv
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from playwright.sync_api import Page, expect

SECONDS_MS = 60_000


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}  # noqa: RUF012

    keep_for_seconds = 0

    def end_headers(self) -> None:
        if self.keep_for_seconds:
            self.send_header("Cache-Control", f"max-age={self.keep_for_seconds}")
        super().end_headers()

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


@contextmanager
def served(folder: Path, keep_for_seconds: int = 0) -> Iterator[str]:
    """Serve a folder on this machine and yield the address.

    Args:
        folder: The folder.
        keep_for_seconds: How long browsers may keep its files without asking.
    """
    handler = type("Handler", (_Handler,), {"keep_for_seconds": keep_for_seconds})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def service(*arguments: object, token: str | None = None) -> Iterator[str]:
    """Start ``headstart serve`` and yield its address."""
    command = [sys.executable, "-m", "headstart", "serve", *map(str, arguments), "--port", "0"]
    environment = os.environ | ({"HEADSTART_TOKEN": token} if token else {})
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stderr
            said = process.stderr.readline()
            found = re.search(r"http://\S+(?=\. Stop)", said)
            assert found, said
            yield f"{found[0]}/"
        finally:
            process.terminate()


def wait_for(page: Page, count: int, failed: int = 0) -> None:
    """Wait until all photos have been sent, and as many as said could not be read."""
    whole = f"{count} photos predicted" if count > 1 else "1 photo predicted"
    if failed:
        whole = f"{count - failed} of {count} photos predicted, {failed} could not be read"
    expect(page.locator("#status")).to_contain_text(re.compile(f"^{whole}"), timeout=SECONDS_MS)


def read_csv(page: Page) -> list[dict[str, str]]:
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Save as CSV").click()
    text = waiting.value.path().read_text("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))
