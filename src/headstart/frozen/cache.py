"""The folder of all feature stores, and its limit of disk space."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from headstart.environment import make_in_cache, own_cache, shared_cache
from headstart.files import disk_budget
from headstart.frozen.fingerprint import Fingerprint
from headstart.frozen.row_store import About, RowStore, StoreError
from headstart.frozen.shared_store import SharedStore
from headstart.frozen.store import BESIDE, FeatureStore, delete_store

Answer = TypeVar("Answer")

BUDGET_BYTES: Final = 20 * 10**9
"""Limit of all stores together; a tenth of the free disk space is another limit."""


_CHOOSE: Final = "To store them, set HEADSTART_CACHE to a folder that can be written to"


@dataclass(frozen=True)
class StoredFeatures:
    """A store, as listed by ``headstart cache``.

    Attributes:
        path: Path of its file.
        num_bytes: Size on disk.
        opened: Time when it was last opened, in seconds since the epoch.
        about: Fields of its fingerprint; empty if they cannot be read.
        num_rows: Number of rows.
    """

    path: Path
    num_bytes: int
    opened: float
    about: Mapping[str, Any]
    num_rows: int


def cache_folder() -> Path:
    """Return the folder of the stores, in Headstart's cache: see ``environment.own_cache``.

    Raises:
        StoreError: The user has no home folder, and no other folder is configured.
    """
    folder = own_cache()
    if folder is None:
        raise StoreError(f"Features cannot be stored: this user has no home folder. {_CHOOSE}")
    return folder / "features"


def store_path(fingerprint: Fingerprint) -> Path:
    """Return the path of a fingerprint's store, which need not exist."""
    return cache_folder() / f"{fingerprint.hex}.sqlite"


def list_stores() -> list[StoredFeatures]:
    """Return all stores, beginning with the least recently opened."""
    stores = []
    for opened, path in _by_age():
        about, num_rows = {}, 0
        uri = f"{path.absolute().as_uri()}?mode=rw"  # which makes no file where one has just been deleted
        with (
            contextlib.suppress(sqlite3.Error, ValueError, TypeError),
            contextlib.closing(sqlite3.connect(uri, uri=True)) as db,
        ):
            about = json.loads(db.execute("SELECT value FROM about WHERE name = 'fingerprint'").fetchone()[0])
            (num_rows,) = db.execute("SELECT count(*) FROM rows").fetchone()
        stores.append(StoredFeatures(path, _size(path), opened, about, num_rows))
    return stores


def used_bytes() -> int:
    """Return the disk space of all stores together."""
    return sum(_size(path) for _, path in _by_age())


def budget_bytes() -> int:
    """Return the limit of all stores together, from the free disk space and their current size.

    It is 0 if the free disk space cannot be determined. Without a cache folder it is the full limit, because
    rows are then kept in memory.
    """
    try:
        folder = cache_folder()
    except StoreError:
        return BUDGET_BYTES
    return disk_budget(folder, used_bytes(), BUDGET_BYTES)


def should_keep(
    setting: str, num_bytes: int, num_kept: int, num_live: int, shared: str | None = None
) -> tuple[bool, str]:
    """Decide whether the activations of a phase are stored, or computed whenever they are needed.

    Args:
        setting: ``"store"``, ``"live"`` or ``"auto"``.
        num_bytes: Disk space for storing them.
        num_kept: Number of photos and views to compute if they are stored.
        num_live: Number of photos and views to compute if they are not stored.
        shared: As for ``Room``: shared stores have no limit.

    Returns:
        The decision, and the reason in a few words. It affects only the time, not the results. Nothing is
        written or deleted: see ``make_room``.
    """
    size, budget = f"{num_bytes / 1e6:,.1f} MB", budget_bytes()
    if setting == "live":
        return False, "the setting features = 'live' says so"
    if setting == "auto" and num_bytes > budget and not (shared or shared_cache()):
        return False, f"{size} exceed the {budget / 1e6:,.0f} MB that features may use on this disk"
    instead = f", instead of {num_live:,}" if num_live > num_kept else ""
    return True, f"{size}, {num_kept:,} photos through the frozen part at most{instead}"


def make_room(num_bytes: int, spare: Collection[Path] = ()) -> bool:
    """Delete the least recently opened stores until ``num_bytes`` more fit within the limit.

    Stores that a process has open are kept. Nothing is deleted if that would not be enough.

    Args:
        num_bytes: Number of bytes to be written.
        spare: Stores that are not deleted.

    Returns:
        Whether the bytes fit now.
    """
    budget, used = budget_bytes(), used_bytes()
    paths = [path for _, path in _by_age() if path not in spare]
    if used - sum(map(_size, paths)) + num_bytes > budget:
        return False
    for path in paths:
        if used + num_bytes <= budget:
            break
        size = _size(path)
        if delete_store(path):
            used -= size
    return used + num_bytes <= budget


class Room:
    """Opens the stores of one run, and frees space for them without deleting any of them.

    Args:
        say: Called once with a sentence if there is no space.
        is_limited: If true, rows beyond the limit are not stored. Otherwise other stores are deleted and all
            rows are stored.
        shared: Folder or address of stores that machines share, without a limit; by default the address in
            ``HEADSTART_CACHE``, if there is one.

    Attributes:
        stores: Paths of the stores on this machine that the run uses or is going to use.
        shared: Folder or address of stores that machines share; None for stores on this machine.
    """

    def __init__(
        self, say: Callable[[str], object], *, is_limited: bool = True, shared: str | None = None
    ) -> None:
        self.stores: set[Path] = set()
        self.shared = shared or shared_cache()
        self._say = say
        self._is_limited = is_limited
        self._is_told = False
        self._reported: set[str] = set()

    def open(self, fingerprint: Fingerprint) -> RowStore:
        """Open the store of a fingerprint.

        Raises:
            StoreError: The store cannot be opened.
        """
        return self.open_named(fingerprint.hex, fingerprint)

    def open_named(self, name: str, about: About, dtype: type[np.generic] = np.float32) -> RowStore:
        """Open a store of another kind of rows.

        Args:
            name: Name of the store, without a suffix.
            about: Everything that the rows depend on besides their key.
            dtype: Type of the rows.

        Raises:
            StoreError: The store cannot be opened.
        """
        if self.shared:
            return SharedStore(self.shared, name, about, dtype, say=self._say)
        path = cache_folder() / f"{name}.sqlite"
        _refuse_folder(path.parent)
        self.stores.add(path)
        return FeatureStore(path, about, self._make, dtype)

    def report(self, error: StoreError) -> None:
        """Report that a store cannot be used, once if all stores of the run have the same problem."""
        if str(error) not in self._reported:
            self._say(
                f"{error}. The run continues without it: features that do not fit into memory are "
                f"computed whenever it is needed."
            )
        self._reported.add(str(error))

    def _make(self, num_bytes: int) -> bool:
        if make_room(num_bytes, self.stores) or not self._is_limited:
            return True
        if not self._is_told:
            self._say(
                f"The feature cache has no room left: this run and other running processes use all of the "
                f"{budget_bytes() / 1e6:,.0f} MB that it may take on this disk. Missing features are "
                f"computed whenever it is needed."
            )
        self._is_told = True
        return False


class OptionalStore:
    """A store that work continues without if it fails, which is reported once. Several threads may use it.

    Args:
        room: Reports the failure.
        open_store: Opens the store; None for no store.
    """

    def __init__(self, room: Room, open_store: Callable[[], RowStore] | None = None) -> None:
        self._room = room
        self._store: RowStore | None = None
        if open_store is not None:
            try:
                self._store = open_store()
            except StoreError as error:
                room.report(error)

    @property
    def is_open(self) -> bool:
        """Whether there is a store; it may fail at any time."""
        return self._store is not None

    def ask(self, question: Callable[[RowStore], Answer], otherwise: Answer) -> Answer:
        """Return what a function of the store returns, or ``otherwise`` if there is no store or it fails."""
        store = self._store  # which another thread may lose meanwhile
        if store is None:
            return otherwise
        try:
            return question(store)
        except StoreError as error:
            self._store = None
            self._room.report(error)
            return otherwise

    def close(self) -> None:
        """Write remaining rows, and close the store."""
        if self._store is not None:
            self._store.close()
        self._store = None


def _refuse_folder(folder: Path) -> None:
    """Check that stores can be created in a folder.

    Raises:
        StoreError: They cannot, for example because the disk is read-only.
    """
    reason = "it is read-only"
    try:
        make_in_cache(folder)
        is_writable = os.access(folder, os.W_OK)
    except OSError as error:
        is_writable, reason = False, error.strerror or str(error)
    if not is_writable:
        raise StoreError(f"Features cannot be stored in {folder}: {reason}. {_CHOOSE}")


def _by_age() -> Iterator[tuple[float, Path]]:
    """Return all stores with the time when they were last opened, oldest first."""
    found = []
    with contextlib.suppress(OSError, StoreError):
        for path in cache_folder().glob("*.sqlite"):
            with contextlib.suppress(OSError):  # another process has just deleted it
                found.append((path.stat().st_mtime, path))
    return iter(sorted(found))


def _size(path: Path) -> int:
    total = 0
    for suffix in ("", *BESIDE):
        with contextlib.suppress(OSError):
            total += path.with_name(path.name + suffix).stat().st_size
    return total
