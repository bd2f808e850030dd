"""The interface of all stores of rows: of this machine (``store``), or shared (``shared_store``)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from headstart.errors import HeadstartError


class StoreError(HeadstartError):
    """A store cannot be used: the disk is full, or it cannot be read, written or repaired."""


class About(Protocol):
    """The interface of a description of a store's rows, such as ``Fingerprint``."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; ``headstart cache`` shows ``backbone`` and ``cut``."""


class RowStore(Protocol):
    """Rows of one shape and type by key. Several threads may use it; all its methods raise ``StoreError``.

    A row is returned with the bits with which it was stored, or not at all. What one process stores, others
    see at the latest when they open the store after ``flush`` or ``close``.
    """

    num_damaged: int
    """Number of rows with a wrong checksum."""

    def __contains__(self, key: bytes) -> bool:
        """Return whether a row exists; its checksum is verified when it is read."""

    @property
    def has_rows(self) -> bool:
        """Whether there are rows that have been written."""

    def get(self, key: bytes) -> np.ndarray | None:
        """Return a row, or None if there is none or it is damaged."""

    def put(self, key: bytes, row: np.ndarray) -> None:
        """Store a row; it is written with others, or by ``flush``."""

    def distrust(self) -> None:
        """Stop using all rows, also those not yet written: they differ from what this machine computes.

        A store of this machine is emptied and can be filled again. A shared one raises ``StoreError``.
        """

    def flush(self) -> None:
        """Write all rows."""

    def close(self) -> None:
        """Flush and close. Rows that cannot be written are lost, as this is only a cache."""


def row_checksum(key: bytes, shape: Sequence[int], value: bytes) -> bytes:
    """Return 16 bytes that differ if the key, the shape or the value differs."""
    digest = hashlib.blake2b(key, digest_size=16)
    digest.update(repr(tuple(shape)).encode())
    digest.update(value)
    return digest.digest()
