"""Tables of labels: CSV with any usual separator, Parquet, JSON lines. Read row by row, never whole."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from headstart import tasks
from headstart.columns import counted
from headstart.data.labelled import (
    Labels,
    Object,
    Options,
    Written,
    below,
    box_fault,
    clean_class,
    declared_size,
    group_finder,
)
from headstart.data.split_names import SPLIT_OF_WORD
from headstart.errors import ConfigError, DataError, did_you_mean, requires
from headstart.records import TaskName

BOX_COLUMNS: Final = ("xmin", "ymin", "xmax", "ymax")

SIZE_COLUMNS: Final = (("image_width", "image_height"), ("img_width", "img_height"), ("width", "height"))
"""Pairs of columns that declare the size of the photo in which a box was drawn."""

TABLE_SUFFIXES: Final = frozenset({".csv", ".tsv", ".parquet", ".pq", ".jsonl", ".ndjson"})
"""Lower-case suffixes of the files that are taken for tables."""

_BATCH_ROWS: Final = 4096


def read_table(path: str, options: Options, split: str | None = None) -> Labels:
    """Open a table and say what its columns mean; its rows are read when ``written`` is.

    Args:
        path: A .csv, .tsv, .parquet or .jsonl file.
        options: Which columns are what.
        split: What all rows are for, where it is not the table that says it.

    Raises:
        DataError: It is no such table, or a column is missing.
        ConfigError: The task, the target and the columns do not go together.
    """
    table = _open(path, options.image_column)
    repeated = [name for name, count in Counter(table.columns).items() if count > 1]
    if repeated:
        raise DataError(f"{path!r} has several columns called {repeated[0]!r}. Rename all but one.")
    columns = _Columns.of(path, table.columns, options, split)
    if columns.size and _sizes_are_the_boxes(table, columns):
        columns = dataclasses.replace(columns, size=())
    unused = [name for name in table.columns if name not in columns.used()]
    root = str(Path(path).parent)
    labels = Labels(root, columns.task, targets=columns.targets, one_object_each=True)
    if unused:
        shown = ", ".join(repr(name) for name in unused)
        labels.notes.append(f"Columns of {path!r} that are not used: {shown}.")
    labels.written = _written(path, table, columns, labels, split)
    return labels


@dataclass(frozen=True, slots=True)
class _Table:
    """A table whose columns are known.

    Attributes:
        columns: Their names.
        place: What a row's number counts: ``"line"`` or ``"row"``.
        rows: From the columns that are used and the errors, which grow, to (number, cells by column).
    """

    columns: list[str]
    place: str
    rows: Callable[[Sequence[str], list[str]], Iterator[tuple[int, dict[str, Any]]]]


@dataclass(frozen=True, slots=True)
class _Columns:
    """Which column is what; None or empty for what the table does not have or the task does not need."""

    task: TaskName
    image: str
    label: str | None = None
    box: tuple[str, ...] = ()
    size: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    split: str | None = None
    group: str | None = None
    find_group: Callable[[str], str | None] | None = None

    def used(self) -> list[str]:
        single = (self.image, self.label, self.split, self.group)
        return list(dict.fromkeys([*(name for name in single if name), *self.box, *self.size, *self.targets]))

    @classmethod
    def of(cls, path: str, names: Sequence[str], options: Options, split: str | None) -> _Columns:
        """Find the columns that the task needs and the options name, and refuse a table without them."""
        task = _task(path, names, options)
        missing = []
        label = options.label_column
        kind = tasks.of(task)
        if label is None and not kind.has_numbers:
            usual = ("labels", "label") if kind.has_labels else ("label",)
            label = next((name for name in usual if name in names), None)
            if label is None and not kind.has_box:
                missing.append((usual[0], "--label-column"))
        box = BOX_COLUMNS if kind.has_box else ()
        split_column = None if split else options.split_column
        if split_column is None and split is None and "split" in names:
            split_column = "split"
        group = options.group_by if options.group_by in names else None
        if options.group_by is None and "group" in names:
            group = "group"
        find = group_finder(options.group_by, names) if options.group_by and group is None else None

        named = [(options.image_column, "--image-column"), (label, "--label-column")]
        named += [(split_column, "--split-column"), *((name, "--target") for name in options.targets)]
        missing += [(name, option) for name, option in named if name is not None and name not in names]
        missing += [(name, "") for name in box if name not in names]
        if missing:
            raise DataError(_missing(path, names, missing))
        if kind.has_numbers:
            label = None
        size = next((pair for pair in SIZE_COLUMNS if box and set(pair) <= set(names)), ())
        return cls(task, options.image_column, label, box, size, options.targets, split_column, group, find)


def _task(path: str, names: Sequence[str], options: Options) -> TaskName:
    """Tell what is predicted by the columns, where it is not said."""
    if options.targets and not (options.is_open or options.wants.has_numbers):
        raise ConfigError(
            [
                f"target is {','.join(options.targets)!r}, but task is {options.task!r}. Numbers are "
                "predicted by the task regression: leave task or target out."
            ]
        )
    if options.targets:
        return "regression"
    if options.wants.has_numbers:
        raise ConfigError(
            [
                "task is 'regression', but target names no column. Add --target with one of: "
                f"{', '.join(names)}."
            ]
        )
    if not options.is_open:
        return options.chosen(options.wants)
    boxes = [name for name in BOX_COLUMNS if name in names]
    if options.label_column is not None:
        if len(boxes) == len(BOX_COLUMNS):
            return "box"
        return "multilabel" if options.label_column == "labels" else "classification"
    kinds = []
    if "label" in names and len(boxes) < len(BOX_COLUMNS):
        kinds.append(("'label' (one class per photo: --task classification)", "classification"))
    if "labels" in names:
        kinds.append(("'labels' (several classes per photo: --task multilabel)", "multilabel"))
    if boxes:
        kinds.append((f"{', '.join(map(repr, boxes))} (a box: --task box)", "box"))
    if len(kinds) == 1:
        return kinds[0][1]  # type: ignore[return-value]
    if kinds:
        raise DataError(
            f"{path!r} has columns for several tasks: {'; '.join(words for words, _ in kinds)}. Say which: "
            "--task NAME"
        )
    if not options.for_training and options.image_column in names:
        return "regression"  # of no numbers: photos without labels, of which nothing is learned
    raise DataError(
        _missing(path, names, [(options.image_column, "--image-column")])
        if options.image_column not in names
        else f"{path!r} has no column with an answer: 'label' (one class), 'labels' (several, as in a|b) or "
        f"{', '.join(BOX_COLUMNS)} (a box).{did_you_mean('label', names)} Columns are {_shown(names)}. Name "
        "it: --label-column NAME for classes, --target NAME for numbers"
    )


def _missing(path: str, names: Sequence[str], missing: Sequence[tuple[str, str]]) -> str:
    lines = []
    for name, option in dict.fromkeys(missing):
        say = f" Name the right one: {option} NAME" if option else " A box takes xmin, ymin, xmax and ymax."
        lines.append(f"{path!r} has no column {name!r}.{did_you_mean(name, names)}{say}")
    return "\n".join([*lines, f"Columns, as the first line names them, are {_shown(names)}."])


def _shown(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:40]) for name in names[:20])
    return f"{shown} and {len(names) - 20} more" if len(names) > 20 else shown


def _written(
    path: str, table: _Table, columns: _Columns, labels: Labels, split: str | None
) -> Iterator[Written]:
    """Read each row as it is meant, and say what is wrong with it."""
    folder = Path(path).parent
    for number, cells in table.rows(columns.used(), labels.errors):
        labels.found += 1
        source = f"{path}, {table.place} {number}"
        given = cells.get(columns.image)
        if not isinstance(given, str) or not given.strip() or "\0" in given:
            labels.errors.append(
                f"{source}: {columns.image} is {given!r}; it must be the path of a photo, from the table's "
                "folder"
            )
            continue
        photo = _photo(folder, given)
        row_split = split
        if columns.split is not None and split is None:
            name = _text(cells.get(columns.split))
            row_split = SPLIT_OF_WORD.get(name.lower()) if name else None
            if name and row_split is None:
                nearest = did_you_mean(name.lower(), SPLIT_OF_WORD)
                labels.errors.append(
                    f"{source}: {columns.split} is {name!r};{nearest} it must be train, val or test, or empty"
                )
        group, fault = None, ""
        if columns.find_group is not None:
            seen = below(photo, str(folder))
            group = columns.find_group(seen)
            if group is None:
                labels.errors.append(
                    f"{source}: the expression of group_by finds no group in {seen!r}; it must in every path"
                )
        elif columns.group is not None:
            group = _text(cells.get(columns.group))
            fault = "" if group else f"the group ({columns.group}) is empty"
        size = None
        try:
            answer = _answer(cells, columns)
            size = _declared_size(cells, columns)
        except _FaultError as error:
            answer, fault = error.known, str(error)
        yield Written(photo, source, row_split, group, *answer, fault, size)


def _declared_size(cells: dict[str, Any], columns: _Columns) -> tuple[float, float] | None:
    if not columns.size:
        return None
    try:
        return declared_size(*(cells.get(name) for name in columns.size))
    except ValueError as error:
        raise _FaultError(str(error)) from None


def _sizes_are_the_boxes(table: _Table, columns: _Columns) -> bool:
    """Tell whether all rows have the width and height of the box in the columns that could be the photo's."""
    num_equal = 0
    for _, cells in table.rows([*columns.box, *columns.size], []):
        try:
            xmin, ymin, xmax, ymax = (_number(name, cells.get(name)) for name in columns.box)
            size = _declared_size(cells, columns)
        except _FaultError:  # a wrong row, or one without a box, says nothing of the others
            continue
        if size is not None:
            if abs(xmax - xmin - size[0]) > 1 or abs(ymax - ymin - size[1]) > 1:
                return False
            num_equal += 1
    return num_equal > 0


class _FaultError(Exception):
    """A label is wrong; ``known`` is what can be said of it all the same."""

    def __init__(self, what: str, known: _Answer = ((), (), ())) -> None:
        self.known = known
        super().__init__(what)


_Answer = tuple[tuple[str, ...], tuple[float, ...], tuple[Object, ...]]


def _answer(cells: dict[str, Any], columns: _Columns) -> _Answer:
    """Return labels, numbers and objects of a row."""
    task = tasks.of(columns.task)
    if task.has_numbers:
        return (), tuple(_number(name, cells.get(name)) for name in columns.targets), ()
    if task.has_labels:
        return _several(columns.label, cells.get(columns.label or "")), (), ()
    if task.has_box and all(_is_empty(cells.get(name)) for name in columns.box):
        return (), (), ()
    class_name = ""
    if columns.label is not None:
        class_name = _class(columns.label, cells.get(columns.label))
    if task.has_class:
        return (class_name,), (), ()
    try:
        xmin, ymin, xmax, ymax = (_number(name, cells.get(name)) for name in columns.box)
    except _FaultError as error:
        raise _FaultError(str(error), ((class_name,) if class_name else (), (), ())) from None
    box = (xmin, ymin, xmax, ymax)
    if fault := box_fault(box):
        raise _FaultError(fault, ((), (), (Object(class_name, box),)))
    return (), (), (Object(class_name, box),)


def _class(column: str | None, value: Any) -> str:
    if isinstance(value, (list, tuple, dict)):
        raise _FaultError(f"{column} is {value!r}; it must be one class. For several: --task multilabel")
    text = clean_class(_text(value))
    if not text or (isinstance(value, float) and math.isnan(value)):
        raise _FaultError(f"the label ({column}) is {'not a number' if text else 'empty'}")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise _FaultError(f"the label ({column}) is {text!r}, which is not UTF-8. Save the table as UTF-8")
    return text


def _several(column: str | None, value: Any) -> tuple[str, ...]:
    if value is None or isinstance(value, (dict, float)):
        raise _FaultError(f"{column} is {value!r}; it must be a list of classes, which may be empty")
    parts = value if isinstance(value, (list, tuple)) else _text(value).split("|") if _text(value) else []
    return tuple(sorted({_class(column, part) for part in parts}))


def _number(column: str, value: Any) -> float:
    if _is_empty(value):
        raise _FaultError(f"{column} is empty; it must be a number")
    try:
        if isinstance(value, (bool, list, dict)) or "_" in str(value):  # float() takes 1_000 for a thousand
            raise ValueError
        number = float(value)
    except (ValueError, TypeError, OverflowError):
        point = ", with a point for the decimals" if "," in str(value) else ""
        raise _FaultError(f"{column} is {value!r}; it must be a number{point}") from None
    if not math.isfinite(number):
        raise _FaultError(f"{column} is {value!r}; it must be a finite number")
    return number


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _text(value: Any) -> str:
    """Return a cell as text: what stands in a CSV file stays as it is, 7 and 7.0 are the same class."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _photo(folder: Path, given: str) -> str:
    """Return the path that a table means, whatever separators and spaces around it it was written with."""
    path = os.path.join(folder, given)  # noqa: PTH118  # keeps what pathlib would tidy away
    others = {given.strip(): None, given.strip().replace("\\", "/"): None}
    others.pop(given, None)
    if others and not Path(path).exists():
        return next((str(folder / other) for other in others if (folder / other).exists()), path)
    return path


def _open(path: str, image_column: str) -> _Table:
    suffix = Path(path).suffix.lower()
    try:
        if suffix in (".parquet", ".pq"):
            return _open_parquet(path)
        if suffix in (".csv", ".tsv"):
            return _open_csv(path, image_column)
        return _open_json_lines(path)
    except OSError as error:
        raise DataError(f"{path!r} cannot be read: {error.strerror or error}.") from error
    except UnicodeError as error:
        raise DataError(f"{path!r} is not text that can be read: {error}. Save it as UTF-8.") from error


def _open_text(path: str) -> TextIO:
    """Open a text in UTF-8, or in UTF-16 if its first bytes say so, with or without a byte order mark.

    Bytes that are not UTF-8 come as surrogates: in a path they open the file that they name.
    """
    with open(path, "rb") as file:
        utf_16 = file.read(2) in (b"\xff\xfe", b"\xfe\xff")
    if utf_16:
        return open(path, encoding="utf-16", newline="")
    return open(path, encoding="utf-8-sig", errors="surrogateescape", newline="")


def _open_csv(path: str, image_column: str) -> _Table:
    with _open_text(path) as file:
        header = next((line for line in file if line.strip()), "")
    if not header:
        raise DataError(f"{path!r} is empty. Its first line must name the columns, as in image,label")

    def names(delimiter: str) -> list[str]:
        try:
            return [name.strip() for name in next(csv.reader([header], delimiter=delimiter, strict=True))]
        except csv.Error:
            return []

    # The one that gives the column that must be there; otherwise the one that gives most columns.
    delimiter = max(",;\t", key=lambda delimiter: (image_column in names(delimiter), len(names(delimiter))))
    columns = names(delimiter)

    def rows(used: Sequence[str], errors: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        positions = {name: columns.index(name) for name in used}
        with _open_text(path) as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            line, header_seen = 1, False
            try:
                for cells in reader:
                    first, line = line, reader.line_num + 1
                    if not cells:
                        continue
                    if not header_seen:
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

    return _Table(columns, "line", rows)


def _open_json_lines(path: str) -> _Table:
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

    return _Table(list(columns), "line", rows)


def _json_lines(path: str, errors: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    with _open_text(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
                if not isinstance(value, dict):
                    raise ValueError("it is no object in braces")
            except (ValueError, RecursionError) as error:
                errors.append(
                    f"{path}, line {number}: {error}. Each line must be an object, as in "
                    '{"image": "a.jpg", "label": "cat"}'
                )
            else:
                yield number, value


def _open_parquet(path: str) -> _Table:
    with requires("pyarrow", f"The table {path!r}"):
        import pyarrow
        import pyarrow.parquet
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns = list(file.schema_arrow.names)
    except pyarrow.ArrowException as error:
        raise DataError(f"{path!r} cannot be read as Parquet: {error}.") from error

    def rows(used: Sequence[str], errors: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        number = 0
        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(_BATCH_ROWS, columns=list(used)):
                    for cells in batch.to_pylist():
                        number += 1
                        yield number, cells
        except (pyarrow.ArrowException, OSError) as error:
            errors.append(f"{path}, after row {number}: damaged: {error}")

    return _Table(columns, "row", rows)
