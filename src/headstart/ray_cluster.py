"""Connects to Ray: a cluster that is running, or one on this machine for as long as it is needed."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from headstart.cores import num_cores
from headstart.errors import ConfigError, requires_extra

LOCAL: Final = "local"
"""The address that stands for a cluster on this machine."""

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
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    with requires_extra("ray", "ray"):
        import ray
    if ray.is_initialized():
        yield
        return
    try:
        if address == LOCAL:
            num_cpus = max(num_cores(), num_workers)
            ray.init("local", num_cpus=num_cpus, include_dashboard=False, logging_level=logging.ERROR)
        else:
            passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
            ray.init(address, runtime_env={"env_vars": passed_on}, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ConfigError(
            f"ray is {address!r}, but no cluster can be used there: {reason}. Name the address of a running "
            f"cluster, such as 10.0.0.1:6379, or local."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()
