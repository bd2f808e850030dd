"""Passes over photos on a Ray cluster have the bits of one machine, whatever dies on the way."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image
from tests.cluster.nodes import Nodes

import headstart as hs
from headstart.cluster.connection import connected, lost_head
from headstart.cluster.rates import rates
from headstart.errors import ConfigError, UsageError

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


@pytest.fixture(scope="module")
def expected(photos: Path) -> hs.Features:
    return hs.features(photos, features="live", **SETTINGS)


def assert_same(found: hs.Features, expected: hs.Features) -> None:
    """Compare rows byte for byte, and that each photo is a row or is named, once."""
    assert found.num_rows + len(found.unreadable) == NUM_PHOTOS + 1
    assert found.unreadable == expected.unreadable
    assert found.columns.keys() == expected.columns.keys()
    for name, column in expected.columns.items():
        assert found[name].tobytes() == column.tobytes()


@pytest.mark.parametrize("num_tasks", [1, 2, 4])
@pytest.mark.parametrize("cores", [(4,), (1, 1, 2)], ids=["one node", "three nodes"])
def test_features_have_the_bits_of_one_machine(
    photos: Path,
    expected: hs.Features,
    ray_nodes: Nodes,
    cores: tuple[int, ...],
    num_tasks: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray_nodes.have(*cores)
    # There are not more tasks than blocks.
    monkeypatch.setattr("headstart.cluster.passes._BLOCK_PHOTOS", NUM_PHOTOS // num_tasks + 1)
    assert_same(hs.features(photos, ray=ray_nodes.address, features="live", **SETTINGS), expected)


def test_rows_are_stored_once_and_found_again(
    photos: Path, expected: hs.Features, ray_nodes: Nodes, tmp_path: Path
) -> None:
    ray_nodes.have(1, 1, 2)
    for _ in range(2):
        found = hs.features(photos, ray=ray_nodes.address, store=str(tmp_path), **SETTINGS)
        assert_same(found, expected)
        assert len([path for path in tmp_path.rglob("*.parquet") if "photos-" not in path.parts[-2]]) == 1


def test_the_plan_of_a_probe_times_each_node(photos: Path, ray_nodes: Nodes) -> None:
    ray_nodes.have(1, 1, 2)
    text = hs.plan(photos, recipe="probe", head="linear", features="live", ray=ray_nodes.address, **SETTINGS)
    assert f"{NUM_PHOTOS + 1} rows of {4 * 1280:,} bytes, 2.1 MB" in text
    lines = text.splitlines()
    first = next(number for number, line in enumerate(lines) if line.split()[:1] == ["node"])
    rows = [line.split() for line in lines[first + 1 : first + 5]]
    assert sorted(int(row[1]) for row in rows) == [1, 1, 2, 4]
    shares = [int(row[3]) for row in rows]
    assert abs(sum(shares[:-1]) - NUM_PHOTOS - 1) <= 2  # rounded
    assert shares[-1] == NUM_PHOTOS + 1


class _Unknown:
    """Work that a node cannot open, as if the package that contains it were not installed there."""

    def __reduce__(self) -> tuple[Any, ...]:
        return __import__, ("no_such_package",)


def test_a_node_that_cannot_do_the_work_is_a_sentence(ray_nodes: Nodes) -> None:
    from headstart.cluster.passes import RayCluster

    ray_nodes.have(1, 1, 2)
    work: Any = _Unknown()
    with pytest.raises(UsageError, match=r"cannot compute the pass: .*no_such_package.*All nodes need"):
        list(RayCluster(ray_nodes.address).map(work, range(3)))
    with pytest.raises(UsageError, match=r"cannot compute the pass: .*no_such_package.*All nodes need"):
        rates(work, range(3))


class _Killer:
    """An item that ends the process that unpickles it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os._exit, (3,)


class _Same:
    """Work that returns items as they are, without this module in the process."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, ("type('Same', (), {'open': lambda self, num_cores: list})()",)


def test_photos_that_always_end_the_process_are_given_up(ray_nodes: Nodes) -> None:
    from headstart.cluster.passes import RayCluster

    ray_nodes.have(1, 1, 2)
    work: Any = _Same()
    with pytest.raises(UsageError, match=r"5 processes.* were lost with the same photos, from number 65 on"):
        list(RayCluster(ray_nodes.address).map(work, [*range(99), _Killer()]))
    assert list(RayCluster(ray_nodes.address).map(work, range(99))) == list(range(99))


def test_a_killed_process_and_a_killed_node_cost_time_only(
    photos: Path, ray_nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.cluster.passes._BLOCK_PHOTOS", 8)
    ray_nodes.have(1, 1, 2)
    settings: dict[str, Any] = {"recipe": "probe", "features": "live", "allow_quarantined": 0.5, **SETTINGS}
    expected = hs.train(photos, tmp_path / "here", **settings)

    def kill() -> None:
        ray_nodes.kill_a_process()
        time.sleep(1)
        ray_nodes.kill_one()

    killer = threading.Thread(target=kill)
    killer.start()
    found = hs.train(photos, tmp_path / "there", ray=ray_nodes.address, **settings)
    killer.join(timeout=60)
    assert not killer.is_alive()
    for name in ("model.safetensors", "answers.csv", "quarantine.csv", "photos.csv"):
        assert (found.path / name).read_bytes() == (expected.path / name).read_bytes()
    counts = found.metrics["images"]
    assert counts == expected.metrics["images"]
    assert counts["found"] == NUM_PHOTOS + 2
    assert counts["found"] == counts["used"] + counts["quarantined"] + counts["ignored"]


def test_a_command_starts_a_cluster_on_this_machine_and_says_no_more_than_without(
    photos: Path, tmp_path: Path
) -> None:
    said = []
    for name, options in (("here", []), ("there", ["--ray", "local"])):
        words = ["features", str(photos), "--size-px=32", "--features=live", f"--out={tmp_path / name}.npz"]
        command = [sys.executable, "-m", "headstart", *words, *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 1  # there are damaged photos
        said.append([line for line in done.stderr.splitlines() if "images/s" not in line])
    assert (tmp_path / "there.npz").read_bytes() == (tmp_path / "here.npz").read_bytes()
    assert said[0] == said[1]


def test_iterators_and_threads_share_one_connection(
    ray_nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a program that is not connected itself: in this one, the fixture has done it."""
    from headstart.cluster import connection
    from headstart.cluster.passes import RayCluster

    ray_nodes.have(1, 1, 2)
    monkeypatch.setattr(connection, "_blocks", 0)
    ended: list[str] = []
    connections: list[str] = []
    monkeypatch.setattr("ray.is_initialized", lambda: len(connections) > len(ended))
    monkeypatch.setattr(connection, "_connect", lambda address, _: connections.append(address))
    monkeypatch.setattr("ray.shutdown", lambda: ended.append("ended"))
    cluster, work = RayCluster(ray_nodes.address), _Same()
    one, other = (iter(cluster.map(cast(Any, work), range(600))) for _ in range(2))
    assert [next(one), next(other)] == [0, 0]
    assert list(one) == list(range(1, 600))
    assert not ended
    other.close()  # type: ignore[attr-defined]
    assert (connections, ended) == ([ray_nodes.address], ["ended"])


def test_relative_paths_mean_the_same_on_the_nodes(
    photos: Path, expected: hs.Features, ray_nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray_nodes.have(1, 1, 2)
    monkeypatch.chdir(photos.parent)
    found = hs.features(photos.name, ray=ray_nodes.address, features="live", **SETTINGS)
    assert found["vector"].tobytes() == expected["vector"].tobytes()


def test_one_cluster_has_several_addresses(ray_nodes: Nodes) -> None:
    port = ray_nodes.address.rpartition(":")[2]
    with connected(f"127.0.0.1:{port}"), connected(f"localhost:{port}"):
        pass


def test_a_pass_says_that_it_waits(ray_nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    from headstart.cluster.passes import RayCluster

    ray_nodes.have(1, 1, 2)
    monkeypatch.setattr("headstart.cluster.passes._PATIENCE_SECONDS", 0.0)
    said: list[str] = []
    work: Any = _Same()
    assert list(RayCluster(ray_nodes.address, said.append).map(work, range(999))) == list(range(999))
    assert len(said) == 1
    assert "Of its 4 cores" in said[0]
    monkeypatch.setattr("headstart.cluster.passes.lost_head", lambda: "10.0.0.1:6379")
    assert list(RayCluster(ray_nodes.address, said.append).map(work, range(9))) == list(range(9))
    assert "The head of the Ray cluster at 10.0.0.1:6379 does not answer" in said[1]


def test_a_head_is_lost_if_nothing_listens_there(ray_nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    assert lost_head() is None
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(gcs_address="127.0.0.1:1"))
    assert lost_head() == "127.0.0.1:1"


@pytest.mark.parametrize(("address", "reason"), [("127.0.0.1:1", "refused"), (" ", "is empty")])
def test_an_address_without_a_cluster_is_an_error(
    photos: Path, address: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with pytest.raises(ConfigError, match=f"ray is '{address}', but no cluster.*{reason}"):
        hs.features(photos, ray=address, features="live", **SETTINGS)


def test_a_program_that_is_connected_to_another_cluster_is_told_so(photos: Path, ray_nodes: Nodes) -> None:
    ray_nodes.have(1)
    with pytest.raises(ConfigError, match="is connected to the cluster at"):
        hs.features(photos, ray="127.0.0.1:1", features="live", **SETTINGS)
