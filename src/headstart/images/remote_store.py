"""Remote photos on disk: each in a file of its own, which begins with the SHA-256 of its bytes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import threading
import time
from pathlib import Path
from typing import Final

from headstart.environment import make_in_cache, mode_of_new_files, own_cache
from headstart.files import delete, disk_budget

BUDGET_BYTES: Final = 20 * 10**9
"""Limit of all stored photos together; a tenth of the free disk space is another limit."""

_DIGEST_BYTES: Final = 32
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_SPARE: Final = 0.05  # of the limit is freed at once, so that not every photo has to look for space


def photos_folder() -> Path | None:
    """Return the folder of stored photos, in Headstart's cache; None for a user without a home."""
    folder = own_cache()
    return None if folder is None else folder / "photos"


def stored_photos() -> list[tuple[float, Path, int]]:
    """Return time of last use, path and size of all stored photos, beginning with the least recently used."""
    found = []
    if (folder := photos_folder()) is not None:
        for path in folder.glob("??/*"):
            with contextlib.suppress(OSError):  # another process has just deleted it
                status = path.stat()
                found.append((status.st_mtime, path, status.st_size))
    return sorted(found)


class RemoteStore:
    """Stores the bytes of remote photos, within a limit of disk space. Several threads may use it.

    If there is no space left, photos that this process has not used are deleted, the least recently used
    ones first. Photos that still do not fit, or cannot be written, are not stored: they are requested
    whenever they are needed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began = time.time()
        self._folder: Path | None = None
        self._num_bytes = 0  # of all stored photos, counted when the first one is added
        self._can_delete = True

    def get(self, address: str) -> bytes | None:
        """Return the bytes of a photo; None if they are not stored, or damaged."""
        path = _path_of(address)
        if path is None:
            return None
        try:
            whole = path.read_bytes()
        except OSError:
            return None
        digest, content = whole[:_DIGEST_BYTES], whole[_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != digest:
            if delete(path):
                with self._lock:
                    self._num_bytes = max(0, self._num_bytes - len(whole))
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # used now
        return content

    def put(self, address: str, content: bytes) -> None:
        """Store the bytes of a photo, if there is room."""
        path = _path_of(address)
        if path is None:
            return
        size = _DIGEST_BYTES + len(content)
        with self._lock:
            if not self._has_room(size):
                return
            self._num_bytes += size
        part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
        try:
            make_in_cache(path.parent)
            with open(os.open(part, _NEW_FILE, mode_of_new_files(part.parent)), "wb") as file:
                file.write(hashlib.sha256(content).digest() + content)  # the digest makes a sync needless
            part.replace(path)
        except OSError:  # a full or read-only disk
            delete(part)
            with self._lock:
                self._num_bytes -= size

    def _has_room(self, size: int) -> bool:
        folder = photos_folder()
        if folder is None:
            return False
        if self._folder != folder:
            self._folder, self._num_bytes = folder, sum(size for _, _, size in stored_photos())
            self._can_delete = True
        budget = disk_budget(folder, self._num_bytes, BUDGET_BYTES)
        if self._num_bytes + size > budget and self._can_delete:
            self._delete_unused((1 - _SPARE) * budget - size)
        return self._num_bytes + size <= budget

    def _delete_unused(self, num_bytes: float) -> None:
        """Delete photos that this process has not used, until the others take up ``num_bytes`` at most."""
        for used, path, freed in stored_photos():
            if self._num_bytes <= num_bytes:
                return
            if used >= self._began:
                break
            if delete(path):
                self._num_bytes -= freed
        self._can_delete = False  # all others are in use


def _path_of(address: str) -> Path | None:
    folder = photos_folder()
    name = hashlib.sha256(address.encode("utf-8", "surrogateescape")).hexdigest()
    return None if folder is None else folder / name[:2] / name[2:]


STORE: Final = RemoteStore()
"""The store of this process."""
