"""Locks open files against other processes, on every system."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any, Final

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

_LOCKED_BYTE: Final = 2**31 - 2  # beyond the content, because Windows lets nobody else read what is locked


def try_lock(file: FileDescriptorLike, *, shared: bool = False) -> bool:
    """Lock an open file against other processes until it is closed, without waiting.

    Args:
        file: Open for reading and writing; the position in it does not change.
        shared: Whether other processes may hold shared locks at the same time.

    Returns:
        Whether the file is locked now. Also True where files cannot be locked: on file systems without locks;
        and on Windows for shared locks, which it does not have. They say that a file must not be deleted, and
        Windows deletes no open file anyway.
    """
    if sys.platform == "win32":
        return shared or _try_lock_on_windows(file)
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _try_lock_on_windows(file: FileDescriptorLike) -> bool:
    msvcrt: Any = importlib.import_module("msvcrt")  # which only Windows has
    descriptor = file if isinstance(file, int) else file.fileno()
    position = os.lseek(descriptor, 0, os.SEEK_CUR)
    os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
    try:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    except PermissionError:  # another process has locked it
        return False
    except OSError:
        return True
    finally:
        os.lseek(descriptor, position, os.SEEK_SET)
    return True
