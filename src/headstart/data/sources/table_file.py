"""Reads table files row by row: CSV with any usual separator, Parquet, JSON lines."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from headstart.columns import counted
from headstart.data.quarantine import cannot_be_interpreted
from headstart.data.sources.cloud_exports import is_automl, rows_of_automl
from headstart.data.sources.exported import rows_of_export
from headstart.data.sources.json_rows import columns_of, read_json, unique_names
from headstart.data.sources.parquet import open_parquet
from headstart.data.sources.table_text import TableText
from headstart.data.sources.tabular import JsonRows, Table
from headstart.data.sources.text_lists import LIST_SUFFIX, rows_of_list
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
    if suffix == LIST_SUFFIX and (listed := _open_list(path)) is not None:
        return listed
    if suffix in (".csv", ".tsv", LIST_SUFFIX):
        table = _open_csv(path, image_column)
        return _open_automl(path) if is_automl(table.columns) else table
    if suffix == ".json" and (content := read_json(path)) is not None:
        return _of_rows(path, content, "entry")
    return _open_json_lines(path)


@dataclass(frozen=True, slots=True)
class _Csv:
    """How the cells of a CSV are arranged.

    Attributes:
        text: The file.
        columns: Names of the columns, without empty ones behind the last.
        num_cells: Number of cells in the header, with empty ones that spreadsheets write beside the table.
        separator: What separates the cells.
        names_separator: Whether the first line names the separator, as Excel writes and reads it.
    """

    text: TableText
    columns: list[str]
    num_cells: int
    separator: str
    names_separator: bool

    @classmethod
    def of(cls, path: str, image_column: str) -> _Csv:
        text = TableText.of(path)
        with text.open() as file:
            header = next((line for line in file if line.strip()), "")
            if named := _SEPARATOR_LINE.fullmatch(header):
                header = next((line for line in file if line.strip()), "")
        if not header:
            raise DataError(f"{path!r} is empty. Its first line must name the columns, as in image,label")

        def names(separator: str) -> list[str]:
            try:
                row = next(csv.reader([header], delimiter=separator, strict=True))
            except csv.Error:
                return []
            return [name.strip() for name in row]

        # The one that gives the column that must be there; otherwise the one that gives most columns.
        separator = (
            named[1]
            if named
            else max(",;\t", key=lambda each: (image_column in names(each), len(names(each))))
        )
        columns = names(separator)
        if Path(path).suffix.lower() == LIST_SUFFIX and len(columns) == 1:
            raise DataError(
                f"{path!r} is neither a table, with tabs, commas or semicolons between its columns, nor a "
                "list with a photo and its class in each line, as in 'a.jpg cat'. Write a table (.csv) whose "
                "first line names the columns, such as image,label"
            )
        num_cells = len(columns)
        while len(columns) > 1 and not columns[-1]:
            columns.pop()
        return cls(text, columns, num_cells, separator, named is not None)

    def rows(self, used: Sequence[str], errors: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield rows as ``Table.rows`` does."""
        path, num_columns = self.text.path, len(self.columns)
        positions = {name: self.columns.index(name) for name in used}
        num_before = 1 + self.names_separator  # rows above those of photos
        with self.text.open() as file:
            reader = csv.reader(file, delimiter=self.separator, strict=True)
            line = 1
            try:
                for cells in reader:
                    first, line = line, reader.line_num + 1
                    if not any(cell.strip() for cell in cells):
                        continue  # a blank line, or empty cells that spreadsheets write below the table
                    if num_before:
                        num_before -= 1
                        continue
                    if num_columns < len(cells) <= self.num_cells and not any(cells[num_columns:]):
                        del cells[num_columns:]
                    if len(cells) == num_columns:
                        yield first, {name: cells[position] for name, position in positions.items()}
                        continue
                    too_many = f"Put a cell that holds {self.separator!r} into double quotes"
                    advice = too_many if len(cells) > num_columns else "Write empty cells too"
                    errors.append(
                        f"{path}, line {first}: {counted(len(cells), 'cell')}, but there are "
                        f"{counted(num_columns, 'column')}. {advice}"
                    )
            except csv.Error as error:
                errors.append(f"{path}, line {line}: {error}. Is a double quote not closed, or not doubled?")
            except UnicodeError as error:
                errors.append(f"{path}, line {line}: {error}. Save the table as UTF-8")


def _open_csv(path: str, image_column: str) -> Table:
    found = _Csv.of(path, image_column)
    text = found.text
    bytes_of = text.as_in_file if text.is_assumed else None
    return Table(
        found.columns, "line", found.rows, notes=text.notes(), separator=found.separator, bytes_of=bytes_of
    )


def _open_automl(path: str) -> Table:
    with TableText.of(path).open() as file:
        reader = csv.reader(file)
        try:
            content = rows_of_automl(path, ((reader.line_num, cells) for cells in reader if any(cells)))
        except csv.Error as error:
            raise DataError(f"{path!r}, line {reader.line_num}: {error}. Export it again.") from error
    return _of_rows(path, content, "line")


def _open_list(path: str) -> Table | None:
    """Return the table of a text file with a photo and its class in each line; None if it is another one."""
    text = TableText.of(path)
    with text.open() as file:
        content = rows_of_list(path, file.read().splitlines())
    if content is None:
        return None
    content.notes += text.notes()
    return _of_rows(path, content, "line")


def _open_json_lines(path: str) -> Table:
    text = TableText.of(path)
    columns: dict[str, None] = {}
    for _, value in _json_lines(text, []):
        columns.update(dict.fromkeys(value))
    if not columns:
        errors: list[str] = []
        for _ in _json_lines(text, errors):
            pass
        raise DataError("\n".join(errors[:1]) or f"{path!r} is empty. Write an object per line.")

    def rows(used: Sequence[str], errors: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        yield from _json_lines(text, errors)

    bytes_of = text.as_in_file if text.is_assumed else None
    return Table(list(columns), "line", rows, notes=text.notes(), bytes_of=bytes_of)


def _json_lines(text: TableText, errors: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    with text.open() as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line, object_pairs_hook=unique_names)
                if not isinstance(value, dict):
                    raise ValueError("it is no object in braces")
            except (ValueError, RecursionError) as error:
                errors.append(
                    f"{text.path}, line {number}: {error}. Each line must be an object, as in "
                    '{"image": "a.jpg", "label": "cat"}'
                )
            else:
                yield number, value


def _of_rows(path: str, content: JsonRows, place: str, photos: frozenset[str] = frozenset()) -> Table:
    """Return rows in memory as a table."""
    entries, faults = content.rows, content.errors
    if faults and not entries:
        raise DataError(cannot_be_interpreted([f"{path}, {fault}" for fault in faults]))

    def rows(used: Sequence[str], errors: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        errors += [f"{path}, {fault}" for fault in faults]
        yield from entries

    notes, questions = tuple(content.notes), tuple(content.questions)
    return Table(columns_of(entries), place, rows, photos, notes, questions)
