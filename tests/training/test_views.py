"""Views through the whole of training: what is stored of them is the same, whoever computes it."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import headstart as hs
from headstart.config.operations import OPERATIONS

EVERYTHING = ", ".join(
    f'{{op = "{name}", p = 0.5}}' for name in OPERATIONS if name not in ("padded-crop", "randaugment")
)
RECIPE = f'[[phases]]\nname = "head"\nepochs = 2\nviews = 2\nhead_lr = 0.01\naugment = [{EVERYTHING}]\n'
SETTINGS = {
    "backbone": "timm/test_resnet",
    "weights": "random",
    "size_px": 32,
    "features": "store",
    "seed": 5,
}

Rows = dict[tuple[str, bytes], bytes]


def rows_of(data: Path, folder: Path, *, num_processes: int = 1, workers: int | None = None) -> Rows:
    """Train with an empty store, and return what is in it: by fingerprint and key, a row's bytes."""
    recipe, cache = folder / "recipe.toml", folder / "cache"
    recipe.write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(cache))
        if num_processes == 1:
            hs.train(data, folder / "run", recipe=recipe, workers=workers, **SETTINGS)
        else:
            command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
            command += [f"--nproc_per_node={num_processes}", "-m", "headstart", "train", str(data)]
            command += [f"--{key.replace('_', '-')}={value}" for key, value in SETTINGS.items()]
            command += [f"--recipe={recipe}", f"--out={folder / 'run'}"]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
            assert done.returncode == 0, done.stderr
    rows = {}
    for path in set(cache.rglob("*.sqlite")) - set(cache.rglob("photos-*")):
        with contextlib.closing(sqlite3.connect(path)) as store:
            rows |= {(path.name, key): value for key, value in store.execute("SELECT key, value FROM rows")}
    return rows


@pytest.fixture(scope="module")
def alone(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """The rows of all 48 photos as they are, by which they are compared, and of two views of 30 photos."""
    rows = rows_of(photos, tmp_path_factory.mktemp("alone"), workers=0)
    num_views = sum(key[-4:] != bytes(4) for _, key in rows)
    assert len(rows) - num_views == 48
    assert num_views == 2 * 30
    return rows


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_views_are_the_same_with_any_number_of_workers(
    alone: Rows, workers: int, photos: Path, tmp_path: Path
) -> None:
    assert rows_of(photos, tmp_path, workers=workers) == alone


@pytest.mark.slow
def test_views_are_the_same_with_two_processes(alone: Rows, photos: Path, tmp_path: Path) -> None:
    assert rows_of(photos, tmp_path, num_processes=2) == alone


@pytest.mark.slow
def test_views_are_the_same_when_photos_are_added(
    alone: Rows, photos: Path, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    more = tmp_path / "photos"
    make_photos(more, {"train": 15, "test": 4}, seed=0)  # the same photos, and others
    for path in (photos / "train").rglob("*.jpg"):
        (more / path.relative_to(photos)).write_bytes(path.read_bytes())
    rows = rows_of(more, tmp_path)
    both = rows.keys() & alone.keys()
    assert len(rows) > len(alone)
    assert sum(key[-4:] != bytes(4) for _, key in both) > 40  # some may have become validation photos
    assert all(rows[each] == alone[each] for each in both)
