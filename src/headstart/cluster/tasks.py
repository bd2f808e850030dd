"""Calls in the tasks of a Ray cluster, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from headstart.cluster.nodes import work_in
from headstart.cores import num_cores

Result = TypeVar("Result")


def in_tasks(calls: Sequence[Callable[[], Result]]) -> Iterator[tuple[int, Result | Exception]]:
    """Make calls in the cluster that is connected, each in a process of its own that ends with it.

    A call gets as many cores as this machine has, or all of a smaller node, so that it computes with as many
    threads as here.

    Args:
        calls: Functions without arguments that can be pickled, like what they return.

    Yields:
        Number of a call and its result, as they end; or the exception that it raised. If its process or node
        is lost, that is a ``RuntimeError``. Nothing is tried again.
    """
    import ray

    cores = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    task = ray.remote(num_cpus=max(1, min(num_cores(), int(max(cores)))), max_calls=1, max_retries=0)(_called)
    numbers = {task.remote(call, str(Path.cwd())): number for number, call in enumerate(calls)}
    waiting = list(numbers)
    while waiting:
        (ended,), waiting = ray.wait(waiting)
        try:
            result: Result | Exception = ray.get(ended)
        except ray.exceptions.RayTaskError as error:
            result = error.cause
        except ray.exceptions.RayError as error:
            result = RuntimeError(f"its process was lost: {' '.join(str(error).split())[:300]}")
        yield numbers[ended], result


def _called(call: Callable[[], Result], folder: str) -> Result:
    work_in(folder)
    return call()
