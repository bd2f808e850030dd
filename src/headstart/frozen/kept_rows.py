"""Rows in memory and in the store, verified against what the prefix computes now."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from headstart.errors import NetworkError
from headstart.frozen.cache import OptionalStore, Room
from headstart.frozen.fingerprint import Fingerprint
from headstart.frozen.prefix import Prefix


class KeptRows:
    """The rows of one prefix by photo and view. If the store fails, the run continues without it.

    Args:
        prefix: The frozen stages.
        fingerprint: Function of the runtime's name that returns the fingerprint of the features.
        room: Opens the store.
        say: Called with a sentence for the user about a store that cannot be used, or about damaged rows.
        memory_bytes: Rows are also kept in memory, up to this size.
        keep: Whether the store is used.
        proves: Whether the first rows taken from the store are compared with what the prefix computes.

    Attributes:
        unproven: Number of stored rows that still have to be compared with the prefix.
    """

    def __init__(
        self,
        prefix: Prefix,
        fingerprint: Callable[[str], Fingerprint],
        room: Room,
        say: Callable[[str], object],
        memory_bytes: int,
        *,
        keep: bool,
        proves: bool = True,
    ) -> None:
        self._prefix = prefix
        self._fingerprint = fingerprint
        self._room = room
        self._say = say
        self._memory: dict[bytes, np.ndarray] = {}
        self._memory_left = memory_bytes
        self._store = OptionalStore(room)
        self._runtime = prefix.runtime
        self._proves = proves
        self.unproven = 0
        if keep:
            self._open_store()

    @property
    def has_store(self) -> bool:
        """Whether there is a store; it may fail at any time."""
        return self._store.is_open

    def in_memory(self, key: bytes) -> np.ndarray | None:
        """Return a row if it is in memory, else None."""
        return self._memory.get(key)

    def has(self, key: bytes) -> bool:
        """Return whether a row is kept."""
        return key in self._memory or self._store.ask(lambda store: key in store, False)

    def get(self, key: bytes) -> np.ndarray | None:
        """Return a row; None if it is not kept, or damaged."""
        if (kept := self._memory.get(key)) is not None:
            return kept
        row = self._store.ask(lambda store: store.get(key), None)
        if row is not None:
            self._remember(key, row)
        return row

    def put(self, key: bytes, row: np.ndarray) -> None:
        """Store a row that the prefix has computed."""
        self._remember(key, row)
        if self._prefix.runtime != self._runtime:  # ONNX Runtime failed on the first batch
            self._runtime = self._prefix.runtime
            self._open_store()
        self._store.ask(lambda store: store.put(key, row), None)

    def proves(self, key: bytes, computed: np.ndarray) -> bool:
        """Compare a stored row with the computed one; if they differ, distrust the store."""
        if self._prefix.runtime != self._runtime or not self.has_store:  # then it is another store's row
            return False
        stored = self.get(key)
        if stored is None:  # damaged, and this row alone
            return False
        is_same = np.array_equal(stored, computed, equal_nan=True)
        if self._prefix.device_name != "cpu":  # a GPU's library may choose another kernel on another day
            is_same = stored.shape == computed.shape and np.allclose(stored, computed, rtol=1e-2, atol=1e-3)
        if is_same:
            self.unproven -= 1
            return True
        self._say(
            "Warning: stored features differ from what the network computes now, so all of them are computed "
            "again. Please report this, with the name of the backbone."
        )
        self._forget(key)
        self._store.ask(lambda store: store.distrust(), None)
        self.unproven = 0
        return False

    def flush(self) -> None:
        """Write all rows to the disk."""
        self._store.ask(lambda store: store.flush(), None)

    def close(self) -> None:
        """Close the store and release the memory."""
        self._store.close()
        self._memory = {}

    def _remember(self, key: bytes, row: np.ndarray) -> None:
        if row.nbytes <= self._memory_left and key not in self._memory:
            self._memory[key] = row.copy()  # a row alone, not a view that holds its whole batch
            self._memory_left -= row.nbytes

    def _forget(self, key: bytes) -> None:
        if (row := self._memory.pop(key, None)) is not None:
            self._memory_left += row.nbytes

    def _open_store(self) -> None:
        try:
            fingerprint = self._fingerprint(self._runtime)
        except NetworkError:
            self._store = OptionalStore(self._room)
            self._say(
                "The frozen part of the network cannot be exported, so its features are not stored: a later "
                "change of the network would not be noticed. Features that do not fit into memory are "
                "computed in every epoch."
            )
            return
        store = OptionalStore(self._room, lambda: self._room.open(fingerprint))
        # Before any thread sees the store: a row that is not proven must not be taken from it.
        is_filled = self._proves and store.ask(lambda each: each.has_rows, False)
        self.unproven = self._prefix.batch_size if is_filled else 0
        self._store = store
        if store.ask(lambda each: each.num_damaged, 0):
            self._say("A damaged feature store has been deleted; its features are computed again.")
