"""Passes over photos on Ray's own cluster for tests, whose nodes are processes on this machine."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headstart as hs
from headstart.errors import ConfigError

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]  # those of Ray itself

NUM_PHOTOS = 400
SETTINGS: dict[str, Any] = {"size_px": 32, "verbose": False}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of two classes; every hundredth file is damaged, and one is a copy of another."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for number in range(NUM_PHOTOS):
        path = folder / f"{'ab'[number % 2]}" / f"{number:03}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (40, 40, 3), np.uint8)).save(path)
        if number % 100 == 50:
            path.write_bytes(path.read_bytes()[:200])
    (folder / "b" / "copy.jpg").write_bytes((folder / "a" / "000.jpg").read_bytes())
    (folder / "a" / "notes.txt").write_text("no photo")
    return folder


@pytest.fixture
def cluster() -> Iterator[Any]:
    import ray
    from ray.cluster_utils import Cluster

    started = Cluster()
    yield started
    ray.shutdown()
    started.shutdown()


def assert_same(found: hs.Features, expected: hs.Features) -> None:
    """Compare rows byte for byte, and that each photo is a row or is named, once."""
    assert found.num_rows + len(found.unreadable) == NUM_PHOTOS + 1
    assert found.unreadable == expected.unreadable
    assert found.columns.keys() == expected.columns.keys()
    for name, column in expected.columns.items():
        assert found[name].tobytes() == column.tobytes()


def kill_an_actor(cluster: Any) -> None:
    """Kill one process that maps photos, as soon as there is one, in a node of this cluster."""
    raylets = {each.process.pid for node in cluster.list_all_nodes() for each in node.all_processes["raylet"]}
    while True:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                status = (folder / "stat").read_text().rpartition(")")[2].split()
                name = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if int(status[1]) in raylets and name.startswith(b"ray::") and b"MapBatches" in name:
                os.kill(int(folder.name), signal.SIGKILL)
                return
        time.sleep(0.05)


@pytest.mark.parametrize("cores_of_nodes", [(1, 1, 2), (2,), (4,), (1,)])
def test_features_have_the_bits_of_one_machine(
    photos: Path, cluster: Any, cores_of_nodes: tuple[int, ...], tmp_path: Path
) -> None:
    for num_cores in cores_of_nodes:
        cluster.add_node(num_cpus=num_cores)
    expected = hs.features(photos, features="live", **SETTINGS)
    store = str(tmp_path / "store")
    found = hs.features(photos, ray=cluster.address, store=store, **SETTINGS)
    assert_same(found, expected)
    (shard,) = [path for path in (tmp_path / "store").rglob("*.parquet") if "photos-" not in path.parts[-2]]
    before = shard.stat().st_mtime_ns
    if cores_of_nodes == (2,):
        again = hs.features(photos, ray=cluster.address, store=store, **SETTINGS)
        assert_same(again, expected)
        assert len([*shard.parent.iterdir()]) == 1
        assert shard.stat().st_mtime_ns == before


def test_a_killed_actor_and_a_killed_node_cost_time_only(
    photos: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.cluster.passes._BLOCK_PHOTOS", 8)
    for num_cores in (1, 1, 2):
        last = cluster.add_node(num_cpus=num_cores)
    expected = hs.features(photos, features="live", **SETTINGS)

    def kill() -> None:
        kill_an_actor(cluster)
        time.sleep(1)
        cluster.remove_node(last, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    found = hs.features(photos, ray=cluster.address, features="live", **SETTINGS)
    killer.join(timeout=60)
    assert not killer.is_alive()
    assert_same(found, expected)


@pytest.mark.parametrize(("address", "reason"), [("127.0.0.1:1", "refused"), (" ", "is empty")])
def test_an_address_without_a_cluster_is_an_error(photos: Path, address: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=f"ray is '{address}', but no cluster.*{reason}"):
        hs.features(photos, ray=address, features="live", **SETTINGS)
