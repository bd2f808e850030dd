"""Stores activations on disk: one SQLite file per fingerprint.

SQLite comes with Python, can be shared between processes, and reports a damaged file as an error, while a
memory-mapped store would crash. Deleting the file of a fingerprint frees its disk space. The journal is a
rollback journal, because WAL needs shared memory, which network file systems do not have.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from headstart.environment import make_in_cache, mode_of_new_files
from headstart.files import delete
from headstart.frozen.row_store import About, StoreError, row_checksum
from headstart.locks import try_lock

_BURST_BYTES: Final = 8 * 2**20
_BUSY_SECONDS: Final = 60.0
REPAIR_SECONDS: Final = 5.0  # for which another process may have a damaged store open
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS rows (key BLOB PRIMARY KEY, checksum BLOB NOT NULL, value BLOB NOT NULL);
"""

# A file that is not a database, is a damaged one, or has other tables than ours.
_DAMAGE: Final = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR}

_ELSEWHERE: Final = "The environment variable HEADSTART_CACHE names another folder for all stores"

BESIDE: Final = ("-journal", "-wal", "-shm")
"""Suffixes of files that SQLite creates beside a store, now or in older versions of Headstart."""


class FeatureStore:
    """Rows of one shape and type by photo: the float32 activations of one prefix, by ``photo_key``.

    Rows are written in bursts, so that several processes can fill one store at the same time; others see a
    row when its burst has been written. Every row has a checksum over key, shape and value; a damaged row
    counts as missing. A file with other damage is deleted and created again as soon as the damage is noticed.
    Several threads may use a store.

    Attributes:
        path: The file.
        num_damaged: Number of rows with a wrong checksum; a damaged file counts once.
    """

    def __init__(
        self,
        path: Path,
        about: About,
        make_room: Callable[[int], bool] = lambda _: True,
        dtype: type[np.generic] = np.float32,
    ) -> None:
        """Open the file, or create it.

        Args:
            path: Path of the file; its folder is created if necessary.
            about: Everything that the rows depend on besides their key.
            make_room: Called before each burst with its number of bytes; returns whether they may be written.
                If not, the store accepts no more rows but still returns those it has.
            dtype: Type of the rows.

        Raises:
            StoreError: The file can be neither opened nor created.
        """
        self.path = path
        self.num_damaged = 0
        self._about = json.dumps(about.to_dict(), sort_keys=True)
        self._make_room = make_room
        self._dtype = dtype
        self._lock = threading.RLock()
        self._burst: dict[bytes, tuple[bytes, bytes]] = {}
        self._burst_bytes = 0
        self._is_full = False
        self._shape: tuple[int, ...] | None = None
        self._db: sqlite3.Connection | None = None
        self._hold: _Hold | None = None
        try:
            make_in_cache(path.parent)
            self._open()
        except (sqlite3.Error, OSError) as error:
            self._let_go()
            raise StoreError(f"The feature store {path} cannot be opened: {error}. {_ELSEWHERE}") from error

    def _open(self) -> None:
        """Open the file; if it is damaged, replace it by a new one."""
        deadline = time.monotonic() + REPAIR_SECONDS
        while True:
            try:
                self._hold = _Hold(self.path)
                self._connect()
                return
            except sqlite3.Error as error:
                self._let_go()  # Windows deletes no open file
                if not _is_damage(error):
                    raise
                # Another process may have it open, and may be repairing it.
                if delete_store(self.path):
                    self.num_damaged += 1
                elif time.monotonic() > deadline:
                    raise
                else:
                    time.sleep(0.05)

    def _connect(self) -> None:
        if not self.path.exists():  # SQLite's files beside it get the same permissions
            mode = mode_of_new_files(self.path.parent)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, mode))
        self._db = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, check_same_thread=False)
        self._db.execute("PRAGMA page_size = 65536")
        mode = self._db.execute("PRAGMA journal_mode = TRUNCATE").fetchone()[0]
        if mode != "truncate":
            raise sqlite3.OperationalError(f"another process uses it with journal mode {mode}")
        self._db.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost rows, but makes no wrong ones
        self._db.executescript(_SCHEMA)
        with self._db:
            self._db.execute("INSERT OR IGNORE INTO about VALUES ('fingerprint', ?)", [self._about])
        self._shape = self._stored_shape(self._db)
        self._db.execute("SELECT checksum, value FROM rows LIMIT 1").fetchone()
        with contextlib.suppress(OSError):  # somebody else's file, which we may only read
            os.utime(self.path)  # the budget evicts by this

    def _let_go(self) -> None:
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
        if self._hold is not None:
            self._hold.close()
        self._db = self._hold = None

    def __contains__(self, key: bytes) -> bool:
        """Return whether a row exists; its checksum is verified when it is read."""
        with self._lock:
            return key in self._burst or bool(self._execute("SELECT 1 FROM rows WHERE key = ?", [key]))

    @property
    def has_rows(self) -> bool:
        """Whether there are rows on disk."""
        return bool(self._execute("SELECT 1 FROM rows LIMIT 1", []))

    def distrust(self) -> None:
        """Delete all rows, including those that have not been written yet."""
        with self._lock:
            self._burst, self._burst_bytes = {}, 0

            def delete(db: sqlite3.Connection) -> None:
                with db:
                    db.execute("DELETE FROM rows")

            self._run(delete)

    def get(self, key: bytes) -> np.ndarray | None:
        """Return a row, or None if there is none or it is damaged."""
        with self._lock:
            rows = self._execute("SELECT checksum, value FROM rows WHERE key = ?", [key])
            checksum, value = rows[0] if rows else self._burst.get(key, (b"", b""))
            if not checksum:
                return None
            if self._shape is None:  # another process has written the first row
                self._shape = self._run(self._stored_shape)
            if self._shape is None or checksum != row_checksum(key, self._shape, value):
                self.num_damaged += 1
                return None
            return np.frombuffer(value, self._dtype).reshape(self._shape)

    def put(self, key: bytes, row: np.ndarray) -> None:
        """Store a row; it is written to disk with its burst, or by ``flush``."""
        value = np.ascontiguousarray(row, self._dtype).tobytes()
        with self._lock:
            if self._is_full:
                return
            self._shape = row.shape
            self._burst[key] = (row_checksum(key, row.shape, value), value)
            self._burst_bytes += len(value)
            if self._burst_bytes > _BURST_BYTES:
                self.flush()

    def flush(self) -> None:
        """Write everything to the disk, if there is space."""
        with self._lock:
            rows = [(key, *row) for key, row in self._burst.items()]
            num_bytes = self._burst_bytes
            self._burst, self._burst_bytes = {}, 0
            if not rows:
                return
            if not self._make_room(num_bytes):
                self._is_full = True
                return
            shape = json.dumps(self._shape)

            def write(db: sqlite3.Connection) -> None:
                with db:
                    db.execute("INSERT OR REPLACE INTO about VALUES ('shape', ?)", [shape])
                    db.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", rows)

            self._run(write)

    def close(self) -> None:
        """Flush and close the file. Rows that cannot be written are lost, as this is only a cache."""
        with self._lock:
            with contextlib.suppress(StoreError):
                self.flush()
            self._let_go()

    @staticmethod
    def _stored_shape(db: sqlite3.Connection) -> tuple[int, ...] | None:
        row = db.execute("SELECT value FROM about WHERE name = 'shape'").fetchone()
        try:
            return tuple(int(side) for side in json.loads(row[0])) if row else None
        except (ValueError, TypeError):  # damaged; then no row's checksum fits
            return ()

    def _execute(self, sql: str, values: Sequence[Any]) -> list[Any]:
        rows: list[Any] = self._run(lambda db: db.execute(sql, values).fetchall())
        return rows

    def _run(self, function: Callable[[sqlite3.Connection], Any]) -> Any:
        """Call a function with the database; if that shows damage, call it once more with a new database.

        Raises:
            StoreError: It fails again, or for another reason.
        """
        try:
            try:
                return function(self._connection())
            except sqlite3.Error as error:
                if not _is_damage(error):
                    raise
            self._let_go()
            if delete_store(self.path):
                self.num_damaged += 1
            self._open()
            return function(self._connection())
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"The feature store {self.path} cannot be read or written: {error}. {_ELSEWHERE}"
            ) from error

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            raise sqlite3.ProgrammingError("it is closed")
        return self._db


def _is_damage(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF in _DAMAGE


def delete_store(path: Path) -> bool:
    """Delete the file of a store and SQLite's files beside it, unless a process has it open.

    Returns:
        Whether it has been deleted.
    """
    try:
        with open(_lock_path(path), "a+b") as lock:
            if not try_lock(lock):
                return False
            # The file itself first: where Windows refuses that, nothing else must be gone either.
            if not delete(path):
                return False
            for suffix in BESIDE:
                delete(path.with_name(path.name + suffix))
            is_open = not delete(_lock_path(path))  # Windows deletes it only when it is closed
    except OSError:
        return False
    if is_open:  # elsewhere the name may be another process's new lock by now
        delete(_lock_path(path))
    return True


class _Hold:
    """Shows ``delete_store`` in all processes that a store is in use, until it is closed or
    garbage-collected.

    A separate file is locked, because on some systems SQLite's own locks would conflict with these.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = -1
        for _ in range(100):
            try:
                mode = mode_of_new_files(path.parent)
                self._descriptor = os.open(_lock_path(path), os.O_RDWR | os.O_CREAT, mode)
                is_held = try_lock(self._descriptor, shared=True)
                if is_held and os.path.samestat(os.fstat(self._descriptor), _lock_path(path).stat()):
                    return
            except FileNotFoundError:  # deleted together with the store between the two
                pass
            except OSError:  # a folder that may not be written to
                break
            self.close()
            time.sleep(0.02)
        self.close()

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def __del__(self) -> None:
        self.close()


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")
