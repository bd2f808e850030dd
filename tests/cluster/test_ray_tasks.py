"""Calls in the tasks of a Ray cluster: each in a process of its own, and what fails is one result."""

from __future__ import annotations

import csv
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cluster.nodes import Nodes

import headstart as hs
from headstart.cluster.tasks import in_tasks
from headstart.errors import DataError

pytestmark = [
    pytest.mark.ray,
    *(pytest.mark.filterwarnings(f"ignore::{name}") for name in ("DeprecationWarning", "ResourceWarning")),
]


@pytest.fixture(scope="module")
def cluster(ray_nodes: Nodes) -> None:
    import ray

    ray_nodes.have(2)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


def end_with_an_error() -> int:
    raise DataError("no photos")


def be_killed() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


@pytest.mark.usefixtures("cluster")
def test_calls_have_processes_of_their_own_and_failures_are_results() -> None:
    found = dict(in_tasks([os.getpid, os.getpid, end_with_an_error, be_killed]))
    assert len({found[0], found[1], os.getpid()}) == 3
    assert isinstance(found[2], DataError)
    assert isinstance(found[3], RuntimeError)
    assert "its process was lost" in str(found[3])


@pytest.mark.usefixtures("cluster")
def test_recommend_gives_the_same_numbers_by_tasks(photos: Path) -> None:
    names = ["timm/tf_efficientnet_lite0.in1k", "timm/tf_efficientnet_lite1.in1k"]
    here, there = (hs.recommend(photos, backbones=names, size_px=64, ray=ray) for ray in (None, "local"))
    numbers = [[(row.backbone, row.score, row.loss, row.megabytes) for row in each] for each in (here, there)]
    assert numbers[0] == numbers[1]
    assert here.failed == there.failed == {}


@pytest.mark.usefixtures("cluster")
def test_runs_of_the_benchmark_are_rows_whoever_makes_them(
    make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    from benchmarks.defaults import main

    make_photos(tmp_path / "sets" / "good", {"train": 4, "val": 4}, seed=0)
    options = [str(tmp_path / "sets"), "--recipes", "prob", "probe", "--backbones", "default", "--seeds", "0"]
    rows = []
    for name, more in (("here", []), ("there", ["--ray", "local"])):
        main([*options, "--out", str(tmp_path / f"{name}.csv"), *more])
        with (tmp_path / f"{name}.csv").open(newline="") as file:
            found = sorted(csv.DictReader(file), key=lambda row: row["recipe"])
        rows.append([{key: value for key, value in row.items() if key != "seconds"} for row in found])
    assert rows[0] == rows[1]
    assert [bool(row["error"]) for row in rows[0]] == [True, False]
