"""The site is built without a warning, and its pages request nothing from other hosts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.docs.markdown import ROOT

pytestmark = pytest.mark.docs
_REQUESTS = re.compile(
    r"""(?:\ssrc=|<link[^>]*(?:stylesheet|icon|preload|preconnect|prefetch)[^>]*href=|url\(|@import\s)["']?"""
    r"""((?:https?:)?//[^"'\s)>]+)"""
)


def test_the_site_is_built_strictly_and_requests_nothing_from_other_hosts(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    files = [path for path in (tmp_path / "site").rglob("*") if path.suffix in (".html", ".css")]
    assert len(files) > len(list(ROOT.glob("docs/**/*.md")))
    assert 'href="assets/site.css"' in (tmp_path / "site" / "index.html").read_text("utf-8")
    requests = {(path.name, each) for path in files for each in _REQUESTS.findall(path.read_text("utf-8"))}
    assert not requests
