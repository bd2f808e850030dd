"""Reads Parquet tables, those that contain the photos too, as Hugging Face writes them."""

from __future__ import annotations

import bisect
import itertools
import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote

from headstart.data.sources.tabular import Table
from headstart.errors import DataError, ImageError, requires_extra
from headstart.images.photo import Photo

_BATCH_ROWS: Final = 4096
_MOST_CACHED_BYTES: Final = 2**28  # of row groups, beyond the last one that was read
_MOST_GROUP_BYTES: Final = 2**31  # of a row group, which is held in memory
_KEY: Final = re.compile(
    r"(?P<path>.+?\.(?:parquet|pq))[/\\](?:column (?P<column>[^/\\]+)[/\\])?row (?P<row>\d+)(?: [^/\\]*)?",
    re.IGNORECASE | re.DOTALL,
)
"""A key of ``key_of``; joined to a folder on Windows, it has backslashes."""


def open_parquet(path: str) -> Table:
    """Open a Parquet file.

    Integers of Hugging Face's ``ClassLabel`` become the names of the classes. A column with the content of
    photos, ``{bytes, path}`` or bytes, becomes a column of ``Table.photos``.

    Raises:
        DataError: The file is not Parquet.
        MissingPackageError: pyarrow is not installed.
    """
    with requires_extra("parquet", f"The table {path!r}"):
        import pyarrow
        import pyarrow.parquet
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
    except pyarrow.ArrowException as error:
        raise DataError(f"{path!r} cannot be read as Parquet: {error}.") from error
    names = _class_names(schema.metadata or {})
    structs = {each.name for each in schema if _is_photo(each.type)}
    plain = {each.name for each in schema if pyarrow.types.is_binary(each.type)}
    plain |= {each.name for each in schema if pyarrow.types.is_large_binary(each.type)}
    photos: dict[str, Callable[[str], bytes]] = {
        name: ParquetPhotos(path, f"{name}.bytes")
        for name in structs
        if _has_bytes(metadata, schema.field(name).type, f"{name}.bytes")
    }
    photos |= {name: ParquetPhotos(path, name) for name in plain}
    if photos:
        _refuse_large_groups(path, metadata)

    def rows(used: Sequence[str], errors: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        # The content of photos is not read here.
        read = [f"{name}.path" if name in structs else name for name in used if name not in plain]
        number = 0
        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(_BATCH_ROWS, columns=read):
                    for cells in batch.to_pylist():
                        number += 1
                        for name in structs & cells.keys():
                            cells[name] = (cells[name] or {}).get("path")
                        for name in names.keys() & cells.keys():
                            cells[name] = _named(cells[name], names[name])
                        yield number, cells
        except (pyarrow.ArrowException, OSError) as error:
            errors.append(f"{path}, after row {number}: damaged: {error}")

    notes = [_note_on_random_order(path, metadata, set(photos))] if photos else []
    photos = {name: photos[name] for name in schema.names if name in photos}
    return Table(list(schema.names), "row", rows, photos, tuple(filter(None, notes)))


def key_of(path: str, row: int, name: Any, column: str = "") -> str:
    """Return the key of a photo in a Parquet file.

    Args:
        path: The file.
        row: Its row, from 1.
        name: The photo's own name or path; anything but text for none.
        column: The column of the photo; empty if the file has one column with photos.
    """
    own = re.split(r"[/\\]", name)[-1] if isinstance(name, str) else ""
    place = f"column {quote(column, safe=' ')}/" if column else ""
    return f"{path}/{place}row {row}{' ' if own else ''}{own}"


def photo_at(key: str) -> Photo:
    """Return the photo with the key of a listing: a file, or a photo in a row of a Parquet file."""
    match = _KEY.fullmatch(key)
    if match is None or not Path(match["path"]).is_file():
        return Photo(key)
    found = _photos_in(match["path"], _version(match["path"]))
    if match["column"] is None:
        (read,) = found.values() if len(found) == 1 else (None,)
    else:
        read = found.get(unquote(match["column"]))
    return Photo(key) if read is None else Photo(key, read)


@dataclass(frozen=True, slots=True)
class ParquetPhotos:
    """Reads photos out of a Parquet file, by row group; the last groups stay in memory.

    Attributes:
        path: The file.
        column: Path of the column of bytes.
    """

    path: str
    column: str

    def __call__(self, key: str) -> bytes:
        """Return the content of a photo.

        Raises:
            ImageError: The row has no content.
        """
        match = _KEY.fullmatch(key)
        assert match is not None, key
        version = _version(self.path)
        group, row = _place_of(self.path, version, int(match["row"]) - 1)
        content = _GROUPS.read(_Group(self.path, version, self.column, group))[row].as_py()
        content = content.get("bytes") if isinstance(content, dict) else content
        if not isinstance(content, bytes):
            raise ImageError(key, "its bytes are empty in the Parquet file")
        return content


_Version = tuple[int, int]


def _version(path: str) -> _Version:
    """Return size and time of change of a file, by which a rewritten file is noticed."""
    status = Path(path).stat()
    return status.st_size, status.st_mtime_ns


class _Group(NamedTuple):
    """A column of a row group."""

    path: str
    version: _Version
    column: str
    number: int

    def read(self) -> Any:
        """Return the column as a chunked array of pyarrow."""
        import pyarrow.parquet

        with pyarrow.parquet.ParquetFile(self.path) as file:
            return file.read_row_group(self.number, columns=[self.column], use_threads=False).column(0)


class _Groups:
    """Row groups that were read last, shared by all threads, which read different ones at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read: OrderedDict[_Group, Future[Any]] = OrderedDict()

    def read(self, group: _Group) -> Any:
        """Return the content of a group, which one thread reads while others that need it wait."""
        with self._lock:
            known = self._read.get(group)
            future = self._read.setdefault(group, Future())
            self._read.move_to_end(group)
        if known is None:
            try:
                future.set_result(group.read())
            except BaseException as error:
                with self._lock:
                    self._read.pop(group, None)
                future.set_exception(error)
            self._forget_oldest()
        return future.result()

    def _forget_oldest(self) -> None:
        with self._lock:
            there = [(group, each.result()) for group, each in self._read.items() if each.done()]
            num_bytes = sum(content.nbytes for _, content in there)
            for group, content in there[:-1]:
                if num_bytes <= _MOST_CACHED_BYTES:
                    break
                num_bytes -= content.nbytes
                del self._read[group]


_GROUPS: Final = _Groups()


@lru_cache(maxsize=64)
def _photos_in(path: str, version: _Version) -> Mapping[str, Callable[[str], bytes]]:
    """Return what reads the photos of each column; ``version`` is that of the file, for the cache."""
    return open_parquet(path).photos


@lru_cache(maxsize=64)
def _starts(path: str, version: _Version) -> list[int]:
    """Return the first row of each row group; ``version`` is that of the file, for the cache."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        counts = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    return [0, *itertools.accumulate(counts)]


def _place_of(path: str, version: _Version, row: int) -> tuple[int, int]:
    """Return the row group of a row, and its place in it."""
    starts = _starts(path, version)
    group = bisect.bisect_right(starts, row) - 1
    return group, row - starts[group]


def _is_photo(kind: Any) -> bool:
    """Return whether a column has Hugging Face's type of a photo."""
    import pyarrow

    return pyarrow.types.is_struct(kind) and {kind.field(i).name for i in range(kind.num_fields)} == {
        "bytes",
        "path",
    }


def _has_bytes(metadata: Any, kind: Any, column: str) -> bool:
    """Return whether any row of a column of bytes is not null."""
    import pyarrow

    if pyarrow.types.is_null(kind.field(kind.get_field_index("bytes")).type):
        return False
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for each in map(group.column, range(group.num_columns)):
            statistics = each.statistics if each.path_in_schema == column else None
            if each.path_in_schema == column and (
                statistics is None or not statistics.has_null_count or statistics.null_count < group.num_rows
            ):
                return True
    return False


def _refuse_large_groups(path: str, metadata: Any) -> None:
    """Refuse photos in row groups that are too large for the memory: some tools write a single group."""
    largest = max((metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups)), default=0)
    if largest > _MOST_GROUP_BYTES:
        raise DataError(
            f"{path!r} has a row group of {largest / 2**30:.1f} GiB; with photos in it, up to "
            f"{_MOST_GROUP_BYTES / 2**30:.0f} GiB are read. Write it again with smaller ones: "
            "pyarrow.parquet.write_table(table, path, row_group_size=1000)"
        )


def _note_on_random_order(path: str, metadata: Any, columns: set[str]) -> str:
    """Return a note on photos that do not fit into the memory for row groups; empty if they do."""
    total = largest = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        parts = map(group.column, range(group.num_columns))
        sizes = [
            each.total_uncompressed_size for each in parts if each.path_in_schema.split(".")[0] in columns
        ]
        total, largest = total + sum(sizes), max(largest, sum(sizes))
    if total <= _MOST_CACHED_BYTES:
        return ""
    return (
        f"{path!r} holds {total / 2**20:,.0f} MB of photos in row groups of up to {largest / 2**20:,.0f} MB, "
        f"of which {_MOST_CACHED_BYTES / 2**20:.0f} MB stay in memory. A probe reads the photos in order. "
        "Training in steps reads them in random order, and a photo that is not in memory costs the time to "
        "read its whole row group: smaller row groups, or photos as files, are faster."
    )


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Return the names of the classes of Hugging Face's columns of numbers."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        found = {}
        for name, feature in features.items():
            inner = feature[0] if isinstance(feature, list) else feature.get("feature", feature)
            if isinstance(inner.get("names"), list):
                found[name] = [str(each) for each in inner["names"]]
    except (KeyError, ValueError, TypeError, AttributeError, IndexError):
        return {}
    return found


def _named(cell: Any, names: Sequence[str]) -> Any:
    """Return the name of a class, or a list of names; other cells as they are. -1 means no class."""
    if isinstance(cell, list):
        return [_named(each, names) for each in cell]
    if isinstance(cell, int) and 0 <= cell < len(names):
        return names[cell]
    return None if cell == -1 else cell
