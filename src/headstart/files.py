"""Writes files completely or not at all, even if another program has them open.

Windows cannot replace or delete a file that any program has open: a spreadsheet, a viewer, an indexer, a
virus scanner. Most programs close a file within a second, so replacing and deleting are repeated for a while.
If that fails, the consequence depends on the purpose of the file:

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
import reprlib
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar

from headstart.errors import ConfigError, FileWriteError, UsageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

Result = TypeVar("Result")

PATIENCE_SECONDS: Final = 2.0
"""Seconds for which replacing or deleting is repeated while another program has the file open."""

_PATIENCE_TO_LOOK_AT: Final = 0.2  # such a file is written often, so the next time may do

_CACHE_FRACTION: Final = 0.1  # of the free disk space

_PROTOCOL: Final = re.compile(
    r"(?!file:)[a-z][a-z0-9+.-]+://", re.IGNORECASE
)  # one letter: a drive of Windows

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
    """Write a file so that readers see either the old file or the new one, even after a power cut.

    The bytes are written to a temporary file beside the target, flushed to disk (fsync), and moved to the
    target's name in one step (rename); then the folder's entry is flushed too.

    Args:
        path: The file to write; its folder must exist.
        content: Bytes, text (encoded as UTF-8, with surrogate escapes as their bytes) or a function that
            writes to the open binary file.
        patience: Seconds to wait while another program has the old file open.
        keep: If the old file cannot be replaced, leave the new content beside it (``model-2.onnx``).

    Raises:
        FileWriteError: The disk is full, for example; the old file is unchanged. If ``kept`` of the error is
            set, that file contains the whole new content.
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
    """Try to write a file that only people read: history, curves, lists.

    Returns:
        Why it could not be written, in which case the old file is unchanged; None if it was written.
    """
    try:
        write_whole(path, content, patience=_PATIENCE_TO_LOOK_AT, keep=False)
    except FileWriteError as error:
        return error
    return None


def delete(path: str | os.PathLike[str], *, patience: float = 0.0) -> bool:
    """Delete a file if possible, and return whether it no longer exists.

    Args:
        path: The file, which need not exist.
        patience: Seconds to wait while another program has it open.
    """
    try:
        retried(lambda: Path(path).unlink(missing_ok=True), patience)
    except OSError:
        return False
    return True


def disk_budget(folder: Path, used_bytes: int, most_bytes: int) -> int:
    """Return how many bytes a cache may take up: a tenth of the free disk space, and at most ``most_bytes``.

    Args:
        folder: The cache's folder, which need not exist.
        used_bytes: Its current size, which counts as free.
        most_bytes: The limit on a large disk.

    Returns:
        0 if the free disk space cannot be determined.
    """
    try:
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        return int(min(most_bytes, _CACHE_FRACTION * (shutil.disk_usage(folder).free + used_bytes)))
    except OSError:
        return 0


def delete_parts(folder: Path) -> None:
    """Delete incomplete files that ``write_whole`` has left in a folder because its process was killed."""
    with contextlib.suppress(OSError):
        for file in folder.iterdir():
            if _PART.fullmatch(file.name):
                delete(file)


def retried(function: Callable[[], Result], patience: float = PATIENCE_SECONDS) -> Result:
    """Call a function that replaces, renames or deletes a file, repeatedly if another program has it open.

    Args:
        function: Raises PermissionError while another program has the file open, as Windows does.
        patience: Seconds after which the error is raised.
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


class FilesToLookAt:
    """Files in a folder that only people read, and that training does not depend on.

    If a file cannot be written because another program has it open, a warning is given and writing is tried
    again later.

    Attributes:
        folder: The folder of the files.
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
        """Write a file; if that fails, warn once that it is out of date."""
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
        """Write outdated files again, for the last time, and warn again if that fails."""
        self._warned.clear()
        for name, content in list(self._outdated.items()):
            self.show(name, content)


class _File(io.FileIO):
    """A new file that records write errors, because libraries replace them by their own."""

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
"""First bytes of files that a command may replace: text, features (Parquet, npz), networks (ONNX, pth)."""

TABLES_OF_A_RUN: Final = frozenset(
    {"answers.csv", "findings.csv", "history.csv", "photos.csv", "quarantine.csv"}
)
"""Tables in a run folder, which no output of a command replaces."""


def given_path(path: str | os.PathLike[str], name: str, what: str) -> Path:
    """Return the path that an argument of a public function holds.

    Args:
        path: The argument.
        name: Its name.
        what: Description of what it is the path of, such as ``a run folder``.

    Raises:
        ConfigError: The argument is not a path, but for example None or a number.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ConfigError(f"{name} is {reprlib.repr(path)}; it must be the path of {what}.")
    return Path(path)


def is_remote(path: str) -> bool:
    """Return whether a path begins with the name of a protocol, such as ``https://``; not ``file://``."""
    return "://" in path and _PROTOCOL.match(path) is not None


def absolute(path: str) -> str:
    """Return an absolute path; a remote address is not changed."""
    return path if is_remote(path) else str(Path(path).absolute())


def refuse_to_write(path: str | os.PathLike[str], kind: re.Pattern[bytes] | None = None) -> None:
    """Raise an error before long work if a file could not be written at its end.

    Args:
        path: The output file that the user has named. An existing file may be replaced if it is of the same
            kind.
        kind: Matches the first bytes of files of the same kind; None to allow any file.

    Raises:
        UsageError: The folder does not exist or is not writable; or the path exists and is not a regular
            file, is a file of another kind (such as a photo given as ``--out`` by mistake), or is a table of
            a run.
    """
    path = given_path(path, "out", "the output file")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} exists and is not a regular file. Choose another output file.")
    if path.name in TABLES_OF_A_RUN and path.is_file() and (path.parent / "config.toml").is_file():
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
    """Rename a temporary file to a name like its target's, if possible, and return its path."""
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
