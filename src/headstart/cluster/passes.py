"""Maps photos on a Ray cluster: the same functions as on one machine, in tasks of Ray.

Ray decides where a task runs, and runs it again if its process or its node is lost. Results come back in the
order of the photos, so the caller sees no difference.
"""

from __future__ import annotations

import pickle
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from headstart.cluster.connection import MOST_TRIES, TOKENS, connected, lost_head
from headstart.cluster.nodes import work_in
from headstart.errors import ConfigError, HeadstartError, UsageError

Item = TypeVar("Item")
Result = TypeVar("Result")

_BLOCK_PHOTOS: Final = 64  # of one task: about a second
_TASKS_PER_CORE: Final = 4  # that are given to Ray ahead of the oldest result that is awaited
_PATIENCE_SECONDS: Final = 20.0  # without a result, before the user reads why
_LOST_HEAD: Final = (
    "The head of the Ray cluster at {} does not answer any more. Unless it comes back within a minute, Ray "
    "ends this process; then start the cluster and the command again."
)
TASK_CORES: Final = 1


def refuse_steps(address: str | None) -> None:
    """Raise ``ConfigError`` if a run that trains in steps in this process has the address of a cluster."""
    if address is not None:
        raise ConfigError(
            f"ray is {address!r}, and this run trains in gradient steps. Add num_workers, the number of "
            f"processes that train together. Without it, only a probe on the CPU (recipe = 'probe', with a "
            f"backbone that runs without PyTorch) uses a cluster."
        )


class Work(Protocol[Item, Result]):
    """What a process of the cluster does. It is pickled once, and opened once in each process."""

    def open(self, num_cores: int) -> Callable[[list[Item]], list[Result]]:
        """Return the function that maps items.

        Args:
            num_cores: Cores that the process may use.
        """


@dataclass
class RayCluster:
    """A Ray cluster on which passes over photos run.

    Args:
        address: As for ``connected``.
        say: Called with a sentence for the user if a pass has to wait; by default it is a Python warning.
    """

    address: str
    say: Callable[[str], object] = warnings.warn

    @classmethod
    def of(cls, address: str | None, say: Callable[[str], object]) -> RayCluster | None:
        """Return the cluster at an address; None without an address."""
        return None if address is None else cls(address, say)

    def map(self, work: Work[Item, Result], items: Iterable[Item]) -> Iterator[Result]:
        """Map items in processes of the cluster, one per core, and yield the results in the items' order.

        Items are read a few blocks ahead of their results. If the iterator is closed early, work that is
        under way ends with the connection; in a program with a connection of its own it is finished first.

        Raises:
            MissingPackageError: Ray is not installed.
            ConfigError: There is no cluster at the address.
            UsageError: The cluster cannot do it, for example because a node has no Headstart.
            HeadstartError: As ``work`` in a process of the cluster.
        """
        with connected(self.address):
            yield from _mapped(work, items, self.say)


def _mapped(
    work: Work[Item, Result], items: Iterable[Item], say: Callable[[str], object]
) -> Iterator[Result]:
    import ray

    # A process fetches what stands in a list when it needs it: once, and not with each block.
    given = [ray.put(pickle.dumps(work)), str(Path.cwd())]
    task = ray.remote(num_cpus=TASK_CORES, max_retries=MOST_TRIES - 1)(_in_process)
    # Tasks are never cancelled: Ray 2.60 ends this process if one ends while it is being cancelled.
    waiting: deque[tuple[int, Any]] = deque()
    has_waited = False

    def oldest() -> list[Result]:
        nonlocal has_waited
        first, result = waiting.popleft()
        while not ray.wait([result], timeout=_PATIENCE_SECONDS)[0]:
            if address := lost_head():
                say(_LOST_HEAD.format(address))
                break
            if not has_waited:
                say(_why_it_waits())
            has_waited = True
        return _result(first, result)

    for number, block in enumerate(_blocks(items)):
        waiting.append((number * _BLOCK_PHOTOS, task.remote(given, pickle.dumps(block))))
        if address := lost_head():
            say(_LOST_HEAD.format(address))
        if len(waiting) > _TASKS_PER_CORE * _num_cores():
            yield from oldest()
    while waiting:
        yield from oldest()


def _why_it_waits() -> str:
    import ray

    there, free = (int(each().get("CPU", 0)) for each in (ray.cluster_resources, ray.available_resources))
    return (
        f"The Ray cluster has computed nothing for {_PATIENCE_SECONDS:.0f} seconds. Of its {there:,} cores, "
        f"{free:,} are free; other programs may use the others, and ray status shows it. The pass waits."
    )


def _num_cores() -> int:
    """Return the number of cores of the cluster now: nodes come and go."""
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))


def _result(first: int, task: Any) -> list[Any]:
    """Wait for the results of a block.

    Args:
        first: Number of its first item.
        task: Ray's reference.
    """
    import ray

    try:
        found = pickle.loads(ray.get(task))
    except (
        ray.exceptions.WorkerCrashedError,
        ray.exceptions.NodeDiedError,
        ray.exceptions.OutOfMemoryError,
    ) as error:  # each time
        raise UsageError(
            f"The Ray cluster cannot compute the pass: {MOST_TRIES} processes, one after the other, were "
            f"lost with the same photos, from number {first + 1:,} on. Either the memory of the nodes does "
            f"not suffice, or a photo crashes a library."
        ) from error
    except ray.exceptions.RayError as error:
        raise cannot_compute(error) from error
    if isinstance(found, HeadstartError):
        raise found
    assert isinstance(found, list)
    return found


_opened: dict[str, Callable[[list[Any]], list[Any]]] = {}
"""What the work of this process has opened, by the name of the work: only the last one."""


def _in_process(given: list[Any], block: bytes) -> bytes:
    """Map a block in a process of the cluster, and return the results or the error, pickled.

    Args:
        given: Ray's reference of the pickled work; the working folder of the process that asks.
        block: Items, pickled.
    """
    import ray

    work, folder = given
    try:
        if work.hex() not in _opened:
            _opened.clear()
            work_in(folder)
            _opened[work.hex()] = pickle.loads(ray.get(work)).open(TASK_CORES)
        return pickle.dumps(_opened[work.hex()](pickle.loads(block)))
    except HeadstartError as error:  # Ray would raise another type
        return pickle.dumps(error)


def cannot_compute(error: Exception) -> UsageError:
    """Return the error for what Ray has raised."""
    import ray

    cause = getattr(error, "cause", None) or error
    if isinstance(cause, ray.exceptions.RayError) and cause is not error:  # the nodes do not reach each other
        reason = f"{type(cause).__name__}: {str(cause).strip().partition('. ')[0]}"
        advice = f"Its nodes and this machine must reach each other. {TOKENS}"
    else:
        reason = str(error).strip().splitlines()[-1]
        advice = (
            "All nodes need the same version of Headstart and of its packages; ray status shows their "
            "resources."
        )
    return UsageError(f"The Ray cluster cannot compute the pass: {reason.rstrip('.')}. {advice}")


def _blocks(items: Iterable[Item]) -> Iterator[list[Item]]:
    remaining = iter(items)
    while block := list(islice(remaining, _BLOCK_PHOTOS)):
        yield block
