"""A page of Chromium with headstart-web, shared by the tests of a session."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from benchmarks.in_browser import WEB, Browser


@pytest.fixture(scope="session")
def browser(pytestconfig: pytest.Config) -> Iterator[Browser]:
    lock = hashlib.sha256((WEB / "package-lock.json").read_bytes()).hexdigest()
    with Browser(pytestconfig.cache.mkdir(f"onnxruntime-web-{lock[:12]}")) as opened:
        yield opened
