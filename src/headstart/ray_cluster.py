"""Connects to Ray, a cluster that is running or one on this machine, and makes calls there."""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

from headstart.cores import num_cores
from headstart.errors import ConfigError, requires_extra

Result = TypeVar("Result")

LOCAL: Final = "local"
"""The address that stands for a cluster on this machine."""

_OF_RAY_TRAIN: Final = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # it shows each line twice
    # With logging of its own, Ray Train shows tracebacks of what Headstart reports in a sentence.
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
}

# What a process of a cluster that is already running has to be told; those of a local one inherit it.
_PASSED_ON: Final = (
    *("HEADSTART_CACHE", "TORCH_HOME", "HF_HOME", "OMP_NUM_THREADS"),
    *("GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_WAIT_POLICY", "ORT_DISABLE_TELEMETRY"),
)


@contextmanager
def connected(address: str, num_workers: int = 1) -> Iterator[None]:
    """Connect to Ray inside the block. A program that is already connected keeps its own connection.

    Args:
        address: ``"local"`` to start a cluster on this machine, which ends with the block; or the address of
            a running one, for example ``"auto"`` or ``"10.0.0.1:6379"``.
        num_workers: Processes that a local cluster must be able to run side by side.

    Raises:
        MissingPackageError: Ray is not installed.
        ConfigError: There is no cluster at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report its use to a server
    for name, value in _OF_RAY_TRAIN.items():
        os.environ.setdefault(name, value)
    with requires_extra("ray", "ray"):
        import ray
    if ray.is_initialized():
        yield
        return
    quiet = {"logging_level": logging.ERROR, "logging_config": ray.LoggingConfig(log_level="CRITICAL")}
    try:
        if address == LOCAL:
            ray.init("local", num_cpus=max(num_cores(), num_workers), include_dashboard=False, **quiet)
        else:
            _knock(address)
            passed_on = {n: os.environ[n] for n in (*_PASSED_ON, *_OF_RAY_TRAIN) if n in os.environ}
            ray.init(address, runtime_env={"env_vars": passed_on}, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ConfigError(
            f"ray is {address!r}, but no cluster can be used there: {reason}. Name the address of a running "
            f"cluster, such as 10.0.0.1:6379, or local."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


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
    numbers = {task.remote(call): number for number, call in enumerate(calls)}
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


def _called(call: Callable[[], Result]) -> Result:
    return call()


def _knock(address: str) -> None:
    """Raise ``OSError`` if nothing listens at HOST:PORT; Ray itself would try for minutes."""
    if found := re.fullmatch(r"([\w.-]+):(\d+)", address):
        with socket.create_connection((found[1], int(found[2])), timeout=10):
            pass
