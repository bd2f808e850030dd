"""How alike the pictures of two photos are, computed once for each pair and stored."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

import numpy as np

from headstart.findings.align import likeness_of_pairs
from headstart.frozen.cache import OptionalStore, Room
from headstart.images.machine import DECODER

_VERSION: Final = 2  # raised when pictures are compared otherwise


class ComparedPairs:
    """Compares photos by their thumbnails, and stores the results. Several threads may use it.

    The photos of a pair are compared in the order of their hashes, so the result does not depend on the order
    of the data.
    """

    def __init__(
        self, sha256: Sequence[str], thumbnails: Callable[[np.ndarray], np.ndarray], room: Room | None
    ) -> None:
        """
        Args:
            sha256: Of each of the N photos.
            thumbnails: Returns the thumbnails of some rows, (M, 96, 96) uint8.
            room: Opens the file; None if nothing is stored.
        """
        self._sha256 = [bytes.fromhex(each) for each in sha256]
        self._thumbnails = thumbnails
        name = f"photos-pairs-{_VERSION}-{hashlib.sha256(DECODER.encode()).hexdigest()[:8]}"
        if room is None:
            self._store = OptionalStore(Room(print))
        else:
            self._store = OptionalStore(room, partial(room.open_named, name, _About()))

    def __call__(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return how alike pairs of rows are: see ``near.Compare``."""
        pairs = [
            (one, other) if self._sha256[one] <= self._sha256[other] else (other, one)
            for one, other in zip(first.tolist(), second.tolist(), strict=True)
        ]
        keys = [hashlib.sha256(self._sha256[one] + self._sha256[other]).digest() for one, other in pairs]
        known = map(self._get, keys)
        found = np.array([np.nan if each is None else each[0] for each in known], np.float32)
        missing = np.flatnonzero(np.isnan(found))
        if len(missing):
            rows, places = np.unique([pairs[place] for place in missing.tolist()], return_inverse=True)
            ones, others = places.reshape(-1, 2).T
            found[missing] = likeness_of_pairs(self._thumbnails(rows), ones, others)
            for place in missing.tolist():
                self._put(keys[place], found[place : place + 1])
        return found

    def _get(self, key: bytes) -> np.ndarray | None:
        return self._store.ask(lambda store: store.get(key), None)

    def _put(self, key: bytes, row: np.ndarray) -> None:
        self._store.ask(lambda store: store.put(key, row), None)

    def close(self) -> None:
        """Write what is not on the disk yet, and close the file."""
        self._store.close()


class _About:
    def to_dict(self) -> dict[str, Any]:
        return {
            "backbone": "any",
            "cut": "pairs of photos",
            "version": _VERSION,
            "decoder": DECODER,
        }
