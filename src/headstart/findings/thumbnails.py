"""Thumbnails of many photos, without all of them in memory if they are stored."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np

from headstart.errors import ImageError
from headstart.frozen.cache import Room
from headstart.frozen.photos import THUMBNAIL_PX, PhotoStore, facts_from
from headstart.records import Record

_MOST_IN_MEMORY: Final = 8192  # thumbnails, 75 MB
_MOST_READ: Final = 4096  # of the others, those that were read last, 38 MB


class Thumbnails:
    """The thumbnails of photos by their row. Several threads may use them.

    Without a store, all of them are in memory, 9 kB each. With one, at most 12,288 are; the others are read
    when they are needed.

    Attributes:
        rows: The photos that can be decoded, in the order of the records.
    """

    def __init__(self, records: Sequence[Record], room: Room | None) -> None:
        """Read all thumbnails once; photos without stored facts are decoded, and their facts stored.

        Args:
            records: N photos.
            room: Opens the store; None if nothing is stored.
        """
        self._records = records
        self._store = PhotoStore(room)
        self._in_memory: dict[int, np.ndarray] = {}
        self.rows: list[int] = []
        self._read = lru_cache(_MOST_READ)(self._read_one)
        found = facts_from(self._store, ((record.photo, record.sha256) for record in records))
        for row, facts in enumerate(found):
            if isinstance(facts, ImageError):
                continue
            self.rows.append(row)
            if len(self._in_memory) < _MOST_IN_MEMORY or facts.sha256 not in self._store:
                self._in_memory[row] = facts.thumbnail.copy()  # without the bytes that it was read from

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Return the thumbnails of some photos, (M, 96, 96) uint8."""
        found = np.empty((len(rows), THUMBNAIL_PX, THUMBNAIL_PX), np.uint8)
        for place, row in enumerate(rows.tolist()):
            kept = self._in_memory.get(row)
            found[place] = self._read(row) if kept is None else kept
        return found

    def close(self) -> None:
        """Close the store and release the memory."""
        self._store.close()
        self._in_memory = {}
        self._read.cache_clear()

    def _read_one(self, row: int) -> np.ndarray:
        record = self._records[row]
        (facts,) = facts_from(self._store, [(record.photo, record.sha256)], workers=0)
        if isinstance(facts, ImageError):  # deleted from the store and from the disk meanwhile
            raise facts
        return facts.thumbnail.copy()
