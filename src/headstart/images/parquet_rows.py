"""Reads photos out of Parquet files, as Hugging Face writes them, one row group at a time.

A photo in a Parquet file has the address ``FILE/row N NAME``, such as ``train.parquet/row 17 cat.jpg``; with
the column in front of the row, ``FILE/COLUMN/row N NAME``, if the file has several columns of photos.
"""

from __future__ import annotations

import bisect
import itertools
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from headstart.errors import DataError, ImageError, requires_extra

PARQUET_SUFFIXES: Final = (".parquet", ".pq")

# Bytes of row groups in memory, beyond the last two that were read: while photos are read in their order, and
# otherwise.
_MOST_IN_ORDER: Final = 2**22
_MOST_OUT_OF_ORDER: Final = 2**28
_NEAR: Final = 16  # row groups; threads read photos that follow each other at about the same time
_FOR_ORDER: Final = 32  # row groups read in order, after which photos count as read in order again
_MOST_GROUP_BYTES: Final = 2**31  # of a row group, which is held in memory
_MOST_FILES: Final = 64  # whose columns and row groups are known at a time
_BATCH_ROWS: Final = 4096
_ADDRESS: Final = re.compile(
    r"(?P<path>.*\.(?:parquet|pq))(?:[/\\](?P<column>.+))?[/\\]row (?P<row>\d{1,18})(?: [^/\\]*)?",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class RowAddress:
    """A photo in a Parquet file.

    Attributes:
        path: The file.
        column: Name of the column; None for the only one with photos.
        row: The row, from 1.
    """

    path: str
    column: str | None
    row: int


def is_parquet(path: str) -> bool:
    """Return whether a path is that of a Parquet file, by its suffix."""
    return path.lower().endswith(PARQUET_SUFFIXES) and os.path.isfile(path)  # noqa: PTH113  # a long name


def address_of_row(path: str, row: int, name: Any, column: str | None = None) -> str:
    """Return the address of a photo.

    Args:
        path: The file.
        row: Its row, from 1.
        name: The photo's own name or path; anything but text for none.
        column: Its column, if the file has several columns of photos.
    """
    own = re.split(r"[/\\]", name)[-1] if isinstance(name, str) else ""
    return f"{path}/{f'{column}/' if column else ''}row {row}{' ' if own else ''}{own}"


def split_row(address: str) -> RowAddress | None:
    """Return the file, the column and the row; None for an address that is not in a Parquet file."""
    match = _ADDRESS.fullmatch(address) if "row " in address else None
    if match is None or not is_parquet(match["path"]):
        return None
    return RowAddress(match["path"], match["column"], int(match["row"]))


def has_row(place: RowAddress) -> bool:
    """Return whether a Parquet file has such a row and column; False if it cannot be read."""
    try:
        version = _version(place.path)
        return 0 < place.row <= _starts(place.path, version)[-1] and _column_of(place, version) is not None
    except (DataError, OSError):
        return False


def read_row(address: str, place: RowAddress) -> bytes:
    """Return the content of a photo. Row groups that were read last stay in memory.

    Args:
        address: Names the photo in errors.
        place: Where it is: see ``split_row``.

    Raises:
        ImageError: There is no such photo, its content is empty, or the file cannot be read.
        MissingPackageError: pyarrow is not installed.
    """
    try:
        version = _version(place.path)
        column, starts = _column_of(place, version), _starts(place.path, version)
        if column is None or not 0 < place.row <= starts[-1]:
            raise ImageError(address, f"no such photo in {Path(place.path).name}")
        group = bisect.bisect_right(starts, place.row - 1) - 1
        content = _GROUPS.read(place.path, version, column, group)[place.row - 1 - starts[group]].as_py()
    except DataError as error:
        raise ImageError(address, str(error)) from error
    except OSError as error:
        raise ImageError(address, f"cannot be read: {error.strerror or error}") from error
    content = content.get("bytes") if isinstance(content, dict) else content
    if not isinstance(content, bytes):
        raise ImageError(address, "its bytes are empty in the Parquet file")
    return content


def photo_columns(path: str) -> Mapping[str, str]:
    """Return the columns with the content of photos, as the path of their bytes by name.

    These are columns of bytes, and Hugging Face's ``{bytes, path}`` unless all bytes are null.

    Raises:
        DataError: The file is not Parquet, or its row groups are too large to read photos from.
        MissingPackageError: pyarrow is not installed.
    """
    return _photo_columns(path, _version(path))


def schema_of(path: str) -> Any:
    """Return the names and types of the columns, as pyarrow's schema.

    Raises:
        DataError: The file is not Parquet.
        MissingPackageError: pyarrow is not installed.
    """
    with _opened(path) as file:
        return file.schema_arrow


def names_photos(path: str) -> bool:
    """Return whether a path is that of a Parquet file, or of a column of one (``FILE/COLUMN``)."""
    return is_parquet(path) or (is_parquet(os.path.dirname(path)) and split_row(path) is None)  # noqa: PTH120


def photos_of(path: str) -> Iterator[str]:
    """Yield the addresses of all photos of a Parquet file; none if it contains no photos.

    Args:
        path: The file, or ``FILE/COLUMN``.

    Raises:
        DataError: The file is not Parquet or is damaged, or it is not clear which column has the photos.
        MissingPackageError: pyarrow is not installed.
    """
    given = None
    if not is_parquet(path):
        path, given = os.path.split(path)
    columns = photo_columns(path)
    shown = ", ".join(map(repr, columns))
    if given is not None and given not in columns:
        raise DataError(f"{path!r} has no column of photos {given!r}. Columns of photos: {shown or 'none'}.")
    if not columns:
        return
    if given is None and len(columns) > 1 and "image" not in columns:
        raise DataError(
            f"{path!r} has several columns of photos: {shown}. Name the one that is meant: "
            f"{f'{path}/{next(iter(columns))}'!r}"
        )
    name = given or ("image" if "image" in columns else next(iter(columns)))
    for number, own in enumerate(_names_in(path, name, has_names=columns[name] != name), 1):
        yield address_of_row(path, number, own, name if len(columns) > 1 else None)


def _names_in(path: str, column: str, *, has_names: bool) -> Iterator[str | None]:
    """Yield the own name of the photo in each row, if it has one."""
    with _opened(path) as file:
        import pyarrow

        try:
            for batch in file.iter_batches(_BATCH_ROWS, columns=[f"{column}.path"] if has_names else []):
                cells = batch.column(0).to_pylist() if has_names else [None] * batch.num_rows
                yield from (cell.get("path") if isinstance(cell, dict) else None for cell in cells)
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(f"{path!r} is damaged: {error}. Copy or download it again.") from error


class _Groups:
    """Row groups that were read last, shared by all threads.

    Few stay in memory while photos are read in their order, and more if they are read in another order, as in
    training with steps.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read: OrderedDict[tuple[str, tuple[int, int], str, int], Any] = OrderedDict()
        self._num_bytes = 0
        self._last: dict[tuple[str, str], int] = {}  # row group of each file and column that was read last
        self._num_in_order = _FOR_ORDER  # row groups since the last jump

    def read(self, path: str, version: tuple[int, int], column: str, group: int) -> Any:
        """Return a column of a row group as a chunked array of pyarrow."""
        key = (path, version, column, group)
        with self._lock:
            if key not in self._read:
                with _opened(path) as file:
                    table = file.read_row_group(group, columns=[column], use_threads=False)
                self._read[key] = table.column(0)
                self._num_bytes += self._read[key].nbytes
                self._drop_oldest(path, column, group)
            self._read.move_to_end(key)
            return self._read[key]

    def _drop_oldest(self, path: str, column: str, group: int) -> None:
        """Drop row groups beyond the limit, after one was read."""
        import pyarrow

        is_near = group == 0 or abs(group - self._last.get((path, column), group)) <= _NEAR
        self._last[path, column] = group
        self._num_in_order = self._num_in_order + 1 if is_near else 0
        limit = _MOST_IN_ORDER if self._num_in_order >= _FOR_ORDER else _MOST_OUT_OF_ORDER
        before = self._num_bytes
        while len(self._read) > 2 and self._num_bytes > limit:
            _, oldest = self._read.popitem(last=False)
            self._num_bytes -= oldest.nbytes
        if self._num_bytes < before:
            pyarrow.default_memory_pool().release_unused()


_GROUPS: Final = _Groups()


def _opened(path: str) -> Any:
    """Open a Parquet file.

    Raises:
        DataError: The file is not Parquet.
        MissingPackageError: pyarrow is not installed.
    """
    with requires_extra("parquet", f"The table {path!r}"):
        import pyarrow
        import pyarrow.parquet
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:  # OSError: a damaged description of the columns
        why = " ".join(str(error).split()).rstrip(".")
        raise DataError(f"{path!r} cannot be read as Parquet: {why}. Copy or download it again.") from error


def _version(path: str) -> tuple[int, int]:
    """Return what changes if the file is replaced."""
    status = Path(path).stat()
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=_MOST_FILES)
def _photo_columns(path: str, version: tuple[int, int]) -> Mapping[str, str]:
    with _opened(path) as file:
        schema, metadata = file.schema_arrow, file.metadata
    found = {}
    for each in schema:
        if _is_bytes(each.type):
            found[each.name] = each.name
        elif is_photo(each.type) and _has_bytes(metadata, each.type, f"{each.name}.bytes"):
            found[each.name] = f"{each.name}.bytes"
    if found:
        _refuse_large_groups(path, metadata)
    return found


@lru_cache(maxsize=_MOST_FILES)
def _starts(path: str, version: tuple[int, int]) -> list[int]:
    """Return the first row of each row group, and the number of rows."""
    with _opened(path) as file:
        counts = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    return [0, *itertools.accumulate(counts)]


def _column_of(place: RowAddress, version: tuple[int, int]) -> str | None:
    """Return the path of the column of bytes; None if there is no such column, or several could be meant."""
    columns = _photo_columns(place.path, version)
    if place.column is not None:
        return columns.get(place.column)
    return next(iter(columns.values())) if len(columns) == 1 else None


def is_photo(kind: Any) -> bool:
    """Return whether a column has Hugging Face's type of a photo."""
    import pyarrow

    names = {kind.field(i).name for i in range(kind.num_fields)} if pyarrow.types.is_struct(kind) else set()
    return names >= {"bytes", "path"}


def _is_bytes(kind: Any) -> bool:
    """Return whether a column contains bytes, in whichever of Arrow's types for them."""
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


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
