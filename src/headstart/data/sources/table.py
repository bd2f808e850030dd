"""Reads labels from tables."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from headstart.data.sources.by_name import PhotoFinder, finder_for
from headstart.data.sources.groups import group_of
from headstart.data.sources.parquet import key_of
from headstart.data.sources.split_names import SPLIT_OF_WORD
from headstart.data.sources.table_cells import FaultError, answer_of, number_in, size_in, text_of
from headstart.data.sources.table_columns import Columns
from headstart.data.sources.table_file import open_table
from headstart.data.sources.tabular import Table
from headstart.data.sources.written import Labels, Options, Written
from headstart.errors import ConfigError, DataError, did_you_mean
from headstart.images.photo import read_file


def read_table(path: str, options: Options, split: str | None = None) -> Labels:
    """Return the labels of a table. Its rows are read when ``written`` is iterated over.

    Args:
        path: A .csv, .tsv, .parquet or .jsonl file.
        options: Names of columns, and the task.
        split: The split of all rows, if the table does not determine it.

    Raises:
        DataError: The file is not a table of labels, or a column is missing.
        ConfigError: The task, the target and the columns contradict each other.
    """
    table = open_table(path, options.image_column)
    repeated = [name for name, count in Counter(table.columns).items() if count > 1]
    if repeated:
        raise DataError(f"{path!r} has several columns called {repeated[0]!r}. Rename all but one.")
    columns = Columns.of(path, table, options, split)
    if columns.size and _sizes_are_the_boxes(table, columns):
        columns = dataclasses.replace(columns, size=())
    unused = [name for name in table.columns if name not in columns.used()]
    root = str(Path(path).parent)
    labels = Labels(root, columns.task, targets=columns.targets, one_object_each=True)
    labels.form = f"the table {path!r}{', with the photos in it' if columns.image in table.photos else ''}"
    if unused:
        shown = ", ".join(repr(name) for name in unused)
        labels.notes.append(f"Columns of {path!r} that are not used: {shown}.")
    labels.notes += [*table.notes, *columns.notes]
    if columns.image in table.photos and options.images is not None:
        raise ConfigError(
            f"images is {options.images!r}, but {path!r} contains the photos. Leave images out."
        )
    finder = finder_for([root], root, options.images)
    labels.written = _written(path, table, columns, labels, split, finder)
    return labels


def _written(
    path: str, table: Table, columns: Columns, labels: Labels, split: str | None, finder: PhotoFinder
) -> Iterator[Written]:
    """Yield the label of each row, with what is wrong with it, if anything."""
    read = table.photos.get(columns.image)
    for number, cells in table.rows(columns.used(), labels.errors):
        labels.found += 1
        source = f"{path}, {table.place} {number}"
        given = cells.get(columns.image)
        if read is not None:
            given = key_of(path, number, given, columns.image if len(table.photos) > 1 else "")
        if not isinstance(given, str) or not given.strip() or "\0" in given:
            labels.errors.append(
                f"{source}: {columns.image} is {given!r}; it must be the path of a photo, from the table's "
                "folder"
            )
            continue
        photo, lost = finder.find(given) if read is None else (given, "")
        row_split = split
        if columns.split is not None and split is None:
            name = text_of(cells.get(columns.split))
            row_split = SPLIT_OF_WORD.get(name.lower()) if name else None
            if name and row_split is None:
                nearest = did_you_mean(name.lower(), SPLIT_OF_WORD)
                labels.errors.append(
                    f"{source}: {columns.split} is {name!r};{nearest} it must be train, val or test, or empty"
                )
        group, fault = group_of(photo, source, labels, columns.find_group), ""
        if columns.group is not None:
            group = text_of(cells.get(columns.group))
            fault = "" if group else f"the group ({columns.group}) is empty"
        size = None
        try:
            answer = answer_of(cells, columns)
            size = size_in(cells, columns)
        except FaultError as error:
            answer, fault = error.known, str(error)
        fault = fault or lost
        yield Written(photo, source, row_split, group, *answer, fault, size, read or read_file)
    labels.notes += finder.notes()


def _sizes_are_the_boxes(table: Table, columns: Columns) -> bool:
    """Return whether the columns of the photo's size contain the size of the box in all rows."""
    num_equal = 0
    for _, cells in table.rows([*columns.box, *columns.size], []):
        try:
            xmin, ymin, xmax, ymax = (number_in(name, cells.get(name)) for name in columns.box)
            size = size_in(cells, columns)
        except FaultError:  # a wrong row, or one without a box, says nothing of the others
            continue
        if size is not None:
            if abs(xmax - xmin - size[0]) > 1 or abs(ymax - ymin - size[1]) > 1:
                return False
            num_equal += 1
    return num_equal > 0
