"""What several tests share: nothing of the user's is read or written, and photos to train on."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from headstart.training.watch import curves

if TYPE_CHECKING:
    from tests.cluster.nodes import Nodes

_OF_CI = {"slow", "compiler", "browser", "proxy", "docs", "ray"}

if "PYTEST_XDIST_WORKER" in os.environ:  # each has a core: threads of several would wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse markers that a file's text does not name: .ci/run finds the files of a marker by their text."""
    for path, own in groupby(items, lambda item: item.path):
        marks = {mark.name for item in own for mark in item.iter_markers()} & _OF_CI
        if missing := [name for name in marks if f"mark.{name}" not in path.read_text("utf-8")]:
            raise pytest.UsageError(
                f"{path} has tests marked {missing}, but does not contain mark.{missing[0]}"
            )


@pytest.fixture(scope="session", autouse=True)
def _curves_are_drawn_once() -> Iterator[None]:
    """Give every run the first one's picture; test_curves.py draws its own."""
    draw, drawn = curves.curves_png, []

    def curves_png(*arguments: Any, **named: Any) -> bytes:
        if not drawn:
            drawn.append(draw(*arguments, **named))
        return drawn[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(curves, "curves_png", curves_png)
        yield


@pytest.fixture(scope="module", autouse=True)
def _old_objects_are_no_garbage() -> None:
    """Let the garbage collection after each phase look at what is new, not at libraries and other tests."""
    gc.freeze()


@pytest.fixture(autouse=True)
def _isolated(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep caches of weights and features out of the user's home, and the network out of the tests."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TORCH_HOME", str(home / "torch"))
    monkeypatch.setenv("HF_HUB_CACHE", str(home / "huggingface"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HEADSTART_CACHE", str(home / "headstart"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))


COLOURS = {"blue": (60, 90, 200), "green": (70, 180, 80), "red": (200, 70, 60)}


def paint_photos(
    root: Path, counts: dict[str, int], *, seed: int = 0, colours: list[str] | None = None
) -> Path:
    """Make JPEGs of noise around a colour: ``counts`` photos a class for each split ("" for none)."""
    generator = np.random.default_rng(seed)
    for split, count in counts.items():
        for name in COLOURS:
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                noise = generator.normal(0, 50, (36, 40, 3))
                pixels = np.clip(np.array(COLOURS[name]) + noise, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{name}{number}.jpg")
    return root


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three classes of twelve photos, and a test split of four each."""
    return paint_photos(tmp_path_factory.mktemp("data") / "photos", {"train": 12, "test": 4})


@pytest.fixture(scope="session")
def make_photos() -> Callable[..., Path]:
    return paint_photos


@pytest.fixture(scope="session")
def ray_nodes() -> Iterator[Nodes]:
    """One Ray cluster for all tests of this process."""
    from tests.cluster.nodes import Nodes

    nodes = Nodes()
    yield nodes
    nodes.close()


@pytest.fixture(autouse=True, scope="session")
def no_package_for_heic() -> Iterator[None]:
    """Hide installed packages that read HEIC, so that tests have the same results everywhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("headstart.images.heif._package", lambda: "")
        yield
