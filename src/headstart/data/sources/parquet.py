"""Reads Parquet tables, those that contain the photos too, as Hugging Face writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from headstart.data.sources.tabular import Table
from headstart.errors import requires_extra
from headstart.images.parquet_rows import address_of_row, is_photo, photo_columns, schema_of

_BATCH_ROWS: Final = 4096


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
    photos = photo_columns(path)
    schema = schema_of(path)
    names = _class_names(schema.metadata or {})
    structs = {each.name for each in schema if is_photo(each.type)}
    plain = photos.keys() - structs

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
                        for name in photos.keys() & used:
                            column = name if len(photos) > 1 else None
                            cells[name] = address_of_row(path, number, cells.get(name), column)
                        for name in names.keys() & cells.keys():
                            try:
                                cells[name] = _named(cells[name], names[name])
                            except ValueError as error:
                                errors.append(f"{path}, row {number}: {name} {error}")
                        yield number, cells
        except (pyarrow.ArrowException, OSError) as error:
            errors.append(f"{path}, after row {number}: damaged: {error}")

    return Table(list(schema.names), "row", rows, frozenset(photos))


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
    """Return the name of a class, or a list of names; other cells as they are. -1 means no class.

    Raises:
        ValueError: A class has no name.
    """
    if isinstance(cell, list):
        return [_named(each, names) for each in cell]
    if not isinstance(cell, int):
        return cell
    if cell >= len(names) or cell < -1:
        raise ValueError(f"is class {cell}, but the file names only the classes 0 to {len(names) - 1}")
    return None if cell == -1 else names[cell]
