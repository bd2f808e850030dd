"""Reads Parquet tables, those that contain the photos too, as Hugging Face writes them."""

from __future__ import annotations

import bisect
import itertools
import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from headstart.data.sources.tabular import Table
from headstart.errors import DataError, ImageError, requires_extra
from headstart.images.photo import Photo

_BATCH_ROWS: Final = 4096
_MOST_CACHED_BYTES: Final = 2**28  # of row groups, beyond the last one that was read
_MOST_GROUP_BYTES: Final = 2**31  # of a row group, which is held in memory
_KEY: Final = re.compile(r"/row (\d+)(?: [^/]*)?$")


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

    return Table(list(schema.names), "row", rows, photos)


def key_of(path: str, row: int, name: Any) -> str:
    """Return the key of a photo in a Parquet file.

    Args:
        path: The file.
        row: Its row, from 1.
        name: The photo's own name or path; anything but text for none.
    """
    own = re.split(r"[/\\]", name)[-1] if isinstance(name, str) else ""
    return f"{path}/row {row}{' ' if own else ''}{own}"


def photo_at(key: str) -> Photo:
    """Return the photo with the key of a listing: a file, or a photo in a row of a Parquet file."""
    match = _KEY.search(key)
    path = key[: match.start()] if match else ""
    if not path.lower().endswith((".parquet", ".pq")) or not Path(path).is_file():
        return Photo(key)
    read = next(iter(open_parquet(path).photos.values()), None)
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
        match = _KEY.search(key)
        assert match is not None, key
        status = Path(self.path).stat()
        group, row = _place_of(self.path, (status.st_size, status.st_mtime_ns), int(match[1]) - 1)
        content = _GROUPS.read(self.path, self.column, group)[row].as_py()
        content = content.get("bytes") if isinstance(content, dict) else content
        if not isinstance(content, bytes):
            raise ImageError(key, "its bytes are empty in the Parquet file")
        return content


class _Groups:
    """Row groups that were read last, shared by all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read: OrderedDict[tuple[str, str, int], Any] = OrderedDict()

    def read(self, path: str, column: str, group: int) -> Any:
        """Return a column of a row group as a chunked array of pyarrow."""
        import pyarrow.parquet

        key = (path, column, group)
        with self._lock:
            if key not in self._read:
                with pyarrow.parquet.ParquetFile(path) as file:
                    table = file.read_row_group(group, columns=[column], use_threads=False)
                self._read[key] = table.column(0)
            self._read.move_to_end(key)
            while (
                len(self._read) > 1 and sum(each.nbytes for each in self._read.values()) > _MOST_CACHED_BYTES
            ):
                self._read.popitem(last=False)
            return self._read[key]


_GROUPS: Final = _Groups()


@lru_cache(maxsize=64)
def _starts(path: str, version: tuple[int, int]) -> list[int]:
    """Return the first row of each row group; ``version`` is that of the file, for the cache."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        counts = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    return [0, *itertools.accumulate(counts)]


def _place_of(path: str, version: tuple[int, int], row: int) -> tuple[int, int]:
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
