"""How many processor cores this process may use: by its affinity and by the CPU quota of its container."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

# Where Linux distributions mount cgroups: version 2, and the controller "cpu" of version 1.
_UNIFIED: Final = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
_CPU: Final = ("/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpuacct,cpu")


def num_cores() -> int:
    """Return how many cores this process may use, at least 1.

    These are the processors of its affinity mask (``taskset``, a cpuset), or fewer where the control group of
    the process or one above it (a container, a systemd slice) has a CPU quota: a quota of 2.5 cores counts as
    3, half a core as 1. The answer is found anew in each call, as both may change while the process runs.
    """
    if hasattr(os, "process_cpu_count"):  # Python 3.13
        cores = os.process_cpu_count() or 1
    elif hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(quota) for quota in _quotas())]))


def _quotas() -> Iterator[float]:
    """Yield the CPU quotas, in cores, of the process's control groups and of all groups above them."""
    for line in _read("/proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        # In a container the path may be the host's, below which nothing is mounted; its parents lead to the
        # root of the mount, which is then the container's own group.
        own = PurePosixPath(*(part for part in path.split("/") if part not in ("", "..")))
        groups = [own, *own.parents]
        if not controllers:  # version 2
            for root in _UNIFIED:
                for group in groups:
                    limit, _, period = _read(f"{root}/{group}/cpu.max").partition(" ")
                    yield from _in_cores(limit, period)
        elif "cpu" in controllers.split(","):
            for root in _CPU:
                for group in groups:
                    limit = _read(f"{root}/{group}/cpu.cfs_quota_us")
                    yield from _in_cores(limit, _read(f"{root}/{group}/cpu.cfs_period_us"))


def _in_cores(limit: str, period: str) -> Iterator[float]:
    """Yield the quota that two numbers of microseconds mean; nothing where there is none ("max", -1)."""
    if limit.strip().isdecimal() and period.strip().isdecimal() and int(limit) > 0 and int(period) > 0:
        yield int(limit) / int(period)


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:  # not Linux, no such control group, or hidden from this process
        return ""
