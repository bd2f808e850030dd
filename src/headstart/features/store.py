"""Activations on disk, found again by content: one SQLite file per fingerprint.

SQLite, because it is part of Python, may be shared between processes, and calls a damaged file an error where
a memory-mapped store would crash. A file per fingerprint, because deleting a file frees its disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from headstart.errors import HeadstartError
from headstart.features.fingerprint import Fingerprint

_BURST_BYTES: Final = 8 * 2**20
_BUSY_SECONDS: Final = 120.0
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS rows (key BLOB PRIMARY KEY, checksum BLOB NOT NULL, value BLOB NOT NULL);
"""


class StoreError(HeadstartError):
    """A store cannot be used: the disk is full, or the file is damaged beyond single rows."""


class FeatureStore:
    """The activations of one prefix: float32 rows of one shape, by ``fingerprint.photo_key``.

    Rows are written in bursts, so that several processes can fill one store at once; a row is there for the
    others when its burst is. Every row carries a checksum over key, shape and value: a damaged one counts as
    missing. Several threads may use a store.

    Attributes:
        path: The file.
        num_damaged: Rows that were not as they were written.
    """

    def __init__(self, path: Path, fingerprint: Fingerprint) -> None:
        """Open the file, or make it.

        Raises:
            StoreError: Neither is possible.
        """
        self.path = path
        self.num_damaged = 0
        self._lock = threading.RLock()
        self._burst: dict[bytes, tuple[bytes, bytes]] = {}
        self._burst_bytes = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._open(fingerprint)
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):  # locked, full, not to be opened
                    raise
                self.num_damaged += 1  # damaged beyond single rows: begin anew
                delete_store(path)
                self._open(fingerprint)
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"The feature store {path} cannot be opened: {error}") from error

    def _open(self, fingerprint: Fingerprint) -> None:
        self._db = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, check_same_thread=False)
        self._db.execute("PRAGMA page_size = 65536")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost rows, but makes no wrong ones
        self._db.executescript(_SCHEMA)
        about = json.dumps(fingerprint.to_dict(), sort_keys=True)
        with self._db:
            self._db.execute("INSERT OR IGNORE INTO about VALUES ('fingerprint', ?)", [about])
        self._shape = self._stored_shape()
        os.utime(self.path)  # the budget evicts by this

    def __contains__(self, key: bytes) -> bool:
        """Tell whether there is a row; its checksum is verified when it is read."""
        with self._lock:
            return key in self._burst or bool(self._execute("SELECT 1 FROM rows WHERE key = ?", [key]))

    def get(self, key: bytes) -> np.ndarray | None:
        """Return a row, or None if there is none or it is damaged."""
        with self._lock:
            rows = self._execute("SELECT checksum, value FROM rows WHERE key = ?", [key])
            checksum, value = rows[0] if rows else self._burst.get(key, (b"", b""))
            if not checksum:
                return None
            shape = self._shape or self._stored_shape()
            if shape is None or checksum != _checksum(key, shape, value):
                self.num_damaged += 1
                return None
            self._shape = shape
        return np.frombuffer(value, np.float32).reshape(shape)

    def put(self, key: bytes, row: np.ndarray) -> None:
        """Keep a row; it reaches the disk with its burst, or by ``flush``."""
        value = np.ascontiguousarray(row, np.float32).tobytes()
        with self._lock:
            if self._shape != row.shape:
                shape = json.dumps(row.shape)
                self._execute("INSERT OR REPLACE INTO about VALUES ('shape', ?)", [shape])
                self._db.commit()
                self._shape = row.shape
            self._burst[key] = (_checksum(key, row.shape, value), value)
            self._burst_bytes += len(value)
            if self._burst_bytes > _BURST_BYTES:
                self.flush()

    def flush(self) -> None:
        """Bring everything to the disk."""
        with self._lock:
            rows = [(key, *row) for key, row in self._burst.items()]
            self._burst, self._burst_bytes = {}, 0
            try:
                with self._db:
                    self._db.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", rows)
            except sqlite3.Error as error:
                raise StoreError(f"The feature store {self.path} cannot be written: {error}") from error

    def close(self) -> None:
        """Flush and let go of the file; what cannot be written any more is lost, as a cache may be."""
        with contextlib.suppress(StoreError):
            self.flush()
        self._db.close()

    def _stored_shape(self) -> tuple[int, ...] | None:
        rows = self._execute("SELECT value FROM about WHERE name = 'shape'", [])
        try:
            return tuple(int(side) for side in json.loads(rows[0][0])) if rows else None
        except (ValueError, TypeError):  # damaged; then no row's checksum fits
            return ()

    def _execute(self, sql: str, values: Sequence[Any]) -> list[Any]:
        try:
            return self._db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"The feature store {self.path} cannot be read: {error}") from error


def _checksum(key: bytes, shape: Sequence[int], value: bytes) -> bytes:
    digest = hashlib.blake2b(key, digest_size=16)
    digest.update(repr(tuple(shape)).encode())
    digest.update(value)
    return digest.digest()


def delete_store(path: Path) -> None:
    """Delete a store's file and what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
