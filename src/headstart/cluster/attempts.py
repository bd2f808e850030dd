"""Counts what processes of a cluster begin, because Ray repeats without end even what always kills them."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

MOST: Final = 5
"""How often something is begun, before it is given up."""


class Attempts:
    """What has been begun and not ended, by key. It is pickled to other processes, which share one count."""

    def __init__(self) -> None:
        """Start the process that counts; the cluster must be connected."""
        import ray

        # Without a core, so that it runs beside everything; if it is lost itself, counting begins again.
        self._count = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(_Count).remote()

    @staticmethod
    def own_key() -> str:
        """Return the key of the actor that asks, which remains the same when Ray has started it again."""
        import ray

        return str(ray.get_runtime_context().get_actor_id())

    def begin(self, key: Any) -> bool:
        """Return whether something may begin: it has not been begun too often before."""
        import ray

        return bool(ray.get(self._count.begin.remote(key)) <= MOST)

    def end(self, key: Any) -> None:
        """Forget how often something was begun."""
        self._count.end.remote(key)


class _Count:
    def __init__(self) -> None:
        self._begun: Counter[Any] = Counter()

    def begin(self, key: Any) -> int:
        self._begun[key] += 1
        return self._begun[key]

    def end(self, key: Any) -> None:
        del self._begun[key]
