"""Measures how many photos a second the nodes of a Ray cluster map."""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.cluster.nodes import work_in
from headstart.cluster.passes import TASK_CORES, Work, cannot_compute
from headstart.errors import HeadstartError


@dataclass(frozen=True)
class Rate:
    """What one node does.

    Attributes:
        node: Its address.
        num_processes: Processes that it runs side by side, one for each core.
        photos_per_second: Of all its processes together.
    """

    node: str
    num_processes: int
    photos_per_second: float


def rates(work: Work[Any, Any], items: Sequence[Any]) -> list[Rate]:
    """Map the same items in each core of each node of the cluster that is connected, on all at the same time.

    The first half of the items warms up; the time of the second half counts.

    Args:
        work: As for ``RayCluster.map``.
        items: At least two; pickled once for each core.

    Raises:
        UsageError: A node cannot do it, for example because it has no Headstart.
        HeadstartError: As ``work`` on a node.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=TASK_CORES, max_retries=0)(_seconds)
    given = ray.put(pickle.dumps((work, list(items), str(Path.cwd()))))
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= TASK_CORES]
    calls = {}
    for node in nodes:
        place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        num_processes = int(node["Resources"]["CPU"]) // TASK_CORES
        calls[node["NodeID"]] = [
            task.options(scheduling_strategy=place).remote(given) for _ in range(num_processes)
        ]
    found = []
    for node in nodes:
        try:
            seconds = ray.get(calls[node["NodeID"]])
        except ray.exceptions.RayError as error:
            raise cannot_compute(error) from error
        for each in seconds:
            if isinstance(each, HeadstartError):
                raise each
        num_timed = len(items) - len(items) // 2
        photos_per_second = sum(num_timed / each for each in seconds)
        found.append(Rate(node["NodeManagerAddress"], len(seconds), photos_per_second))
    return found


def _seconds(given: bytes) -> float | HeadstartError:
    """Return the time for the second half of items, on one core of a node."""
    work, items, folder = pickle.loads(given)
    work_in(folder)
    half = len(items) // 2
    try:
        mapped = work.open(TASK_CORES)
        mapped(items[:half])
        begun = time.perf_counter()
        mapped(items[half:])
    except HeadstartError as error:
        return error
    return max(time.perf_counter() - begun, 1e-9)
