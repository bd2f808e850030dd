"""Reads JSON files as tables: lists of objects, tables of pandas, labels by name, and exports of tools."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from headstart.data.sources.cloud_exports import is_azure, rows_of_azure
from headstart.data.sources.column_names import find_image_column
from headstart.data.sources.create_ml import (
    is_create_ml,
    is_create_ml_labels,
    rows_of_create_ml,
    rows_of_create_ml_labels,
)
from headstart.data.sources.fiftyone import is_fiftyone, rows_of_fiftyone
from headstart.data.sources.label_studio import is_label_studio, rows_of_label_studio, rows_of_minimal
from headstart.data.sources.refused import refuse_json
from headstart.data.sources.tabular import JsonRows, NumberedRows, Row, Table
from headstart.errors import DataError

FORMS: Final = (
    'a list of objects ([{"image": "a.jpg", "label": "cat"}]), labels by name ({"a.jpg": "cat"}), pandas\' '
    "to_json, Label Studio, Create ML, FiftyOne, Azure Custom Vision, COCO, or JSON lines"
)


def unique_names(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON, as ``object_pairs_hook`` of ``json.loads``.

    Raises:
        ValueError: It has a name twice, and Python's reader would keep the last one.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        (name, number), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"an object has the name {name!r} {number} times")
    return found


def read_json(path: str) -> JsonRows | None:
    """Read a JSON file that is not COCO.

    Returns:
        Its content; None if it is JSON lines.

    Raises:
        DataError: The file is not JSON, or not in a form that is known.
    """
    try:
        content = json.loads(Path(path).read_bytes(), object_pairs_hook=unique_names)
    except ValueError as error:
        if "Extra data" in str(error):
            return None
        what = "is not JSON" if isinstance(error, json.JSONDecodeError) else "cannot be read safely"
        raise DataError(f"{path!r} {what}: {error}. Repair it, or export it again.") from error
    except RecursionError as error:
        raise DataError(f"{path!r} is not JSON that can be read: it is nested too deeply.") from error
    refuse_json(path)
    if isinstance(content, dict):
        if is_fiftyone(content):
            return _numbered(rows_of_fiftyone(path, content))
        if any(_is_plain_text(content.get(name)) for name in ("image", "file_name")):
            return None  # one line of JSON lines
        return _numbered(_rows_of_object(path, content))
    if not isinstance(content, list) or not content:
        raise DataError(f"{path!r} contains no labels. Headstart reads {FORMS}.")
    if is_label_studio(content):
        return rows_of_label_studio(path, content)
    if is_create_ml(content):
        return rows_of_create_ml(content)
    if is_create_ml_labels(content):
        return rows_of_create_ml_labels(content)
    if is_azure(content):
        return rows_of_azure(path, content)
    if (minimal := rows_of_minimal(path, content)) is not None:
        return minimal
    if all(isinstance(each, list) for each in content):  # rows without names
        raise DataError(f"{path!r} has lists as entries, without names of columns. Headstart reads {FORMS}.")
    return _numbered(content)


def columns_of(rows: Sequence[tuple[int, Row]]) -> list[str]:
    """Return the names that occur in any row, in the order of their first occurrence."""
    return list(dict.fromkeys(name for _, row in rows for name in row))


def _numbered(entries: Sequence[Any]) -> JsonRows:
    rows: NumberedRows = []
    errors = []
    for number, entry in enumerate(entries, 1):
        if isinstance(entry, dict):
            rows.append((number, {str(name): value for name, value in entry.items()}))
        else:
            errors.append(f"entry {number}: {entry!r:.60} is not an object in braces")
    return JsonRows(rows, errors)


def _rows_of_object(path: str, content: Mapping[str, Any]) -> list[Row]:
    """Return the rows of one JSON object."""
    names, values = list(content), list(content.values())
    if isinstance(content.get("data"), list) and isinstance(content.get("columns"), list):  # orient="split"
        return _rows_of_split(path, content["columns"], content["data"])
    if isinstance(content.get("data"), list) and "schema" in content:  # orient="table"
        return list(content["data"])
    if values and all(isinstance(value, list) for value in values) and not _name_photos(names):
        num_rows = {len(value) for value in values}
        if len(num_rows) > 1:
            raise DataError(
                f"{path!r} has columns of different lengths: {sorted(num_rows)}. Export it again."
            )
        return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
    if values and all(isinstance(value, dict) for value in values):
        inner = list(values[0])
        if _name_photos(names):  # {"a.jpg": {"label": "cat"}}
            return [_row_of_photo(path, name, value) for name, value in content.items()]
        if _are_rows(names, inner):  # orient="index"
            return list(values)
        return list(_transposed(content))  # pandas' default
    if values and all(_is_plain_text(value) or _is_list_of_text(value) for value in values):
        several = any(isinstance(value, list) for value in values)
        if not all(isinstance(each, str) for value in values if isinstance(value, list) for each in value):
            raise DataError(
                f"{path!r} has lists of numbers, which may be classes or boxes. Write classes as text, as in "
                '{"a.jpg": ["3", "7"]}, or boxes as a list of objects with image, xmin, ymin, xmax and ymax.'
            )
        column = "labels" if several else "label"
        return [
            {"image": name, column: [value] if several and isinstance(value, str) else value}
            for name, value in content.items()
        ]
    shown = ", ".join(map(repr, names[:5]))
    raise DataError(f"{path!r} is an object with {shown}, which is no known form. Headstart reads {FORMS}.")


def _rows_of_split(path: str, columns: list[Any], data: list[Any]) -> list[Row]:
    """Return the rows of pandas' ``orient="split"``.

    Raises:
        DataError: Names of columns are not text or occur twice, or a row has not a cell for each of them.
    """
    for name in columns:
        if not isinstance(name, str) or columns.count(name) > 1:
            why = "occurs twice" if isinstance(name, str) else "is not text"
            raise DataError(f"{path!r}: the name of a column, {name!r:.60}, {why}. Export it again.")
    for number, row in enumerate(data, 1):
        if not isinstance(row, list) or len(row) != len(columns):
            raise DataError(
                f"{path!r}, entry {number} of data: {row!r:.60} is not a list of {len(columns)} cells, one "
                "for each column. Export it again."
            )
    return [dict(zip(columns, row, strict=True)) for row in data]


def _row_of_photo(path: str, photo: str, cells: Row) -> Row:
    """Return the row of an object that a photo names.

    Raises:
        DataError: A column of the object names another photo.
    """
    column = find_image_column(path, Table(list(cells), "entry", lambda *_: iter([(1, cells)])), "image")
    other = cells.get(column) if column else None
    if isinstance(other, str) and "." in other and other != photo:
        raise DataError(
            f"{path!r}: the entry of {photo!r} names the photo {other!r} as {column}. Write a list of "
            "objects with one of the two as image."
        )
    return {**cells, "image": photo}


def _transposed(columns: Mapping[str, Mapping[str, Any]]) -> Iterator[Row]:
    index = list(dict.fromkeys(key for column in columns.values() for key in column))
    for key in index:
        yield {name: column.get(key) for name, column in columns.items()}


def _are_rows(outer: Sequence[str], inner: Sequence[str]) -> bool:
    """Return whether the outer keys number rows, and the inner keys name columns."""
    return all(map(str.isdigit, outer)) and not all(map(str.isdigit, inner))


def _name_photos(names: Sequence[str]) -> bool:
    return all("." in name for name in names)


def _is_plain_text(value: Any) -> bool:
    return isinstance(value, (str, int)) and not isinstance(value, bool)


def _is_list_of_text(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_plain_text, value))
