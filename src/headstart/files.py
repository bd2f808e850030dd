"""Files that are written whole or not at all, even if another program has them open.

Windows neither replaces nor deletes a file that any program has open: a spreadsheet, a viewer, an indexer, a
virus scanner. Most close it within a second, so everything here that replaces or deletes tries again for a
while. If that fails, the result depends on the purpose of the file:

- Files that hold work (weights, checkpoints, results): ``write_whole`` leaves the new content beside the
  file, and its error says where.
- Files that people only look at: ``write_to_look_at`` returns the error, which is worth a warning.
- Files that are not needed: ``delete`` returns whether they have been deleted.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import itertools
import os
import re
import secrets
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar

from headstart.errors import FileWriteError, UsageError

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike, ReadableBuffer

Result = TypeVar("Result")

PATIENCE_SECONDS: Final = 2.0
"""How long another program may have a file open before it is given up to replace or delete it."""

_PATIENCE_TO_LOOK_AT: Final = 0.2  # such a file is written often, so the next time may do

_PART: Final = re.compile(r"\.[0-9a-f]{16}\.part")

# What keeps a folder's entry from being as durable as the file; elsewhere a folder just cannot be synced.
_FAULTS_OF_THE_DISK: Final = {errno.EIO, errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


def write_whole(
    path: str | os.PathLike[str],
    content: bytes | str | Callable[[BinaryIO], object],
    *,
    patience: float = PATIENCE_SECONDS,
    keep: bool = True,
) -> None:
    """Write a file so that a reader, or a machine that loses power, sees the old file or the new one.

    The bytes go to a temporary file beside the target, reach the disk (fsync), and take the target's name
    in one step (rename); then the folder's entry reaches the disk too.

    Args:
        path: The file to write; its folder must exist.
        content: Bytes, text (written as UTF-8; lone surrogates, as Python has them in file names that are
            not UTF-8, as those bytes) or a function that writes to the open binary file.
        patience: Seconds for which another program may have the old file open.
        keep: Where the old file cannot be replaced, leave the new content beside it (``model-2.onnx``).

    Raises:
        FileWriteError: The disk is full, or the like; the old file is as it was. If its ``kept`` is set, that
            file holds the whole new content.
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    num_bytes = 0
    faults: list[OSError] = []
    kept: Path | None = None
    try:
        with io.BufferedWriter(_File(temporary, faults)) as file:
            if isinstance(content, str):
                content = content.encode("utf-8", "surrogateescape")
            if isinstance(content, bytes):
                num_bytes = len(content)
                file.write(content)
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())
        try:
            retried(lambda: temporary.replace(path), patience)
        except PermissionError:
            if keep and path.exists():
                kept = _put_beside(temporary, path)
            raise
        _sync_folder(path.parent)
    except Exception as error:
        if isinstance(error, OSError):
            faults.append(error)
        if not faults:
            raise
        reason = faults[0].strerror or str(faults[0])
        raise FileWriteError(os.fspath(path), reason, num_bytes, os.fspath(kept) if kept else None) from error
    finally:
        if kept != temporary:
            delete(temporary)


def write_to_look_at(
    path: str | os.PathLike[str], content: bytes | str | Callable[[BinaryIO], object]
) -> FileWriteError | None:
    """Write a file that nothing depends on, if that is possible: history, curves, lists for people.

    Returns:
        Why it could not be written; the old file is then as it was. None if it was written.
    """
    try:
        write_whole(path, content, patience=_PATIENCE_TO_LOOK_AT, keep=False)
    except FileWriteError as error:
        return error
    return None


def delete(path: str | os.PathLike[str], *, patience: float = 0.0) -> bool:
    """Delete a file if that is possible, and return whether it no longer exists.

    Args:
        path: The file, there or not.
        patience: Seconds for which another program may have it open.
    """
    try:
        retried(lambda: Path(path).unlink(missing_ok=True), patience)
    except OSError:
        return False
    return True


def delete_parts(folder: Path) -> None:
    """Delete what ``write_whole`` has left half-written in a folder because its process was killed."""
    with contextlib.suppress(OSError):
        for file in folder.iterdir():
            if _PART.fullmatch(file.name):
                delete(file)


def retried(function: Callable[[], Result], patience: float = PATIENCE_SECONDS) -> Result:
    """Call a function that replaces, renames or deletes a file; again, while another program has it open.

    Args:
        function: Raises PermissionError in that case, as Windows has it.
        patience: Seconds after which its error is final.
    """
    deadline, pause = time.monotonic() + patience, 0.01
    while True:
        try:
            return function()
        except PermissionError:
            if time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)
        pause = min(2 * pause, 0.2)


def try_lock(file: FileDescriptorLike, *, shared: bool = False) -> bool:
    """Lock an open file against other processes, without waiting, until it is closed.

    Args:
        file: Open for reading and writing.
        shared: Together with others that share it.

    Returns:
        Whether it is locked now. Also True where files cannot be locked: on Windows, where a file that is
        open cannot be deleted anyway, and on file systems without locks.
    """
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


class FilesToLookAt:
    """Files of a folder that people look at, and that nothing depends on.

    One that cannot be written, because another program has it open, costs a warning, and is tried again.

    Attributes:
        folder: Where they are written.
    """

    def __init__(self, say: Callable[[str], object]) -> None:
        """
        Args:
            say: Called with the warning.
        """
        self.folder = Path()
        self._say = say
        self._outdated: dict[str, str | bytes] = {}  # what could not be written, by the file's name
        self._warned: set[str] = set()

    def show(self, name: str, content: str | bytes) -> None:
        """Write a file, or warn, once, that it is out of date."""
        path = self.folder / name
        self._outdated.pop(name, None)
        with contextlib.suppress(OSError):
            new = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
            if path.read_bytes() == new:
                return
        error = write_to_look_at(path, content)
        if error is None:
            return
        self._outdated[name] = content
        if name not in self._warned:
            self._say(
                f"Warning: {path} is not up to date, because it cannot be written: {error.reason}. Another "
                f"program may have it open. Training does not depend on it."
            )
        self._warned.add(name)

    def show_again(self) -> None:
        """Try again to write what could not be written, for the last time, and warn again."""
        self._warned.clear()
        for name, content in list(self._outdated.items()):
            self.show(name, content)


class _File(io.FileIO):
    """A new file that notes why it cannot be written: libraries make errors of their own of that."""

    def __init__(self, path: Path, faults: list[OSError]) -> None:
        super().__init__(path, "x")
        self._faults = faults

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self._faults.append(error)
            raise


TEXT: Final = re.compile(rb"[^\0]*")
FEATURES: Final = re.compile(rb"(PAR1|PK).*", re.DOTALL)
EXPORTS: Final = re.compile(rb"(\x08|PK|\x80).*", re.DOTALL)
"""How files begin that a command may replace: text, features (Parquet, npz), networks (ONNX, pth)."""

_OF_A_RUN: Final = frozenset({"answers.csv", "history.csv", "photos.csv", "quarantine.csv"})


def refuse_to_write(path: str | os.PathLike[str], kind: re.Pattern[bytes] | None = None) -> None:
    """Report, before long work, that a file could not be written.

    Args:
        path: As the user has named it. A file that is there is replaced, if it is of the same kind.
        kind: Matches the first bytes of files of that kind; None for files of any kind.

    Raises:
        UsageError: Its folder does not exist or may not be written to, or the name is taken by something that
            is not a regular file, by a file of another kind, such as a photo named after ``--out`` by
            mistake, or by a table of a run.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} exists and is not a regular file. Choose another output file.")
    if path.name in _OF_A_RUN and path.is_file() and (path.parent / "config.toml").is_file():
        raise UsageError(
            f"{path} belongs to the run in {path.parent}, so it is not replaced. Name another output file."
        )
    if kind is not None and path.is_file():
        with contextlib.suppress(OSError), open(path, "rb") as file:
            begin = file.read(4096)
            if begin and not kind.fullmatch(begin):
                raise UsageError(
                    f"{path} exists and is not a file of the kind that is going to be written, so it is not "
                    f"replaced. Name another output file."
                )
    if not path.parent.is_dir():
        raise UsageError(
            f"Cannot write {path}: the folder {path.parent} does not exist. Create it, or name another."
        )
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(
            f"Cannot write {path}: no permission to write into the folder {str(path.parent)!r}. "
            "Name another folder."
        )


def sha256_of_file(path: str | os.PathLike[str]) -> str:
    """Return the lower-case hexadecimal SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def own_code_digest() -> str:
    """Return a hash of Headstart's own Python files."""
    folder, sha256 = Path(__file__).parent, hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        sha256.update(f"{path.relative_to(folder)}\n".encode())
        sha256.update(path.read_bytes())
    return sha256.hexdigest()


def _put_beside(temporary: Path, path: Path) -> Path:
    """Give a temporary file a name like its target's, and return it; the name that it has if it has to."""
    for number in itertools.count(2):
        beside = path.with_name(f"{path.stem}-{number}{path.suffix}")
        if not beside.exists():
            break
    try:
        retried(lambda: temporary.rename(beside))
    except OSError:
        return temporary
    return beside


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows has no descriptor for a folder; its rename is durable by itself
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _FAULTS_OF_THE_DISK:
            raise
