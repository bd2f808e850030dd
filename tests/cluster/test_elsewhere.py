"""What actors do, in this process: everything is pickled on its way, as on a cluster."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headstart as hs
from headstart.cluster.passes import RayCluster, _Actor, _blocks
from headstart.errors import MissingPackageError, UsageError

SETTINGS: dict[str, Any] = {"size_px": 32, "verbose": False}


def map_here(cluster: RayCluster, work: Any, items: Iterable[Any]) -> Iterator[Any]:
    alone: Any = SimpleNamespace(own_key=str, begin=lambda key: True, end=lambda key: None)
    actor: Any = _Actor(pickle.dumps(work), alone)
    for block in _blocks(items):
        found = pickle.loads(actor({"first": np.array([0]), "block": [pickle.dumps(block)]})["block"][0])
        if isinstance(found, Exception):
            raise found
        yield from found


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Seven photos of two classes, of which one is damaged."""
    monkeypatch.setattr(RayCluster, "map", map_here)
    generator = np.random.default_rng(0)
    for number in range(7):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (40, 40, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:200])
    return tmp_path / "photos"


def test_a_pass_elsewhere_gives_the_same_rows_and_fills_the_store(photos: Path, tmp_path: Path) -> None:
    expected = hs.features(photos, features="live", **SETTINGS)
    store = tmp_path / "store"
    for _ in range(2):
        found = hs.features(photos, ray="here", store=store, **SETTINGS)
        assert found.unreadable == expected.unreadable
        assert len(found.unreadable) == 1
        for name, column in expected.columns.items():
            assert found[name].tobytes() == column.tobytes()
        assert len([*store.rglob("*.parquet")]) == 2  # rows, and facts about photos, each stored once
    assert hs.features(photos, store=store, **SETTINGS)["vector"].tobytes() == expected["vector"].tobytes()


def test_a_node_with_another_processor_is_refused(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.frozen.elsewhere.machine", lambda: "another processor")
    with pytest.raises(UsageError, match="machine 'another processor' instead of"):
        hs.features(photos, ray="here", features="live", **SETTINGS)


def test_findings_do_not_depend_on_where_photos_are_read(photos: Path, tmp_path: Path) -> None:
    expected = hs.check(photos, **SETTINGS, allow_quarantined=0.5)
    found = hs.check(photos, ray="here", store=tmp_path / "store", **SETTINGS, allow_quarantined=0.5)
    assert repr(found) == repr(expected)


def test_ray_is_named_where_it_is_missing(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'headstart\[ray\]'"):
        hs.features(photos, ray="local", features="live", **SETTINGS)
