"""Finds the columns of photos and classes in a table that does not call them ``image`` and ``label``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headstart.columns import listed
from headstart.data.sources.one_hot import OneHot, find_one_hot, is_number
from headstart.data.sources.tabular import Table
from headstart.data.sources.written import Options
from headstart.errors import DataError

# In this order: a table with a path and an id of each photo is read by its paths.
_IMAGES: Final = (
    {"image"},
    {
        *("file_name", "filename", "file_names", "filenames", "file", "filepath", "file_path", "filepaths"),
        *("path", "paths", "image_path", "img_path", "image_file", "image_name", "imagename", "img_name"),
        *("images", "img", "photo", "picture", "image_filename", "photo_path"),
    },
    {"image_id", "imageid", "img_id", "id", "id_code", "isic_id", "photo_id", "uuid"},
)
_CLASSES: Final = {
    *("label", "class", "classes", "class_name", "classname", "category", "category_name"),
    *("label_name", "labelname", "species", "breed", "choice"),
}


def find_image_column(path: str, names: Sequence[str], wanted: str) -> str | None:
    """Return the column of photos: the one that is wanted, or one with a usual name.

    Args:
        path: The table.
        names: Names of its columns.
        wanted: The setting ``image_column``.

    Raises:
        DataError: Several columns have equally usual names.
    """
    if wanted in names or wanted != "image":
        return wanted
    for usual in _IMAGES:
        found = [name for name in names if _plain(name) in usual]
        if len(found) > 1:
            raise DataError(
                f"{path!r} has several columns that may name the photos: {', '.join(map(repr, found))}. "
                "Choose one: --image-column NAME"
            )
        if found:
            return found[0]
    return None


def find_class_column(path: str, names: Sequence[str]) -> str | None:
    """Return the column with a usual name of classes; None if there is none.

    Raises:
        DataError: There are several.
    """
    found = [name for name in names if _plain(name) in _CLASSES]
    if len(found) > 1:
        raise DataError(
            f"{path!r} has several columns that may be the classes: {', '.join(map(repr, found))}. Choose "
            "one: --label-column NAME"
        )
    return found[0] if found else None


def find_unnamed_labels(
    path: str, table: Table, others: Sequence[str], options: Options
) -> OneHot | str | None:
    """Return the labels of a table by the content of its columns.

    Args:
        path: The table.
        table: Its content, which is read once.
        others: The columns that may be labels.
        options: The task.

    Returns:
        The only column, if it contains text; or one-hot columns; None if nothing is recognised.

    Raises:
        DataError: The only column contains numbers, which may be classes or values to predict.
    """
    if len(others) > 1:
        return find_one_hot(table, others)
    if not others:
        return None
    column = others[0]
    values = [cells.get(column) for _, cells in table.rows([column], [])]
    if not options.is_open or not all(map(is_number, values)):
        return column if values and all(isinstance(value, (str, int)) for value in values) else None
    if not options.for_training:
        return None
    raise DataError(
        f"Column {column!r} of {path!r} contains only numbers. Are they classes (--label-column {column})? "
        f"Or values to predict (--target {column})?"
    )


def in_words(image: str, label: str | None, one_hot: OneHot | None) -> str:
    """Return a note about columns that were recognised without the usual names."""
    parts = [f"{image!r} for the photos"]
    if label is not None:
        parts.append(f"{label!r} for the classes")
    if one_hot is not None:
        how = "one class per photo, as each row has exactly one" if one_hot.is_single else "several per photo"
        parts.append(f"{listed(list(map(repr, one_hot.columns)), 8)} as one-hot classes ({how})")
    return f"Columns are used by their names and content: {', '.join(parts)}."


def _plain(name: str) -> str:
    return name.strip().casefold().replace(" ", "_").replace("-", "_")
