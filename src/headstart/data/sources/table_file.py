"""Reads table files row by row: CSV with any usual separator, Parquet, JSON lines."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

from headstart.columns import counted
from headstart.data.quarantine import MOST_NAMED, and_more
from headstart.data.sources.cloud_exports import is_automl, rows_of_automl
from headstart.data.sources.exported import rows_of_export
from headstart.data.sources.json_rows import columns_of, read_json, unique_names
from headstart.data.sources.parquet import open_parquet
from headstart.data.sources.tabular import JsonRows, Table
from headstart.errors import DataError

TABLE_SUFFIXES: Final = frozenset({".csv", ".tsv", ".parquet", ".pq", ".jsonl", ".ndjson", ".manifest"})
"""Lower-case suffixes of table files."""

_SEPARATOR_LINE: Final = re.compile(r'"?sep=([,;\t|])"?\s*', re.IGNORECASE)


def open_table(path: str, image_column: str) -> Table:
    """Open a table and find its columns.

    Args:
        path: A .csv, .tsv, .parquet or .jsonl file.
        image_column: A required column, by which the separator of a CSV is recognised.

    Raises:
        DataError: The file cannot be read, or has no columns.
    """
    try:
        table = _open(path, image_column)
        content = rows_of_export(path, table)
        return table if content is None else _of_rows(path, content, table.place, table.photos)
    except OSError as error:
        raise DataError(f"{path!r} cannot be read: {error.strerror or error}.") from error
    except UnicodeError as error:
        raise DataError(f"{path!r} is not text that can be read: {error}. Save it as UTF-8.") from error


def _open(path: str, image_column: str) -> Table:
    suffix = Path(path).suffix.lower()
    if suffix in (".parquet", ".pq"):
        return open_parquet(path)
    if suffix in (".csv", ".tsv"):
        table = _open_csv(path, image_column)
        return _open_automl(path) if is_automl(table.columns) else table
    if suffix == ".json" and (content := read_json(path)) is not None:
        return _of_rows(path, content, "entry")
    return _open_json_lines(path)


def _open_text(path: str) -> TextIO:
    """Open a text file in UTF-8, with or without a byte order mark, or in UTF-16 if its first bytes say so.

    Bytes that are not UTF-8 become surrogate escapes, so that paths with such bytes can be opened.
    """
    with open(path, "rb") as file:
        utf_16 = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
    if utf_16:
        return open(path, encoding="utf-16", newline="")
    return open(path, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _open_csv(path: str, image_column: str) -> Table:
    with _open_text(path) as file:
        header = next((line for line in file if line.strip()), "")
        # Excel writes and reads a first line that names the separator.
        if separator := _SEPARATOR_LINE.fullmatch(header):
            header = next((line for line in file if line.strip()), "")
    if not header:
        raise DataError(f"{path!r} is empty. Its first line must name the columns, as in image,label")

    def names(delimiter: str) -> list[str]:
        try:
            return [name.strip() for name in next(csv.reader([header], delimiter=delimiter, strict=True))]
        except csv.Error:
            return []

    # The one that gives the column that must be there; otherwise the one that gives most columns.
    delimiter = (
        separator[1]
        if separator
        else max(",;\t", key=lambda delimiter: (image_column in names(delimiter), len(names(delimiter))))
    )
    columns = names(delimiter)

    def rows(used: Sequence[str], errors: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        positions = {name: columns.index(name) for name in used}
        with _open_text(path) as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            line, header_seen = 1, False
            separator_seen = separator is None
            try:
                for cells in reader:
                    first, line = line, reader.line_num + 1
                    if not cells:
                        continue
                    if not separator_seen:
                        separator_seen = any(cell.strip() for cell in cells)
                    elif not header_seen:
                        header_seen = header_seen or any(cell.strip() for cell in cells)
                    elif len(cells) != len(columns):
                        too_many = f"Put a cell that holds {delimiter!r} into double quotes"
                        advice = too_many if len(cells) > len(columns) else "Write empty cells too"
                        errors.append(
                            f"{path}, line {first}: {counted(len(cells), 'cell')}, but there are "
                            f"{counted(len(columns), 'column')}. {advice}"
                        )
                    else:
                        yield first, {name: cells[position] for name, position in positions.items()}
            except csv.Error as error:
                errors.append(f"{path}, line {line}: {error}. Is a double quote not closed, or not doubled?")
            except UnicodeError as error:
                errors.append(f"{path}, line {line}: {error}. Save the table as UTF-8")

    return Table(columns, "line", rows)


def _open_automl(path: str) -> Table:
    with _open_text(path) as file:
        reader = csv.reader(file)
        try:
            content = rows_of_automl(path, ((reader.line_num, cells) for cells in reader if any(cells)))
        except csv.Error as error:
            raise DataError(f"{path!r}, line {reader.line_num}: {error}. Export it again.") from error
    return _of_rows(path, content, "line")


def _open_json_lines(path: str) -> Table:
    columns: dict[str, None] = {}
    for _, value in _json_lines(path, []):
        columns.update(dict.fromkeys(value))
    if not columns:
        errors: list[str] = []
        for _ in _json_lines(path, errors):
            pass
        raise DataError("\n".join(errors[:1]) or f"{path!r} is empty. Write an object per line.")

    def rows(used: Sequence[str], errors: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        yield from _json_lines(path, errors)

    return Table(list(columns), "line", rows)


def _json_lines(path: str, errors: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    with _open_text(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line, object_pairs_hook=unique_names)
                if not isinstance(value, dict):
                    raise ValueError("it is no object in braces")
            except (ValueError, RecursionError) as error:
                errors.append(
                    f"{path}, line {number}: {error}. Each line must be an object, as in "
                    '{"image": "a.jpg", "label": "cat"}'
                )
            else:
                yield number, value


def _of_rows(path: str, content: JsonRows, place: str, photos: frozenset[str] = frozenset()) -> Table:
    """Return rows in memory as a table."""
    entries, faults = content.rows, content.errors
    if faults and not entries:
        raise DataError("\n".join([f"{path}, {fault}" for fault in faults[:MOST_NAMED]] + and_more(faults)))

    def rows(used: Sequence[str], errors: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        errors += [f"{path}, {fault}" for fault in faults]
        yield from entries

    notes, questions = tuple(content.notes), tuple(content.questions)
    return Table(columns_of(entries), place, rows, photos, notes, questions)
