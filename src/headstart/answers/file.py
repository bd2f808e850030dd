"""Writes and reads ``answers.csv`` part by part, in memory that does not grow with the number of rows."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, BinaryIO, Final, TypeAlias

import numpy as np

from headstart.answers.table import FIXED, LABEL, SPLIT_OF, Answers, number_texts, refuse_other_outputs
from headstart.columns import counted
from headstart.errors import DamagedFileError, UsageError
from headstart.files import write_whole

_OUTPUT: Final = re.compile(r"(logit|number):.*|box:[xy](min|max)", re.DOTALL)

_NEEDS_QUOTES: Final = re.compile(r'[",\r\n]|\A\s|\s\Z')

_ROWS_AT_ONCE: Final = 1024  # in memory, as text


def write_answers(path: str | os.PathLike[str], parts: Answers | Iterable[Answers]) -> None:
    """Write ``answers.csv`` completely or not at all, in memory that does not grow with the number of rows.

    Numbers are written in the shortest form that converts to the same float32.

    Args:
        path: The file; its folder must exist.
        parts: At least one part, all with the same outputs; consumed one by one.

    Raises:
        FileWriteError: The disk is full, for example; the old file is unchanged.
    """
    write_whole(path, lambda file: _write(file, [parts] if isinstance(parts, Answers) else parts))


def read_answers(path: str | os.PathLike[str]) -> Answers:
    """Read a whole ``answers.csv``. For files that do not fit into memory, see ``read_parts``.

    Raises:
        UsageError: The file cannot be read, or its columns are not those of an ``answers.csv``.
        DamagedFileError: A row does not have the format that Headstart writes.
    """
    return Answers.concatenate(read_parts(path))


def read_parts(path: str | os.PathLike[str], num_rows: int = _ROWS_AT_ONCE) -> Iterator[Answers]:
    """Read ``answers.csv`` part by part, in memory that does not grow with the number of rows.

    Args:
        path: The file.
        num_rows: Rows per part; the last part may have fewer. A file without rows has one empty part.

    Raises:
        UsageError: The file cannot be read, or its columns are not those of an ``answers.csv``.
        DamagedFileError: A row does not have the format that Headstart writes.
    """
    name = os.fsdecode(path)
    try:
        _refuse_cut(path, name)
        # A spreadsheet may have put a byte order mark at the beginning.
        with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = _read_header(reader, name)
            rows = _numbered(reader, name)
            is_empty = True
            for first in rows:
                yield _part([first, *islice(rows, num_rows - 1)], header, name)
                is_empty = False
            if is_empty:
                yield _part([], header, name)
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror or error}.") from error


def _write(file: BinaryIO, parts: Iterable[Answers]) -> None:
    written: Answers | None = None
    for part in parts:
        if written is None:
            file.write(_line(map(_cell, part.columns)))
            written = part[:0]
        refuse_other_outputs([written, part])
        for begin in range(0, len(part), _ROWS_AT_ONCE):
            file.writelines(_lines(part[begin : begin + _ROWS_AT_ONCE]))
    if written is None:
        raise ValueError("There are no answers to write, so their columns are not known.")


def _lines(part: Answers) -> Iterator[bytes]:
    fold = ["" if number < 0 else str(number) for number in part.fold.tolist()]
    texts = {name: map(_cell, part[name]) for name in FIXED if name not in ("fold", "loss")}
    columns = texts | {"fold": fold, "loss": number_texts(part.loss)}
    first = -len(part.label_names) or None  # a box's class may have spaces in it
    numbers = [label.split(" ")[first:] if first else [] for label in part.label]
    fixed = (columns[name] for name in FIXED)
    for *cells, of_label, outputs in zip(*fixed, numbers, map(number_texts, part.outputs), strict=True):
        yield _line([*cells, *of_label, *outputs])


def _line(cells: Iterable[str]) -> bytes:
    return (",".join(cells) + "\n").encode("utf-8", "surrogateescape")


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _NEEDS_QUOTES.search(text) else text


_Row: TypeAlias = tuple[int, list[str]]  # its first line in the file, and its cells

_REPAIR: Final = "Restore the file from a copy, or train again."


def _read_header(reader: Iterator[list[str]], name: str) -> list[str]:
    try:
        header = next(reader, [])
    except csv.Error:
        header = []
    outputs = header[_first_output(header) :]
    if tuple(header[: len(FIXED) - 1]) == tuple(each for each in FIXED if each != "alike"):
        raise UsageError(
            f"{name} was written by an older Headstart: it has no column alike. Train again to use it."
        )
    if tuple(header[: len(FIXED)]) != FIXED or not all(map(_OUTPUT.fullmatch, outputs)):
        raise UsageError(
            f"{name}, line 1: these are not the columns of an answers.csv. It has {','.join(FIXED)} and one "
            f"per output, such as logit:CLASS, with commas between them. Name a file that headstart train "
            f"has written into a run folder."
        )
    if len(set(header)) < len(header):
        twice = next(column for column, count in Counter(header).items() if count > 1)
        raise UsageError(f"{name}, line 1: there are two columns {twice!r}. Remove one.")
    return header


def _first_output(header: Sequence[str]) -> int:
    """Return the index of the first output column, after the label's numbers (missing in older files)."""
    place = len(FIXED)
    while place < len(header) and header[place].startswith(LABEL):
        place += 1
    return place


def _numbered(reader: Any, name: str) -> Iterator[_Row]:
    line = reader.line_num + 1
    try:
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise DamagedFileError(f"{name}, line {line}: {error}. {_REPAIR}") from error


def _part(rows: Sequence[_Row], header: Sequence[str], name: str) -> Answers:
    try:
        return _answers([cells for _, cells in rows], header)
    except ValueError:
        for line, cells in rows:
            if fault := _fault(cells, header):
                raise DamagedFileError(f"{name}, line {line}: {fault}. {_REPAIR}") from None
        raise


def _answers(rows: Sequence[Sequence[str]], header: Sequence[str]) -> Answers:
    columns: Iterable[Sequence[str]] = zip(*rows, strict=True) if rows else [()] * len(header)
    values: dict[str, Any] = {
        name: list(map(_READ.get(name, str), texts)) for name, texts in zip(FIXED, columns, strict=False)
    }
    first = _first_output(header)
    outputs = np.array([list(map(float, row[first:])) for row in rows], np.float32)
    values |= {"fold": np.array(values["fold"], np.int32), "loss": np.array(values["loss"], np.float32)}
    names = tuple(header[first:])
    return Answers(**values, outputs=outputs.reshape(len(rows), len(names)), output_names=names)


def _fault(cells: Sequence[str], header: Sequence[str]) -> str | None:
    """Return what is wrong with a row, if anything."""
    if len(cells) != len(header):
        return f"{counted(len(cells), 'cell')}, but there are {counted(len(header), 'column')}"
    for name, cell in zip(header, cells, strict=True):
        try:
            _READ.get(name, str if name in FIXED else float)(cell)
        except ValueError:
            return f"{name} is {cell!r}; it must be {_ALLOWED.get(name, 'a number, with a decimal point')}"
    return None


def _fold_number(text: str) -> int:
    if text and not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    return int(text or -1)


def _one_of(allowed: Iterable[str]) -> Callable[[str], str]:
    known = {text: text for text in allowed}

    def read(text: str) -> str:
        if text not in known:
            raise ValueError(text)
        return known[text]  # the same object for all rows

    return read


_READ: Final[Mapping[str, Callable[[str], Any]]] = {
    "split": _one_of(SPLIT_OF.values()),
    "fold": _fold_number,
    "source": _one_of(SPLIT_OF),
    "loss": float,
}

_ALLOWED: Final = {
    "split": ", ".join(dict.fromkeys(SPLIT_OF.values())),
    "fold": "a whole number, or empty",
    "source": ", ".join(SPLIT_OF),
}


def _refuse_cut(path: str | os.PathLike[str], name: str) -> None:
    """Detect a file that is truncated within the last number of a row."""
    with open(path, "rb") as file:
        if file.seek(0, os.SEEK_END) and file.seek(-1, os.SEEK_END) and file.read(1) not in b"\r\n":
            raise DamagedFileError(f"{name} is cut short: its last line has no end. {_REPAIR}")
