"""Maps photos on a Ray cluster: the same functions as on one machine, in actors that Ray Data starts.

Ray schedules the blocks, starts actors again that have died, and repeats what they had not finished. What
ends its actor each time is given up. Results come back in the order of the photos, so the caller sees no
difference.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Generic, Protocol, TypeVar

from headstart.cluster.attempts import MOST, Attempts
from headstart.cluster.connection import connected
from headstart.errors import ConfigError, HeadstartError, UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")

_BLOCK_PHOTOS: Final = 64  # that an actor maps at a time: about a second
_MOST_TASKS: Final = 5_000
ACTOR_CORES: Final = 1


def refuse_steps(address: str | None) -> None:
    """Raise ``ConfigError`` if a run that trains in steps in this process has the address of a cluster."""
    if address is not None:
        raise ConfigError(
            f"ray is {address!r}, and this run trains in gradient steps. Add num_workers, the number of "
            f"processes that train together. Without it, only a probe on the CPU (recipe = 'probe', with a "
            f"backbone that runs without PyTorch) uses a cluster."
        )


class Work(Protocol[Item, Result]):
    """What an actor does. It is pickled once, and opened in each actor."""

    def open(self, num_cores: int) -> Callable[[list[Item]], list[Result]]:
        """Return the function that maps items; called once in each actor.

        Args:
            num_cores: Cores that the actor may use.
        """


@dataclass
class RayCluster:
    """A Ray cluster on which passes over photos run.

    Args:
        address: As for ``connected``.
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
            ConfigError: There is no cluster at the address.
            UsageError: The cluster cannot do it, for example because a node has no Headstart.
            HeadstartError: As ``work`` in an actor.
        """
        with connected(self.address):
            yield from _mapped(work, items)


def _mapped(work: Work[Item, Result], items: Iterable[Item]) -> Iterator[Result]:
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # the command reports progress and errors
    blocks_of_items = enumerate(_blocks(items))
    rows = [{"first": n * _BLOCK_PHOTOS, "block": pickle.dumps(block)} for n, block in blocks_of_items]
    if not rows:
        return
    cores = int(ray.cluster_resources().get("CPU", 1))
    actors = max(1, min(cores // ACTOR_CORES, len(rows)))
    blocks = ray.data.from_items(rows, override_num_blocks=min(len(rows), _MOST_TASKS))
    mapped = blocks.map_batches(
        _Actor,
        fn_constructor_args=[pickle.dumps(work), Attempts()],
        batch_size=1,
        num_cpus=ACTOR_CORES,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors, initial_size=actors),
    )
    mapped.context.execution_options.preserve_order = True
    mapped.context.enable_progress_bars = False
    rows_found = iter(mapped.iter_rows())
    while True:
        try:
            found = pickle.loads(next(rows_found)["block"])
        except StopIteration:
            return
        except ray.exceptions.RayError as error:
            raise cannot_compute(error) from error
        if isinstance(found, HeadstartError):
            raise found
        yield from found


class _Actor(Generic[Item, Result]):
    """What Ray Data calls in the process of an actor."""

    def __init__(self, work: bytes, attempts: Attempts) -> None:
        self._refusal: HeadstartError | None = None
        self._attempts = attempts
        opened: Work[Item, Result] = pickle.loads(work)
        own_key = attempts.own_key()
        if not attempts.begin(own_key):
            self._refusal = _given_up("before they had read a photo")
            return
        try:
            self._map = opened.open(ACTOR_CORES)
        except HeadstartError as error:  # Ray would start the actor again
            self._refusal = error
        attempts.end(own_key)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        return {"block": list(map(self._mapped, batch["first"].tolist(), batch["block"]))}

    def _mapped(self, first: int, block: bytes) -> bytes:
        if self._refusal is not None:
            return pickle.dumps(self._refusal)
        if not self._attempts.begin(first):
            return pickle.dumps(_given_up(f"with the same photos, from number {first + 1:,} on"))
        try:
            found = pickle.dumps(self._map(pickle.loads(block)))
        except HeadstartError as error:  # Ray would try again what fails in the same way
            found = pickle.dumps(error)
        self._attempts.end(first)
        return found


def cannot_compute(error: Exception) -> UsageError:
    """Return the error for what Ray has raised."""
    reason = str(error).strip().splitlines()[-1].rstrip(".")
    return UsageError(
        f"The Ray cluster cannot compute the pass: {reason}. All nodes need the same version of Headstart "
        f"and of its packages; ray status shows their resources."
    )


def _given_up(when: str) -> UsageError:
    return UsageError(
        f"The Ray cluster cannot compute the pass: {MOST} processes, one after the other, were lost {when}. "
        f"Either the memory of the nodes does not suffice, or a photo crashes a library."
    )


def _blocks(items: Iterable[Item]) -> Iterator[list[Item]]:
    remaining = iter(items)
    while block := list(islice(remaining, _BLOCK_PHOTOS)):
        yield block
