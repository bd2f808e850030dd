"""Reads labels from tables."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from headstart.columns import listed
from headstart.data.sources.by_name import PhotoFinder, finder_for
from headstart.data.sources.decimal_commas import with_points
from headstart.data.sources.folder_column import joined
from headstart.data.sources.groups import group_of
from headstart.data.sources.table_cells import FaultError, answer_of, number_in, size_in
from headstart.data.sources.table_columns import Columns
from headstart.data.sources.table_file import open_table
from headstart.data.sources.tabular import Table, text_of
from headstart.data.sources.written import Labels, Options, Written
from headstart.errors import ConfigError, DataError, did_you_mean

_MOST_UNUSED: Final = 12  # columns that a note names


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
    return labels_of(path, str(Path(path).parent), open_table(path, options.image_column), options, split)


def labels_of(path: str, root: str, table: Table, options: Options, split: str | None = None) -> Labels:
    """Return the labels of a table that is open. Its rows are read when ``written`` is iterated over.

    Args:
        path: Name of the table in messages.
        root: The folder to which the paths of photos are relative.
        table: The table.
        options: Names of columns, and the task.
        split: The split of all rows, if the table does not determine it.

    Raises:
        DataError: It is not a table of labels, or a column is missing.
        ConfigError: The task, the target and the columns contradict each other.
    """
    repeated = [name for name, count in Counter(table.columns).items() if count > 1]
    if repeated:
        raise DataError(f"{path!r} has several columns called {repeated[0]!r}. Rename all but one.")
    columns = Columns.of(path, table, options, split)
    table = with_points(table, [*columns.targets, *columns.box, *columns.size])
    if columns.size and _sizes_are_the_boxes(table, columns):
        columns = dataclasses.replace(columns, size=())
    unused = [name for name in table.columns if name not in columns.used()]
    labels = Labels(root, columns.task, targets=columns.targets, one_object_each=True)
    labels.form = f"the table {path!r}{', with the photos in it' if columns.image in table.photos else ''}"
    if unused:
        shown = listed([repr(name) for name in unused], _MOST_UNUSED)
        labels.notes.append(f"Columns of {path!r} that are not used: {shown}.")
    labels.notes += [*table.notes, *columns.notes]
    if columns.image in table.photos and options.images is not None:
        raise ConfigError(
            f"images is {options.images!r}, but {path!r} contains the photos. Leave images out."
        )
    in_json = Path(path).suffix.lower() == ".json"  # as annotation tools write it
    finder = finder_for([root], root, options.images, requests_first=not in_json)
    labels.written = _written(path, table, columns, labels, split, finder)
    return labels


def _written(
    path: str, table: Table, columns: Columns, labels: Labels, split: str | None, finder: PhotoFinder
) -> Iterator[Written]:
    """Yield the label of each row, with what is wrong with it, if anything."""
    holds_photos = columns.image in table.photos
    for number, cells in table.rows(columns.used(), labels.errors):
        labels.found += 1
        source = f"{path}, {table.place} {number}" if table.place else path
        given = cells.get(columns.image)
        if not isinstance(given, str) or not given.strip() or "\0" in given:
            labels.errors.append(
                f"{source}: {columns.image} is {given!r}; it must be the path of a photo, from the table's "
                "folder"
            )
            continue
        if given.startswith("data:image/"):
            raise DataError(
                f"{source}: {columns.image} contains the photo itself (base64). Write the photos into files, "
                "and their paths into this column."
            )
        if columns.folder is not None:
            given = joined(cells.get(columns.folder), given)
        if (
            table.bytes_of is not None
            and not given.isascii()
            and _is_there(labels.root, table.bytes_of(given))
        ):
            given = table.bytes_of(given)
        photo, lost = (given, "") if holds_photos else finder.find(given)
        row_split = split
        if columns.split is not None and split is None:
            name = text_of(cells.get(columns.split))
            row_split = columns.split_words.get(name.lower()) if name else None
            if name and row_split is None:
                nearest = did_you_mean(name.lower(), columns.split_words)
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
        yield Written(photo, source, row_split, group, *answer, fault, size)
    labels.errors += [f"{path}: {error}" for error in finder.errors()]
    labels.notes += finder.notes()


def _is_there(root: str, name: str) -> bool:
    """Return whether a photo has a name with these bytes, whatever they mean."""
    try:
        return Path(root, name).exists()
    except (OSError, ValueError):  # surrogate escapes that this system does not have in names
        return False


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
