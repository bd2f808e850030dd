"""Finds the columns of photos and classes in a table that does not call them ``image`` and ``label``."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import Any, Final

from headstart.columns import listed
from headstart.data.sources.by_name import forms_of
from headstart.data.sources.one_hot import OneHot, find_one_hot, is_number
from headstart.data.sources.several import SEVERAL
from headstart.data.sources.tabular import Table
from headstart.data.sources.written import Options
from headstart.errors import DataError
from headstart.files import is_remote
from headstart.images.formats import IMAGE_SUFFIXES

_MOST_ROWS_SEEN: Final = 20  # to see whether a column contains names of photos

_IDS: Final = {"image_id", "imageid", "img_id", "id_code", "isic_id", "photo_id"}
_ROW_IDS: Final = {"id", "uuid"}
_ADDRESSES: Final = {"image_url", "image_uri", "image_link", "img_url", "photo_url", "picture_url"}
_BY_CONTENT: Final = {"url", "uri", "link", "name"}  # names for many things, which may be photos

# In this order: a table with a path and an id of each photo is read by its paths.
_IMAGES: Final = (
    {"image"},
    {
        *("file_name", "filename", "file_names", "filenames", "file", "filepath", "file_path", "filepaths"),
        *("path", "paths", "image_path", "img_path", "image_file", "image_name", "imagename", "img_name"),
        *("images", "img", "photo", "picture", "image_filename", "photo_path", "fname", "image_index"),
    },
    _IDS,
    _ADDRESSES,
    _ROW_IDS,
    _BY_CONTENT,
)
_CLASSES: Final = {
    *("label", "class", "classes", "class_name", "classname", "category", "category_name"),
    *("label_name", "labelname", "species", "breed", "choice"),
}
_OTHER_CLASSES: Final = {  # used if there is none of the above
    *SEVERAL,
    *("scientific_name", "common_name", "species_guess", "iconic_taxon_name"),  # iNaturalist
}

_RANKS: Final = {  # of Darwin Core and other tables of biology, without "_"
    *("kingdom", "phylum", "class", "order", "family", "genus", "species"),
    *("scientificname", "commonname", "vernacularname"),
}


def find_image_column(path: str, table: Table, wanted: str) -> str | None:
    """Return the column of photos: the one that is wanted, or one with a usual name.

    Args:
        path: The table.
        table: Its content, of which the first rows may be read.
        wanted: The setting ``image_column``.

    Raises:
        DataError: Several columns have equally usual names, or one contains ids and another names of photos.
    """
    names = table.columns
    if wanted in names or wanted != "image":
        return wanted
    for usual in _IMAGES:
        found = [name for name in names if plain_column(name) in usual]
        if usual is _BY_CONTENT:
            found = [name for name in found if _names_photos(table, name)]
        if len(found) > 1:
            raise DataError(
                f"{path!r} has several columns that may name the photos: {', '.join(map(repr, found))}. "
                "Choose one: --image-column NAME"
            )
        if found and usual in (_IDS, _ROW_IDS):
            _refuse_other_photos(path, table, found[0])
        if found:
            return found[0]
    return None


def _refuse_other_photos(path: str, table: Table, column: str) -> None:
    """Raise DataError if not the column of ids, but another one contains the names of photos."""
    if column in table.photos:
        return
    names = [name for name in table.columns if name not in table.photos]
    rows = [cells for _, cells in itertools.islice(table.rows(names, []), _MOST_ROWS_SEEN)]
    with_names = [name for name in names if rows and all(_names_photo(cells.get(name)) for cells in rows)]
    others = [*table.photos, *with_names]
    if others and column not in others:
        raise DataError(
            f"Either {column!r} or {listed(list(map(repr, others)), 3)} may name the photos of {path!r}. "
            f"Choose one: --image-column {column}, or --image-column {others[0]}"
        )


def _names_photos(table: Table, column: str) -> bool:
    """Return whether the first cells of a column name photos, or are all addresses."""
    cells = [row.get(column) for _, row in itertools.islice(table.rows([column], []), _MOST_ROWS_SEEN)]
    return bool(cells) and (
        all(map(_names_photo, cells)) or all(isinstance(cell, str) and is_remote(cell) for cell in cells)
    )


def _names_photo(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    *_, form = forms_of(value)
    return os.path.splitext(form)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122


def find_class_column(path: str, names: Sequence[str]) -> str | None:
    """Return the column with a usual name of classes; None if there is none.

    Beside ``order`` or ``family``, ``class`` is a rank of biology (``Mammalia``), and all ranks are listed.

    Raises:
        DataError: There are several.
    """
    found = [name for name in names if plain_column(name) in _CLASSES]
    ranks = [name for name in names if plain_column(name).replace("_", "") in _RANKS]
    if "class" in map(plain_column, found) and {"order", "family"} & set(map(plain_column, ranks)):
        found = [*found, *(name for name in ranks if name not in found)]
    found = found or [name for name in names if plain_column(name) in _OTHER_CLASSES]
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
        One-hot columns; or the only column, if a task that is not regression is named; None if nothing is
        recognised, or if labels are not needed and it is not certain which they are.

    Raises:
        DataError: It is not certain which columns are labels.
    """
    is_needed = options.for_training or not options.is_open
    if len(others) > 1:
        try:
            return find_one_hot(path, table, others)
        except DataError:
            if is_needed:
                raise
            return None
    if not others or not is_needed:
        return None
    column = others[0]
    values = [cells.get(column) for _, cells in table.rows([column], [])]
    if not options.is_open:
        return column if values and all(isinstance(value, (str, int)) for value in values) else None
    if all(map(is_number, values)):
        raise DataError(
            f"Column {column!r} of {path!r} contains only numbers. Are they classes (--label-column "
            f"{column})? Or values to predict (--target {column})?"
        )
    raise DataError(
        f"Column {column!r} of {path!r} contains text. Does it name the classes (--label-column {column})? "
        f"Or photos that belong together, such as those of one person (--group-by {column}, with the classes "
        "in another column)?"
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


def plain_column(name: str) -> str:
    """Return the name of a column without the differences that are ignored."""
    return name.strip().casefold().replace(" ", "_").replace("-", "_")
