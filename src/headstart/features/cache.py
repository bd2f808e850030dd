"""The folder that holds all feature stores, and how much disk it may use."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from headstart.features.fingerprint import Fingerprint
from headstart.features.store import delete_store

BUDGET_FRACTION: Final = 0.1
BUDGET_BYTES: Final = 20 * 10**9
"""All stores together use at most this fraction of the free disk, and at most this many bytes."""


@dataclass(frozen=True)
class StoredFeatures:
    """A store as ``headstart cache`` shows it.

    Attributes:
        path: Its file.
        num_bytes: On disk.
        opened: When it was last opened, in seconds since the epoch.
        about: Its fingerprint's fields; empty if they cannot be read.
        num_rows: How many rows it holds.
    """

    path: Path
    num_bytes: int
    opened: float
    about: Mapping[str, Any]
    num_rows: int


def cache_folder() -> Path:
    """Return where stores live: ``$HEADSTART_CACHE``, or ``headstart`` in the user's cache folder."""
    if own := os.environ.get("HEADSTART_CACHE"):
        return Path(own) / "features"
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "headstart" / "features"


def store_path(fingerprint: Fingerprint) -> Path:
    """Return the file of a fingerprint's store, there or not."""
    return cache_folder() / f"{fingerprint.hex}.sqlite"


def list_stores() -> list[StoredFeatures]:
    """Return all stores, the least recently opened first."""
    stores = []
    for path in cache_folder().glob("*.sqlite"):
        about, num_rows = {}, 0
        with contextlib.suppress(sqlite3.Error, ValueError), contextlib.closing(sqlite3.connect(path)) as db:
            about = json.loads(db.execute("SELECT value FROM about WHERE name = 'fingerprint'").fetchone()[0])
            (num_rows,) = db.execute("SELECT count(*) FROM rows").fetchone()
        stores.append(StoredFeatures(path, _size(path), path.stat().st_mtime, about, num_rows))
    return sorted(stores, key=lambda store: store.opened)


def budget_bytes() -> int:
    """Return how much all stores together may use, by the free disk and what they use already."""
    folder = cache_folder()
    while not folder.exists():
        folder = folder.parent
    used = sum(_size(path) for path in cache_folder().glob("*.sqlite"))
    return int(min(BUDGET_BYTES, BUDGET_FRACTION * (shutil.disk_usage(folder).free + used)))


def should_keep(setting: str, num_bytes: int, num_kept: int, num_live: int) -> tuple[bool, str]:
    """Decide whether a phase's activations are stored, or computed whenever they are needed.

    Args:
        setting: ``"store"``, ``"live"`` or ``"auto"``.
        num_bytes: What storing them takes.
        num_kept: How many photos and views go through the prefix if what is computed is kept.
        num_live: The same, if nothing is.

    Returns:
        The decision, and the reason in a few words. It changes time only, never results. Nothing is written
        or deleted: see ``make_room``.
    """
    size, budget = f"{num_bytes / 1e6:,.1f} MB", budget_bytes()
    if setting == "live":
        return False, "the setting features = 'live' says so"
    if setting == "auto" and num_bytes > budget:
        return False, f"{size} are more than the {budget / 1e6:,.0f} MB that features may use on this disk"
    return True, f"{size}, {num_kept:,} photos through the frozen part at most, instead of {num_live:,}"


def make_room(num_bytes: int) -> None:
    """Delete the least recently opened stores until ``num_bytes`` more fit into the budget.

    Args:
        num_bytes: What is going to be written.
    """
    budget = budget_bytes()
    paths = sorted(cache_folder().glob("*.sqlite"), key=lambda path: path.stat().st_mtime)
    used = sum(map(_size, paths))
    for path in paths:
        if used + num_bytes <= budget:
            break
        used -= _size(path)
        delete_store(path)


def _size(path: Path) -> int:
    beside = (path.with_name(path.name + suffix) for suffix in ("", "-wal"))
    return sum(file.stat().st_size for file in beside if file.exists())
