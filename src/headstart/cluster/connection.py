"""Connects to Ray: a cluster that is running, or one on this machine."""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from headstart.cores import num_cores
from headstart.errors import ConfigError, requires_extra

LOCAL: Final = "local"
"""The address that stands for a cluster on this machine."""

_ANSWER_SECONDS: Final = 10.0  # in which a cluster must answer
_HOST_PORT: Final = r"([\w.-]+):(\d+)"

MOST_TRIES: Final = 5
"""How often a task is begun whose process is lost each time."""

TOKENS: Final = (
    "If the cluster requires Ray's token, set the environment variable RAY_AUTH_MODE=token; if it does not, "
    "RAY_AUTH_MODE=disabled."
)
"""What helps if processes of a cluster do not answer each other."""

# Before Ray is imported.
_SETTINGS: Final = {
    "RAY_USAGE_STATS_ENABLED": "0",  # it would report its use to a server
    "RAY_task_oom_retries": str(MOST_TRIES - 1),  # of tasks that exceed the memory; by default without end
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",  # it shows each line twice
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # nothing uses it, and it prints an error of Ray's
    # With logging of its own, Ray Train shows tracebacks of what Headstart reports in a sentence.
    "RAY_TRAIN_ENABLE_CONTROLLER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
}

# Environment variables for the processes of a running cluster; those of a local one inherit them.
_PASSED_ON: Final = (
    *("HEADSTART_CACHE", "TORCH_HOME", "HF_HOME", "OMP_NUM_THREADS"),
    *("GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_WAIT_POLICY", "ORT_DISABLE_TELEMETRY"),
    *_SETTINGS,
)


_lock = threading.RLock()  # an iterator may be deleted, and so ended, while another one begins
_blocks = 0
"""How many blocks use a connection that the first of them has opened."""


@contextmanager
def connected(address: str, num_workers: int = 0) -> Iterator[None]:
    """Connect to Ray inside the block. A program that is already connected keeps its connection.

    Blocks that overlap, such as those of two iterators or of two threads, share one connection. It ends with
    the last of them.

    Args:
        address: ``"local"`` to start a cluster on this machine, which ends with the block; or the address of
            a running one, for example ``"auto"`` or ``"10.0.0.1:6379"``.
        num_workers: Processes that a local cluster must be able to run side by side, and whose output is
            shown; by default none is.

    Raises:
        MissingPackageError: Ray is not installed.
        ConfigError: There is no cluster at the address, or the program is connected to another one.
    """
    global _blocks
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    if not num_workers:
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it warns of what it repairs itself
    with requires_extra("ray", "The option --ray"):
        import ray
    with _lock:
        if is_new := not ray.is_initialized():
            _connect(address, num_workers)
            _blocks = 0  # a program that has called ray.shutdown() itself has ended ours, too
        else:
            _refuse_another(address)
        is_ours = is_new or _blocks > 0
        _blocks += is_ours
    try:
        yield
    finally:
        with _lock:
            _blocks -= is_ours
            if is_ours and not _blocks:
                ray.shutdown()


def _connect(address: str, num_workers: int) -> None:
    import ray

    quiet = {
        "log_to_driver": num_workers > 0,
        "logging_level": logging.ERROR,
        "logging_config": ray.LoggingConfig(log_level="CRITICAL"),
    }
    # Otherwise Ray reports lost processes and nodes on standard output, among the predictions of a command.
    ray._private.worker._worker_logs_enabled = num_workers > 0
    advice = ""
    try:
        if address == LOCAL:
            options: dict[str, Any] = {"num_cpus": max(num_cores(), num_workers), "include_dashboard": False}
        else:
            _knock(address)
            advice = f" {TOKENS}"  # because something listens there
            options = {"runtime_env": {"env_vars": _passed_on()}}
        with _silent_standard_error():
            ray.init(address, **options, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ConfigError(
            f"ray is {address!r}, but no cluster can be used there: {reason}. Name the address of a running "
            f"cluster, such as 10.0.0.1:6379, or local.{advice}"
        ) from error


def _refuse_another(address: str) -> None:
    """Raise ``ConfigError`` if this process is connected to another cluster than that at HOST:PORT."""
    import ray

    own = str(ray.get_runtime_context().gcs_address)
    if not (asked := re.fullmatch(_HOST_PORT, address)) or address == own:
        return
    own_host, _, own_port = own.rpartition(":")
    try:
        host = socket.gethostbyname(asked[1])
    except OSError:
        host = asked[1]
    is_here = host.startswith("127.") and own_host == ray.util.get_node_ip_address()
    if asked[2] != own_port or not (host == own_host or is_here):
        raise ConfigError(
            f"ray is {address!r}, but this program is connected to the cluster at {own}. Name that one, or "
            f"disconnect first: call ray.shutdown(), or close the iterator that uses it."
        )


@contextmanager
def _silent_standard_error() -> Iterator[None]:
    """Close standard error inside the block to code that is not Python: Ray announces its log level there."""
    sys.stderr.flush()
    own, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(own, 2)
        os.close(own)
        os.close(nowhere)


def lost_head() -> str | None:
    """Return the address of the head of the cluster if nothing listens there any more, else None.

    Whatever else is asked of Ray waits for the head, and Ray ends the process after a minute without it.
    """
    import ray
    import ray.util.client

    if ray.util.client.ray.is_connected():  # by ray://, from where the head itself need not be reachable
        return None
    address = str(ray.get_runtime_context().gcs_address)
    try:
        _knock(address)
    except OSError:
        return address
    return None


def _passed_on() -> dict[str, Any]:
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


def _knock(address: str) -> None:
    """Raise ``OSError`` if nothing listens at HOST:PORT; Ray itself would try for minutes.

    Raises:
        ValueError: The address is empty, which Ray would take for none.
    """
    if not address.strip():
        raise ValueError("the address is empty")
    if found := re.fullmatch(_HOST_PORT, address):
        socket.create_connection((found[1], int(found[2])), _ANSWER_SECONDS).close()
