"""Rows in a temporary file, for heads whose features would take too much memory."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import BinaryIO, Final, cast

import numpy as np

from headstart.environment import make_in_cache, own_cache
from headstart.errors import TrainingError

_STEPS: Final = "Or train the head in steps: a recipe file with optimizer = 'adam'."


class FileRows:
    """An array (N, D) of float32 in a temporary file, of which only what is indexed is in memory.

    ``rows[2:5]`` and ``rows[indices]`` read rows into new arrays, and ``rows[2:5] = values`` writes some.
    Threads may read at the same time. The file has no name, or loses it when it is closed, so that nothing
    is left of it, even if the process is killed.

    Attributes:
        shape: (N, D).
        folder: Folder of the file.
    """

    dtype: Final = np.dtype(np.float32)
    ndim: Final = 2

    def __init__(self, shape: tuple[int, int], folder: Path) -> None:
        """Create the file; rows that have not been written yet must not be read.

        Raises:
            TrainingError: The file cannot be created.
        """
        self.shape = shape
        self.folder = folder
        self._lock = threading.Lock()  # of the place in the file
        try:
            make_in_cache(folder)
            self._file = cast(BinaryIO, tempfile.TemporaryFile(dir=folder))  # noqa: SIM115 (see __del__)
        except OSError as error:
            raise _unusable(folder, error) from error

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        """Number of values."""
        return self.shape[0] * self.shape[1]

    @property
    def nbytes(self) -> int:
        """Size of the values in bytes."""
        return self.size * self.dtype.itemsize

    def empty(self, shape: tuple[int, int]) -> FileRows:
        """Return another array, in a file of its own in the same folder."""
        return FileRows(shape, self.folder)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        if isinstance(rows, slice):
            first, last, _ = rows.indices(len(self))
            found = np.empty((max(last - first, 0), self.shape[1]), np.float32)
            self._read(first, found)
            return found
        found = np.empty((len(rows), self.shape[1]), np.float32)
        for place, row in enumerate(rows.tolist()):
            self._read(row, found[place])
        return found

    def __setitem__(self, rows: slice, values: np.ndarray) -> None:
        try:
            with self._lock:
                self._file.seek(rows.start * self.shape[1] * self.dtype.itemsize)
                self._file.write(np.ascontiguousarray(values, np.float32).data)
        except OSError as error:
            raise _unusable(self.folder, error) from error

    def _read(self, first: int, found: np.ndarray) -> None:
        """Fill an array with the rows from ``first`` on."""
        try:
            with self._lock:
                self._file.seek(first * self.shape[1] * self.dtype.itemsize)
                num_bytes = self._file.readinto(found)  # type: ignore[attr-defined]
        except OSError as error:
            raise _unusable(self.folder, error) from error
        if num_bytes != found.nbytes:
            raise _unusable(self.folder, OSError("it is shorter than what was written"))

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()


def folder_for(num_bytes: int) -> Path:
    """Return a folder for temporary files: Headstart's cache, or the system's folder without one.

    Args:
        num_bytes: Size of all files together.

    Raises:
        TrainingError: The disk has not enough free space.
    """
    cache = own_cache()
    folder = cache / "solving" if cache else Path(tempfile.gettempdir())
    try:
        make_in_cache(folder)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise _unusable(folder, error) from error
    if free < num_bytes:
        raise TrainingError(
            f"Solving the head takes {num_bytes / 1e9:.1f} GB of disk space for temporary files in "
            f"{os.fspath(folder)}, where {free / 1e9:.1f} GB are free. Free some, or name another folder "
            f"with the environment variable HEADSTART_CACHE. {_STEPS}"
        )
    return folder


def _unusable(folder: Path, error: OSError) -> TrainingError:
    return TrainingError(
        f"The temporary file for solving the head cannot be used in {os.fspath(folder)}: {error}. Name "
        f"another folder with the environment variable HEADSTART_CACHE. {_STEPS}"
    )
