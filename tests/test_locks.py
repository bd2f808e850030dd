"""Locks on files; those of Windows are simulated."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from headstart import locks
from headstart.locks import try_lock


class Msvcrt:
    """Locks bytes of files as Windows does: for one descriptor, from the position in the file on."""

    LK_NBLCK = 2

    def __init__(self) -> None:
        self.held: dict[tuple[int, int], int] = {}
        self.fault: OSError | None = None

    def locking(self, descriptor: int, mode: int, num_bytes: int) -> None:
        assert (mode, num_bytes) == (self.LK_NBLCK, 1)
        if self.fault:
            raise self.fault
        place = (os.fstat(descriptor).st_ino, os.lseek(descriptor, 0, os.SEEK_CUR))
        if self.held.setdefault(place, descriptor) != descriptor:
            raise PermissionError(errno.EACCES, "Permission denied")


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Msvcrt:
    msvcrt = Msvcrt()
    monkeypatch.setattr(locks, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setitem(sys.modules, "msvcrt", msvcrt)  # type: ignore[arg-type]
    return msvcrt


def test_a_file_is_locked_by_one_process_at_a_time_and_can_be_read_and_written(tmp_path: Path) -> None:
    with open(tmp_path / "file", "w+b") as one, open(tmp_path / "file", "r+b") as other:
        assert try_lock(one)
        assert not try_lock(other)
        assert not try_lock(other, shared=True)
    with open(tmp_path / "file", "r+b") as one, open(tmp_path / "file", "r+b") as other:
        assert try_lock(one, shared=True)
        assert try_lock(other, shared=True)
        assert not try_lock(one)


def test_windows_locks_a_byte_behind_the_content_and_leaves_the_position(
    windows: Msvcrt, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"content")
    with open(tmp_path / "file", "r+b", buffering=0) as one, open(tmp_path / "file", "r+b") as other:
        one.seek(3)
        assert try_lock(one)
        assert one.tell() == 3
        assert not try_lock(other.fileno())
        assert try_lock(other, shared=True)
        assert other.read() == b"content"
        ((_, place),) = windows.held
    assert 10**9 < place < 2**31
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_file_system_of_windows_without_locks_counts_as_locked(windows: Msvcrt, tmp_path: Path) -> None:
    windows.fault = OSError(errno.EINVAL, "Invalid argument")
    with open(tmp_path / "file", "w+b") as file:
        assert try_lock(file)
