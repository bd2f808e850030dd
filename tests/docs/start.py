"""What pages start with, made once for all of them: photos, and what the default backbone computes for them.

Apart from progress, a page prints the same lines without it: stored rows are the same bits as computed ones.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from filelock import FileLock

_WHOLE = "whole"
# Their output depends on what the cache contains: they list it, or compute no rows of their own.
DEPEND_ON_THE_CACHE = ("docs/explanation/stages-and-store.md", "docs/tutorials/own-network.md")


def make_start(folder: Path) -> Path:
    """Make the folder unless it exists; several processes may ask for the same one. Return it."""
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / _WHOLE).exists():
            make_photos(folder / "work")
            _fill_cache(folder)
            (folder / _WHOLE).touch()
    return folder


def make_photos(folder: Path) -> None:
    """Make ``photos`` and ``new`` in a folder, as ``headstart demo --photos`` does."""
    from headstart.demo import make_example_photos  # imports scikit-image, which pages that copy do without

    make_example_photos(folder)


def copy_start(folder: Path, home: Path, *, photos: bool) -> None:
    """Copy the cache, and the photos if the page does not make them itself, to the home of a page."""
    if photos:
        shutil.copytree(folder / "work", home / "work")
    shutil.copytree(folder / "cache", home / ".cache" / "headstart")


def _fill_cache(folder: Path) -> None:
    environment = os.environ | {"HEADSTART_CACHE": str(folder / "cache")}
    with tempfile.TemporaryDirectory() as scratch:
        for command in (
            ["train", str(folder / "work" / "photos"), "--recipe", "probe", "--out", "run"],
            ["demo", "--out", "demo"],
        ):
            done = subprocess.run(
                [sys.executable, "-m", "headstart", *command],
                cwd=scratch,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            assert done.returncode == 0, done.stdout
