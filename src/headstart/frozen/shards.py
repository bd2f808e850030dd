"""One shard of a shared store: a Parquet file of rows, at an address of fsspec, that never changes.

The columns are ``key``, ``checksum`` and ``value``, all binary. The metadata of the file contain, as JSON
under ``headstart``, the version of this format, the description of the rows, their type and their shape.
"""

from __future__ import annotations

import io
import json
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np

SUFFIX: Final = ".parquet"
PART: Final = ".part"
"""Suffix of a shard that is still being written; nobody reads it."""

_ABANDONED: Final = timedelta(days=1)
_VERSION: Final = 1
_ENTRY: Final = b"headstart"
_COLUMNS: Final = ["key", "checksum", "value"]
_GROUP_BYTES: Final = 2**20  # that are read at once for one row
_TRIES: Final = 5
_FIRST_PAUSE_SECONDS: Final = 0.25
_SILENT_SECONDS: Final = 5.0  # of tries that fail, before the user reads why it takes longer
_LONGEST_SECONDS: Final = 60.0  # after which nothing is tried again
Answer = TypeVar("Answer")


class ShardError(Exception):
    """A shard is damaged, incomplete, or not one of this store; the text is the reason."""


class ForeignShardError(ShardError):
    """A shard is not one of this store: reading it once more does not help."""


class RowOfShard(NamedTuple):
    """A row as it is stored: its checksum has not been verified."""

    key: bytes
    checksum: bytes
    value: bytes


@dataclass(frozen=True)
class Form:
    """What all shards of a store have in common.

    Attributes:
        about: Description of the rows, as JSON.
        dtype: Their type, such as ``"float32"``.
    """

    about: str
    dtype: str

    def to_bytes(self, shape: Sequence[int]) -> bytes:
        """Return the entry of a shard's metadata."""
        values = {"version": _VERSION, "about": self.about, "dtype": self.dtype, "shape": list(shape)}
        return json.dumps(values, sort_keys=True).encode()

    def shape_in(self, entry: bytes | None) -> tuple[int, ...]:
        """Return the shape in the entry of a shard's metadata.

        Raises:
            ForeignShardError: The shard contains other rows.
        """
        try:
            values = json.loads(entry or b"")
            shape = tuple(int(side) for side in values["shape"])
        except (ValueError, TypeError, KeyError):
            raise ForeignShardError("it was not written by Headstart") from None
        if self.to_bytes(shape) != entry:
            raise ForeignShardError(
                "it contains other features, or was written by another version of Headstart"
            )
        return shape


class Shard:
    """A shard that is read.

    Args:
        system: File system of fsspec.
        path: Path in it.
        form: What the shard must contain.

    Attributes:
        path: Path in the file system.
        shape: Shape of each row.
        keys: Keys of all rows, (N,) bytes of equal length.

    Raises:
        ShardError: It is damaged, incomplete or foreign.
        OSError: It cannot be read.
    """

    def __init__(self, system: Any, path: str, form: Form) -> None:
        import pyarrow.parquet

        self.path = path
        self._system = system
        with system.open(path, "rb", cache_type="none") as stream:
            file = _file(stream)
            entry = (file.schema_arrow.metadata or {}).get(_ENTRY)
            self.shape = form.shape_in(entry)
            if file.schema_arrow.names != _COLUMNS:
                raise ForeignShardError("it has other columns")
            self._metadata: pyarrow.parquet.FileMetaData = file.metadata
            keys = _read(lambda: file.read(columns=["key"]))["key"].to_pylist()
        lengths = {len(key) for key in keys}
        if len(lengths) != 1:
            raise ShardError("its keys differ in length")
        self.keys = np.array(keys, f"S{lengths.pop()}")
        sizes = [self._metadata.row_group(n).num_rows for n in range(self._metadata.num_row_groups)]
        self._starts = np.cumsum([0, *sizes])

    def group_of(self, row: int) -> tuple[int, int]:
        """Return the number of the group of rows that contains a row, and its place in the group."""
        group = int(np.searchsorted(self._starts, row, "right")) - 1
        return group, row - int(self._starts[group])

    def read_group(self, group: int) -> list[RowOfShard]:
        """Return the rows of a group.

        Raises:
            ShardError: It is damaged.
            OSError: It cannot be read.
        """
        with self._system.open(self.path, "rb", cache_type="none") as stream:
            file = _file(stream, self._metadata)
            table = _read(lambda: file.read_row_group(group))
        columns = [table[name].to_pylist() for name in _COLUMNS]
        return [RowOfShard(*each) for each in zip(*columns, strict=True)]


def write_shard(
    system: Any,
    folder: str,
    form: Form,
    shape: Sequence[int],
    rows: Sequence[RowOfShard],
    tell: Callable[[Exception], object] = lambda _: None,
) -> str:
    """Write a shard under another name, move it to its final name, and return its path.

    Args:
        system: File system of fsspec.
        folder: Folder in it.
        form: What all shards of the store have in common.
        shape: Shape of each row.
        rows: At least one.
        tell: As for ``retried``.

    Raises:
        OSError: It cannot be written.
    """
    import pyarrow
    import pyarrow.parquet

    fields = [pyarrow.field(name, pyarrow.binary(), nullable=False) for name in _COLUMNS]
    schema = pyarrow.schema(fields, {_ENTRY: form.to_bytes(shape)})
    columns = [pyarrow.array(column, pyarrow.binary()) for column in zip(*rows, strict=True)]
    content = io.BytesIO()
    pyarrow.parquet.write_table(
        pyarrow.table(columns, schema=schema),
        content,
        row_group_size=max(1, _GROUP_BYTES // max(1, len(rows[0].value))),
        compression="none",  # features hardly become smaller
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )
    path = f"{folder}/{secrets.token_hex(16)}{SUFFIX}"

    def write() -> None:
        system.makedirs(folder, exist_ok=True)
        system.pipe_file(path + PART, content.getvalue())
        system.mv(path + PART, path)

    retried(write, tell)
    return path


def retried(work: Callable[[], Answer], tell: Callable[[Exception], object] = lambda _: None) -> Answer:
    """Call a function that uses storage; if it fails, call it again after growing pauses.

    Args:
        work: What is called.
        tell: Called with the last error before it is tried again, if that has taken long already: the library
            of a protocol tries several times itself.

    Raises:
        OSError: The last try failed, too.
    """
    begun = time.monotonic()
    for number in range(1, _TRIES + 1):
        try:
            return work()
        except (FileNotFoundError, ForeignShardError):
            raise
        except Exception as error:  # each protocol has exceptions of its own; a server may have cut a body
            seconds = time.monotonic() - begun
            if number == _TRIES or seconds > _LONGEST_SECONDS:
                if isinstance(error, ShardError):
                    raise
                raise OSError(f"{type(error).__name__}: {error}") from error
            if seconds > _SILENT_SECONDS:
                tell(error)
        time.sleep(_FIRST_PAUSE_SECONDS * 2 ** (number - 1))
    raise AssertionError("the last try returns or raises")


def delete_parts(system: Any, paths: Sequence[str]) -> None:
    """Delete shards whose writer was killed: those that have been written in part for more than a day.

    Args:
        system: File system of fsspec.
        paths: Everything in the folder of a store.
    """
    for path in paths:
        if path.endswith(SUFFIX + PART):
            with suppress(Exception):  # it does not matter if one stays; each protocol has its exceptions
                written = system.modified(path)
                if datetime.now(written.tzinfo or UTC) - written > _ABANDONED:
                    system.rm_file(path)


def _file(stream: Any, metadata: Any = None) -> Any:
    import pyarrow.parquet

    return _read(
        lambda: pyarrow.parquet.ParquetFile(stream, metadata=metadata, page_checksum_verification=True)
    )


def _read(read: Callable[[], Any]) -> Any:
    import pyarrow

    try:
        return read()
    except (pyarrow.ArrowException, ValueError, OverflowError) as error:
        raise ShardError(f"it is damaged or incomplete: {str(error).rstrip('.')}") from error
    except OSError as error:
        if error.errno is None:  # Parquet's own, about the content
            raise ShardError(f"it is damaged or incomplete: {str(error).rstrip('.')}") from error
        raise
