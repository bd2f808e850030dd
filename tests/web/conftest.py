"""A page of Chromium with headstart-web, and a trained model, shared by the tests of a session."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.in_browser import WEB, Browser
from playwright.sync_api import Page

import headstart as hs
from headstart.demo import make_demo_photos


@pytest.fixture(scope="session")
def browser(pytestconfig: pytest.Config) -> Iterator[Browser]:
    lock = hashlib.sha256((WEB / "package-lock.json").read_bytes()).hexdigest()
    with Browser(pytestconfig.cache.mkdir(f"onnxruntime-web-{lock[:12]}")) as opened:
        yield opened


@pytest.fixture(scope="session")
def demo_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of a probe on the demo's photos, which are in ``photos`` beside it."""
    folder = tmp_path_factory.mktemp("demo")
    make_demo_photos(folder / "photos")
    return hs.train(folder / "photos", folder / "run", recipe="probe", verbose=False).path


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that is empty. An error of its scripts fails the test."""
    with browser.new_context(locale="en-US", accept_downloads=True) as context:
        opened = context.new_page()
        faults: list[str] = []
        opened.on("pageerror", lambda error: faults.append(str(error)))
        yield opened
        assert faults == []
