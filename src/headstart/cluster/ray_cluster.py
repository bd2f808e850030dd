"""Maps photos on a Ray cluster: the same functions as on one machine, in actors that Ray Data starts.

Ray schedules the blocks, starts actors again that have died, and repeats what they had not finished. Results
come back in the order of the photos, so the caller sees no difference.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Generic, Protocol, TypeVar

from headstart.cores import num_cores
from headstart.errors import ConfigError, HeadstartError, UsageError, requires_extra

Item = TypeVar("Item")
Result = TypeVar("Result")

LOCAL: Final = "local"
"""The address that means a cluster on this machine, which ends with the call."""

_BLOCK_PHOTOS: Final = 64  # that an actor maps at a time: about a second
_MOST_TASKS: Final = 5_000
_ACTOR_CORES: Final = 1
_ANSWER_SECONDS: Final = 10.0  # in which a cluster must answer


def refuse_steps(address: str | None) -> None:
    """Raise a ConfigError if a run that trains in gradient steps has the address of a cluster."""
    if address is not None:
        reason = "this run trains in gradient steps, and only a probe on the CPU computes features on Ray"
        advice = "Choose --recipe probe with a backbone that runs without PyTorch, or leave it out."
        raise ConfigError([f"ray is {address!r}, but {reason}. {advice}"])


class Work(Protocol[Item, Result]):
    """What an actor does. It is pickled once, and opened in each actor."""

    def open(self, num_cores: int) -> Callable[[list[Item]], list[Result]]:
        """Return the function that maps items; called once in each actor.

        Args:
            num_cores: Cores that the actor may use.
        """


@dataclass
class RayCluster:
    """A Ray cluster, to which the process is connected from the first pass to the end of the program.

    Args:
        address: Of a running cluster, ``auto`` for the one to which this machine belongs, or ``LOCAL``.
    """

    address: str

    @classmethod
    def of(cls, address: str | None) -> RayCluster | None:
        """Return the cluster at an address; None without an address."""
        return None if address is None else cls(address)

    def map(self, work: Work[Item, Result], items: Iterable[Item]) -> Iterator[Result]:
        """Map items in actors, one per core, and yield the results in the order of the items.

        All items are read before the first result comes.

        Raises:
            MissingPackageError: Ray is not installed.
            UsageError: There is no cluster at the address.
            HeadstartError: As ``work`` in an actor.
        """
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to a server
        # Ray would warn of arguments that are lost with their node: these are on the node of this process.
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        with requires_extra("ray", "The option --ray"):
            import ray
            import ray.data
        self._connect()
        rows = [{"block": pickle.dumps(block)} for block in _blocks(items)]
        if not rows:
            return
        cores = int(ray.cluster_resources().get("CPU", 1))
        actors = max(1, min(cores // _ACTOR_CORES, len(rows)))
        blocks = ray.data.from_items(rows, override_num_blocks=min(len(rows), _MOST_TASKS))
        mapped = blocks.map_batches(
            _Actor,
            fn_constructor_args=[pickle.dumps(work)],
            batch_size=1,
            num_cpus=_ACTOR_CORES,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors, initial_size=actors),
        )
        mapped.context.execution_options.preserve_order = True
        mapped.context.enable_progress_bars = False
        for row in mapped.iter_rows():
            found = pickle.loads(row["block"])
            if isinstance(found, HeadstartError):
                raise found
            yield from found

    def _connect(self) -> None:
        import ray
        import ray.data

        logging.getLogger("ray.data").setLevel(logging.ERROR)  # the command reports its own progress
        if ray.is_initialized():
            return
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if self.address == LOCAL:
            options |= {"address": LOCAL, "num_cpus": num_cores(), "include_dashboard": False}
        else:
            options["address"] = self.address
        try:
            _reach(self.address)
            ray.init(**options)
        except (OSError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"There is no Ray cluster at {self.address!r}: {error}. Name the address of its head node, "
                f"such as 10.0.0.1:6379; {LOCAL!r} starts a cluster on this machine."
            ) from error


def _reach(address: str) -> None:
    """Connect to HOST:PORT once, because Ray would try for minutes.

    Raises:
        OSError: Nothing answers there.
    """
    host, _, port = address.rpartition(":")
    if host and "://" not in address and port.isdecimal():
        socket.create_connection((host, int(port)), _ANSWER_SECONDS).close()


class _Actor(Generic[Item, Result]):
    """What Ray Data calls in the process of an actor."""

    def __init__(self, work: bytes) -> None:
        self._refusal: HeadstartError | None = None
        opened: Work[Item, Result] = pickle.loads(work)
        try:
            self._map = opened.open(_ACTOR_CORES)
        except HeadstartError as error:  # Ray would start the actor again
            self._refusal = error

    def __call__(self, batch: dict[str, Sequence[bytes]]) -> dict[str, list[bytes]]:
        return {"block": [self._mapped(block) for block in batch["block"]]}

    def _mapped(self, block: bytes) -> bytes:
        if self._refusal is not None:
            return pickle.dumps(self._refusal)
        try:
            return pickle.dumps(self._map(pickle.loads(block)))
        except HeadstartError as error:  # Ray would try again what fails in the same way
            return pickle.dumps(error)


def _blocks(items: Iterable[Item]) -> Iterator[list[Item]]:
    remaining = iter(items)
    while block := list(islice(remaining, _BLOCK_PHOTOS)):
        yield block
