"""One row per photo: what a model answers for each labelled photo, and ``answers.csv``, which keeps that.

The columns are ``path`` (below the data folder, as in ``photos.csv``), ``sha256``, ``split``, ``group``,
``fold``, ``source``, ``label``, ``prediction``, ``loss``, and then one per output: ``logit:CLASS``,
``number:TARGET``, or ``box:xmin`` to ``box:ymax`` before the logits of the box's class. Before the outputs,
``label:TARGET``, or ``label:xmin`` to ``label:ymax``, repeat the numbers of the label one by one, so that a
spreadsheet can calculate with them; scores are computed from ``label``. The prefixes keep the names apart,
whatever classes are called. Outputs are those before calibration and thresholds.
"""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any, BinaryIO, Final, Literal, TypeAlias, overload

import numpy as np

from headstart import tasks
from headstart.columns import counted
from headstart.data.targets import Scale, Targets
from headstart.data.text import label_text, path_below
from headstart.errors import DamagedFileError, UsageError
from headstart.files import write_whole
from headstart.model_file import ModelInfo
from headstart.records import Record

Source: TypeAlias = Literal["out-of-fold", "val", "test"]
"""Whose outputs a row holds: ``"out-of-fold"`` for a training photo (of a head that was solved without it),
``"val"`` and ``"test"`` for outputs of the model file."""

_SPLIT_OF: Final = {"out-of-fold": "train", "val": "val", "test": "test"}

_OUTPUT: Final = re.compile(r"(logit|number):.*|box:[xy](min|max)", re.DOTALL)
_LABEL: Final = "label:"  # begins the names of columns that repeat a label's numbers
_NEEDS_QUOTES: Final = re.compile(r'[",\r\n]|\A\s|\s\Z')

_ROWS_AT_ONCE: Final = 1024  # in memory, as text


@dataclass(frozen=True, eq=False, repr=False)
class Answers:
    """The answers for N photos, as columns.

    ``answers["path"]`` is a column by its name in the file, ``answers[:100]`` are rows, and
    ``pandas.DataFrame(answers.to_dict())`` is all of it.

    Attributes:
        path: N paths below the data folder, with slashes; of photos from elsewhere, whole paths.
        sha256: Of the photos' bytes.
        split: ``"train"``, ``"val"`` or ``"test"``.
        group: What stays on one side of a split with the photo; empty where there is nothing.
        fold: (N,) int32, the part of the cross-validation that the photo was in; -1 for val and test photos.
        source: See ``Source``.
        label: What the photo is labelled with, as in ``photos.csv``: a class, a JSON list of classes, numbers
            with a space between them, or a box's class and its sides in pixels.
        prediction: What the model says, in the same form; several classes by the model's thresholds.
        loss: (N,) float32, as in training, without label smoothing.
        outputs: (N, D) float32: logits; numbers in their own units; a box's sides in pixels of the photo as a
            viewer shows it, and the logits of its class if there are several.
        output_names: D names of the outputs' columns, such as ``"logit:cat"``.
    """

    path: Sequence[str]
    sha256: Sequence[str]
    split: Sequence[str]
    group: Sequence[str]
    fold: np.ndarray
    source: Sequence[str]
    label: Sequence[str]
    prediction: Sequence[str]
    loss: np.ndarray
    outputs: np.ndarray
    output_names: tuple[str, ...]

    @classmethod
    def from_outputs(
        cls,
        records: Sequence[Record],
        outputs: np.ndarray,
        info: ModelInfo,
        source: Source,
        *,
        root: str = "",
        folds: Sequence[int] | np.ndarray | None = None,
    ) -> Answers:
        """Make the rows of photos from a model's outputs for them.

        Args:
            records: N labelled photos; of boxes, with their sizes.
            outputs: (N, D), in the form of ``Predictor.outputs``: logits; numbers in their own units; boxes
                as fractions of the input's sides, before the logits of their classes if there are several.
            info: Of the model.
            source: Whose outputs they are.
            root: The data folder.
            folds: N numbers of the cross-validation's folds, for outputs out of fold.

        Raises:
            ValueError: Shapes do not fit together.
        """
        outputs = np.asarray(outputs, np.float32)
        expected = (len(records), info.num_outputs)
        if outputs.shape != expected or (folds is not None and len(folds) != len(records)):
            raise ValueError(f"outputs of shape {outputs.shape} for {len(records)} photos: give {expected}.")
        loss = losses_of(records, outputs, info).astype(np.float32)
        task = tasks.of(info.task)
        outputs = task.in_photo(outputs, records, info)
        return cls(
            path=[path_below(record.path, root) for record in records],
            sha256=[record.sha256 for record in records],
            split=[_SPLIT_OF[source]] * len(records),
            group=[record.group or "" for record in records],
            fold=np.full(len(records), -1, np.int32) if folds is None else np.asarray(folds, np.int32),
            source=[source] * len(records),
            label=[label_text(record, info.task, info.class_names) for record in records],
            prediction=task.said(outputs, info, _texts),
            loss=loss,
            outputs=outputs,
            output_names=task.columns(info),
        )

    @classmethod
    def concatenate(cls, parts: Iterable[Answers]) -> Answers:
        """Join parts, of which there is at least one, with the same outputs."""
        whole = list(parts)
        _refuse_other_outputs(whole)
        values = {name: [getattr(part, name) for part in whole] for name in _COLUMNS}
        joined: dict[str, Any] = {
            name: np.concatenate(each)
            if isinstance(each[0], np.ndarray)
            else [text for column in each for text in column]
            for name, each in values.items()
        }
        return cls(**joined, output_names=whole[0].output_names)

    def of_source(self, source: Source) -> Answers:
        """Return the rows of one source."""
        return self[np.array([each == source for each in self.source], bool)]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of all columns, in the order of the file."""
        return (*_FIXED, *self.label_names, *self.output_names)

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of the columns that repeat the numbers of the label: ``"label:TARGET"``."""
        kinds_and_names = (name.split(":", 1) for name in self.output_names)
        return tuple(f"{_LABEL}{name}" for kind, name in kinds_and_names if kind != "logit")

    def to_dict(self) -> dict[str, Any]:
        """Return all columns by name, as ``pandas.DataFrame`` takes them; no fold is None."""
        fold = [None if number < 0 else number for number in self.fold.tolist()]
        return {name: self[name] for name in self.columns} | {"fold": fold}

    @overload
    def __getitem__(self, key: str) -> Any: ...
    @overload
    def __getitem__(self, key: slice | np.ndarray) -> Answers: ...
    def __getitem__(self, key: str | slice | np.ndarray) -> Any:
        if isinstance(key, str):
            if key in _FIXED:
                return getattr(self, key)
            if key in self.label_names:
                place = self.label_names.index(key) - len(self.label_names)
                return np.array([float(text.split(" ")[place]) for text in self.label])
            if key in self.output_names:
                return self.outputs[:, self.output_names.index(key)]
            raise KeyError(f"{key!r} is not a column; there are {', '.join(self.columns)}")
        if isinstance(key, slice):
            chosen = {name: getattr(self, name)[key] for name in _COLUMNS}
        else:
            rows = np.arange(len(self))[key].tolist()
            values = {name: getattr(self, name) for name in _COLUMNS}
            chosen = {
                name: value[rows] if isinstance(value, np.ndarray) else [value[row] for row in rows]
                for name, value in values.items()
            }
        return Answers(**chosen, output_names=self.output_names)

    def __len__(self) -> int:
        return len(self.path)

    def __repr__(self) -> str:
        sources = ", ".join(f"{count:,} {source}" for source, count in Counter(self.source).items())
        loss = f", mean loss {self.loss.mean(dtype=np.float64):.4g}" if len(self) else ""
        outputs = counted(len(self.output_names), "output")
        return f"<Answers for {counted(len(self), 'photo')} ({sources or 'none'}), {outputs} each{loss}>"


_COLUMNS: Final = tuple(field.name for field in fields(Answers) if field.name != "output_names")
_FIXED: Final = tuple(name for name in _COLUMNS if name != "outputs")  # of the file


def losses_of(records: Sequence[Record], outputs: np.ndarray, info: ModelInfo) -> np.ndarray:
    """Compare a model file's outputs with the photos' labels.

    Args:
        records: N photos; of boxes, with their sizes.
        outputs: (N, D), as in ``Answers.from_outputs``.
        info: Of the model.

    Returns:
        (N,) float64.
    """
    targets = Targets(info.task, info.class_names, info.preprocessing, Scale(*info.scale))  # type: ignore[arg-type]
    if not records:
        return np.zeros(0)
    task = tasks.of(info.task)
    rows = np.stack([targets.row(record) for record in records])
    return task.losses(task.from_file(outputs.astype(np.float64), info), rows)


def write_answers(path: str | os.PathLike[str], parts: Answers | Iterable[Answers]) -> None:
    """Write ``answers.csv``, whole or not at all, in memory that does not grow with the number of rows.

    Numbers are written in the shortest form that gives the same float32 again.

    Args:
        path: The file; its folder must exist.
        parts: Consumed as they are written; at least one, with the same outputs.

    Raises:
        FileWriteError: The disk is full, or the like; the old file is as it was.
    """
    write_whole(path, lambda file: _write(file, [parts] if isinstance(parts, Answers) else parts))


def read_answers(path: str | os.PathLike[str]) -> Answers:
    """Read a whole ``answers.csv``. For files that are too large for that, see ``read_parts``.

    Raises:
        UsageError: The file cannot be read, or its columns are not those of an ``answers.csv``.
        DamagedFileError: A row is not as Headstart writes it.
    """
    return Answers.concatenate(read_parts(path))


def read_parts(path: str | os.PathLike[str], num_rows: int = _ROWS_AT_ONCE) -> Iterator[Answers]:
    """Read ``answers.csv`` part by part, in memory that does not grow with the number of rows.

    Args:
        path: The file.
        num_rows: Of a part; the last one may have fewer. A file without rows has one part without rows.

    Raises:
        UsageError: The file cannot be read, or its columns are not those of an ``answers.csv``.
        DamagedFileError: A row is not as Headstart writes it.
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
        _refuse_other_outputs([written, part])
        for begin in range(0, len(part), _ROWS_AT_ONCE):
            file.writelines(_lines(part[begin : begin + _ROWS_AT_ONCE]))
    if written is None:
        raise ValueError("There are no answers to write, so their columns are not known.")


def _lines(part: Answers) -> Iterator[bytes]:
    fold = ["" if number < 0 else str(number) for number in part.fold.tolist()]
    texts = {name: map(_cell, part[name]) for name in _FIXED if name not in ("fold", "loss")}
    columns = texts | {"fold": fold, "loss": _texts(part.loss)}
    first = -len(part.label_names) or None  # a box's class may have spaces in it
    numbers = [label.split(" ")[first:] if first else [] for label in part.label]
    fixed = (columns[name] for name in _FIXED)
    for *cells, of_label, outputs in zip(*fixed, numbers, map(_texts, part.outputs), strict=True):
        yield _line([*cells, *of_label, *outputs])


def _line(cells: Iterable[str]) -> bytes:
    return (",".join(cells) + "\n").encode("utf-8", "surrogateescape")


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _NEEDS_QUOTES.search(text) else text


def _texts(values: np.ndarray) -> list[str]:
    """The shortest text of each float32 number."""
    return list(map(str, values))


_Row: TypeAlias = tuple[int, list[str]]  # its first line in the file, and its cells

_REPAIR: Final = "Restore the file from a copy, or train again."


def _read_header(reader: Iterator[list[str]], name: str) -> list[str]:
    try:
        header = next(reader, [])
    except csv.Error:
        header = []
    outputs = header[_first_output(header) :]
    if tuple(header[: len(_FIXED)]) != _FIXED or not all(map(_OUTPUT.fullmatch, outputs)):
        raise UsageError(
            f"{name}, line 1: these are not the columns of an answers.csv. It has {','.join(_FIXED)} and one "
            f"per output, such as logit:CLASS, with commas between them. Name a file that headstart train "
            f"has written into a run folder."
        )
    if len(set(header)) < len(header):
        twice = next(column for column, count in Counter(header).items() if count > 1)
        raise UsageError(f"{name}, line 1: there are two columns {twice!r}. Remove one.")
    return header


def _first_output(header: Sequence[str]) -> int:
    """Return the place of the first output, after the numbers of the label, which older files do not have."""
    place = len(_FIXED)
    while place < len(header) and header[place].startswith(_LABEL):
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
        name: list(map(_READ.get(name, str), texts)) for name, texts in zip(_FIXED, columns, strict=False)
    }
    first = _first_output(header)
    outputs = np.array([list(map(float, row[first:])) for row in rows], np.float32)
    values |= {"fold": np.array(values["fold"], np.int32), "loss": np.array(values["loss"], np.float32)}
    names = tuple(header[first:])
    return Answers(**values, outputs=outputs.reshape(len(rows), len(names)), output_names=names)


def _fault(cells: Sequence[str], header: Sequence[str]) -> str | None:
    """What is wrong with a row, if anything."""
    if len(cells) != len(header):
        return f"{counted(len(cells), 'cell')}, but there are {counted(len(header), 'column')}"
    for name, cell in zip(header, cells, strict=True):
        try:
            _READ.get(name, str if name in _FIXED else float)(cell)
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
    "split": _one_of(_SPLIT_OF.values()),
    "fold": _fold_number,
    "source": _one_of(_SPLIT_OF),
    "loss": float,
}
_ALLOWED: Final = {
    "split": ", ".join(_SPLIT_OF.values()),
    "fold": "a whole number, or empty",
    "source": ", ".join(_SPLIT_OF),
}


def _refuse_cut(path: str | os.PathLike[str], name: str) -> None:
    """Notice a file that ends within the last number of a row."""
    with open(path, "rb") as file:
        if file.seek(0, os.SEEK_END) and file.seek(-1, os.SEEK_END) and file.read(1) not in b"\r\n":
            raise DamagedFileError(f"{name} is cut short: its last line has no end. {_REPAIR}")


def _refuse_other_outputs(parts: Sequence[Answers]) -> None:
    if others := {part.output_names for part in parts} - {parts[0].output_names}:
        raise ValueError(f"answers with outputs {parts[0].output_names} and {others.pop()}: join equal ones.")
