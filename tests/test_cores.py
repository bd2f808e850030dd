"""The cores of a container, whose files are played: the tests pass on any machine and in any container."""

from __future__ import annotations

import builtins
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headstart
from headstart.cores import num_cores
from headstart.inference.runtime import map_in_order

Container = Callable[[dict[str, str], int], None]


@pytest.fixture
def container(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Container:
    """Play a machine of so many processors whose control groups are the given files, and no others."""

    def play(files: dict[str, str], processors: int = 64) -> None:
        real_open = builtins.open

        def opened(path: Any, *args: Any, **kwargs: Any) -> Any:
            name = os.path.normpath(path) if isinstance(path, (str, os.PathLike)) else ""
            if name in files:
                played = tmp_path / "played"
                played.write_text(files[name])
                return real_open(played, *args, **kwargs)
            if name.startswith(("/proc/self/cgroup", "/sys/fs/cgroup")):
                raise FileNotFoundError(name)
            return real_open(path, *args, **kwargs)

        monkeypatch.setattr(builtins, "open", opened)
        monkeypatch.setattr(os, "cpu_count", lambda: processors)
        for name, answer in (
            ("sched_getaffinity", lambda _: set(range(processors))),
            ("process_cpu_count", lambda: processors),
        ):
            if hasattr(os, name):
                monkeypatch.setattr(os, name, answer)

    return play


V2 = {"/proc/self/cgroup": "0::/\n"}
NESTED = {"/proc/self/cgroup": "0::/kubepods/pod7/app\n"}
V1 = {"/proc/self/cgroup": "4:memory:/docker/f00\n3:cpu,cpuacct:/docker/f00\n2:cpuset:/\n0::/\n"}


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 64),
        (V2, 64),
        (V2 | {"/sys/fs/cgroup/cpu.max": "max 100000\n"}, 64),
        (V2 | {"/sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        (V2 | {"/sys/fs/cgroup/cpu.max": "250000 100000\n"}, 3),
        (V2 | {"/sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        (V2 | {"/sys/fs/cgroup/cpu.max": "1000 1000000\n"}, 1),
        (V2 | {"/sys/fs/cgroup/cpu.max": "9900000 100000\n"}, 64),
        (V2 | {"/sys/fs/cgroup/unified/cpu.max": "400000 100000\n"}, 4),
        (NESTED | {"/sys/fs/cgroup/kubepods/pod7/app/cpu.max": "300000 100000\n"}, 3),
        (NESTED | {"/sys/fs/cgroup/kubepods/cpu.max": "500000 100000\n"}, 5),
        (
            NESTED
            | {
                "/sys/fs/cgroup/kubepods/cpu.max": "200000 100000\n",
                "/sys/fs/cgroup/kubepods/pod7/cpu.max": "max 100000\n",
                "/sys/fs/cgroup/kubepods/pod7/app/cpu.max": "400000 100000\n",
            },
            2,
        ),
        ({"/proc/self/cgroup": "0::/../../app\n", "/sys/fs/cgroup/app/cpu.max": "600000 100000\n"}, 6),
        ({"/proc/self/cgroup": "0::/a:b\n", "/sys/fs/cgroup/a:b/cpu.max": "700000 100000\n"}, 7),
        (
            V1
            | {
                "/sys/fs/cgroup/cpu,cpuacct/docker/f00/cpu.cfs_quota_us": "150000\n",
                "/sys/fs/cgroup/cpu,cpuacct/docker/f00/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
        # Inside a container, the path is the host's and the mount begins at the container's own group.
        (
            V1
            | {
                "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000\n",
                "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            V1
            | {
                "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            64,
        ),
        (V1 | {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000\n"}, 64),
        (V2 | {"/sys/fs/cgroup/cpu.max": "not numbers\n"}, 64),
        ({"/proc/self/cgroup": "no control groups\n"}, 64),
    ],
)
def test_a_quota_of_any_control_group_counts(container: Container, files: dict[str, str], cores: int) -> None:
    container(files, 64)
    assert num_cores() == cores


def test_affinity_counts_where_it_is_less_than_the_quota(container: Container) -> None:
    container(V2 | {"/sys/fs/cgroup/cpu.max": "400000 100000\n"}, 3)
    assert num_cores() == 3


def test_there_is_always_a_core(container: Container) -> None:
    container({}, 0)
    assert num_cores() == 1


def test_threads_are_as_many_as_the_container_has_cores(container: Container) -> None:
    container(V2 | {"/sys/fs/cgroup/cpu.max": "200000 100000\n"}, 64)
    names = set(map_in_order(lambda _: threading.current_thread().name, range(500)))
    assert len(names) <= 3


@pytest.mark.parametrize(("asked", "threads"), [(None, 1), ("3", 3)])
def test_pytorch_has_as_many_threads_as_the_container_has_cores_or_the_user_wants(
    container: Container,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: str | None,
    threads: int,
) -> None:
    import torch
    from torch import nn

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    seen = set()
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    network[0].register_forward_hook(lambda *_: seen.add(torch.get_num_threads()))
    before = torch.get_num_threads()
    torch.set_num_threads(3)  # as PyTorch does in a container with a quota on a machine of three processors
    try:
        container(V2 | {"/sys/fs/cgroup/cpu.max": "50000 100000\n"}, 3)
        phase = {"name": "all", "unfreeze": "all", "epochs": 1}
        headstart.train(photos, tmp_path / "run", network=network, size_px=32, phases=[phase])
        assert torch.get_num_threads() == 3  # what the caller had
    finally:
        torch.set_num_threads(before)
    assert seen == {threads}
