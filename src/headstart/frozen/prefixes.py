"""The cache of exported networks: one file with a checksum per graph; the least recently used are deleted.

The first line of a file is the SHA-256 of all bytes after it, the second line is JSON about the graph, and
the rest is the serialised model. A damaged file is deleted and ignored.

For each network that cannot be exported, another file contains the reason, so that it is not tried again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from headstart.environment import make_in_cache, own_cache
from headstart.errors import FileWriteError
from headstart.files import delete, write_whole

LIMIT_BYTES: Final = 2 * 10**9
LIMIT_FRACTION: Final = 0.1
"""Limits of all exported networks together: bytes, and a fraction of the free disk space."""

About = dict[str, Any]


def keep(about: Mapping[str, Any], graph: bytes) -> Path | None:
    """Store a graph, replacing an earlier one with the same description.

    Args:
        about: Everything that determines the graph, as values for JSON.
        graph: A serialised model.

    Returns:
        The path of the file; None if there is no space or no folder for it.
    """
    folder = _folder()
    if folder is None:
        return None
    text = json.dumps(about, sort_keys=True, separators=(",", ":")).encode()
    rest = text + b"\n" + graph
    path = folder / f"{hashlib.sha256(text).hexdigest()[:32]}.prefix"
    try:
        make_in_cache(folder)
        if not _make_room(len(rest), path):
            return None
        write_whole(path, hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest, keep=False)
    except (OSError, FileWriteError):  # a cache may fail: the graph is exported again
        return None
    return path


def newest(matches: Callable[[About], bool]) -> tuple[About, bytes] | None:
    """Return the most recently written graph that matches, and its description."""
    for _, path, about in sorted(_all(), key=lambda each: each[0], reverse=True):
        with contextlib.suppress(OSError):
            if matches(about):
                digest, _, rest = path.read_bytes().partition(b"\n")
                if hashlib.sha256(rest).hexdigest().encode() == digest:
                    os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))  # used now, written then
                    return about, rest.partition(b"\n")[2]
                delete(path)
    return None


def keep_refusal(about: Mapping[str, Any], reason: str) -> None:
    """Store the reason why a network cannot be exported, replacing earlier information for that size.

    Args:
        about: Everything that the reason depends on, as values for JSON: ``name``, ``size_px`` and more.
        reason: The reason in a sentence.
    """
    path = _refusal_file(about)
    if path is None:
        return
    with contextlib.suppress(OSError, FileWriteError):  # a cache may fail: the export is tried again
        make_in_cache(path.parent)
        write_whole(path, json.dumps({"about": about, "reason": reason}).encode(), keep=False)


def refusal(about: Mapping[str, Any]) -> str | None:
    """Return the reason that was stored for exactly this description; None if there is none."""
    path = _refusal_file(about)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # damaged, as if it were not there
        found = json.loads(path.read_bytes()) if path else None
        if found and found["about"] == about:
            return str(found["reason"])
    return None


def kept() -> list[About]:
    """Return the descriptions of all graphs, the most recently written first, without verifying the files."""
    return [about for *_, about in sorted(_all(), key=lambda each: each[0], reverse=True)]


def used_bytes() -> int:
    """Return the disk space of all graphs together."""
    total = 0
    for path in _files():
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total


def clear() -> int:
    """Delete all graphs and reasons, and return the number of graphs."""
    for path in _files(".refusal"):
        delete(path)
    return sum(delete(path) for path in _files())


def _folder() -> Path | None:
    cache = own_cache()
    return cache / "prefixes" if cache else None


def _all() -> Iterator[tuple[tuple[int, str], Path, About]]:
    """Yield the time of writing, path and description of each file."""
    for path in _files():
        with contextlib.suppress(OSError, ValueError), open(path, "rb") as file:
            file.readline(100)
            about = json.loads(file.readline(2**20))
            if isinstance(about, dict):
                yield (os.fstat(file.fileno()).st_mtime_ns, path.name), path, about


def _refusal_file(about: Mapping[str, Any]) -> Path | None:
    digest = hashlib.sha256(f"{about['name']} {about['size_px']}".encode()).hexdigest()[:32]
    folder = _folder()
    return folder / f"{digest}.refusal" if folder else None


def _files(suffix: str = ".prefix") -> list[Path]:
    folder = _folder()
    try:
        return sorted(folder.glob(f"*{suffix}")) if folder else []
    except OSError:
        return []


def _make_room(num_bytes: int, path: Path) -> bool:
    """Delete the least recently used files until a new one fits; return whether it does."""
    sizes = {}
    for file in _files():
        with contextlib.suppress(OSError):
            sizes[file] = file.stat()
    sizes.pop(path, None)  # which is going to be replaced
    used = sum(each.st_size for each in sizes.values())
    budget = min(LIMIT_BYTES, int(LIMIT_FRACTION * (shutil.disk_usage(path.parent).free + used)))
    if num_bytes > budget:
        return False
    for file, status in sorted(sizes.items(), key=lambda item: item[1].st_atime_ns):
        if used + num_bytes <= budget:
            break
        if delete(file):
            used -= status.st_size
    return used + num_bytes <= budget
