"""Finds the column of a table that says which photos are for training, validation and the test."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Set
from typing import Final

from headstart.data.sources.split_names import SPLIT_OF_WORD
from headstart.data.sources.tabular import Table, text_of
from headstart.data.sources.written import Options
from headstart.errors import DataError

_NAMES: Final = {"split", "subset", "partition", "set", "fold", "phase", "usage", "data_split", "split_name"}
_MOST_ROWS_SEEN: Final = 20  # to see whether a column contains words for splits
_IS_VALID: Final = {"is_valid", "is_val"}  # fastai
_FLAGS: Final = {
    **dict.fromkeys(("true", "1", "1.0"), "val"),
    **dict.fromkeys(("false", "0", "0.0"), "train"),
}


def find_split_column(path: str, table: Table, options: Options) -> tuple[str | None, Mapping[str, str]]:
    """Return the column with the splits, and the split of each of its words; None if there is none.

    This is the one that the user names, ``split``, fastai's ``is_valid``, or a column that contains only
    words for splits, train among them; of several, the one with a usual name.

    Args:
        path: The table.
        table: Its content, which is read once if there may be such a column.
        options: Columns that the user names.

    Raises:
        DataError: Several columns may be it.
    """
    if options.split_column is not None:
        is_flag = _plain(options.split_column) in _IS_VALID
        return options.split_column, _FLAGS if is_flag else SPLIT_OF_WORD
    if "split" in table.columns:
        return "split", SPLIT_OF_WORD
    taken = (options.image_column, options.label_column, options.group_by, *options.targets)
    others = [name for name in table.columns if name not in taken and name not in table.photos]
    usual = [name for name in others if _plain(name) in _NAMES | _IS_VALID]
    likely = [*usual, *_with_words_for_splits(table, [name for name in others if name not in usual])]
    if not likely:
        return None, SPLIT_OF_WORD
    words: dict[str, Counter[str]] = {name: Counter() for name in likely}
    for _, cells in table.rows(likely, []):
        for name in likely:
            words[name][text_of(cells.get(name)).lower()] += 1
    found = [name for name in likely if _are_splits(name, words[name].keys())]
    found = [name for name in found if name in usual] or found
    if len(found) > 1:
        raise DataError(
            f"{path!r} has several columns that may be the splits: {', '.join(map(repr, found))}. Choose "
            "one: --split-column NAME"
        )
    if not found:
        return None, SPLIT_OF_WORD
    if _plain(found[0]) in _IS_VALID:
        _refuse_most_for_validation(path, found[0], words[found[0]])
    return found[0], _FLAGS if _plain(found[0]) in _IS_VALID else SPLIT_OF_WORD


def _with_words_for_splits(table: Table, names: list[str]) -> list[str]:
    """Return the columns whose first cells are empty or words for splits."""
    rows = [cells for _, cells in itertools.islice(table.rows(names, []), _MOST_ROWS_SEEN)]
    found = []
    for name in names:
        words = {text_of(cells.get(name)).lower() for cells in rows} - {""}
        if words and words <= SPLIT_OF_WORD.keys():
            found.append(name)
    return found


def _refuse_most_for_validation(path: str, column: str, words: Counter[str]) -> None:
    """Refuse a column that may be a mark of usable rows rather than of photos for validation."""
    num_val = sum(number for word, number in words.items() if _FLAGS.get(word) == "val")
    if 2 * num_val > words.total():
        raise DataError(
            f"{path!r}: column {column!r} is true in {num_val:,} of {words.total():,} rows. If it marks the "
            f"photos for validation, say so: --split-column {column}. If it marks rows that can be used, "
            "rename it, and remove the other rows."
        )


def _are_splits(name: str, words: Set[str]) -> bool:
    """Return whether the words of a column are splits, with photos to train on among them."""
    known = _FLAGS if _plain(name) in _IS_VALID else SPLIT_OF_WORD
    told = words - {""}
    return told <= known.keys() and {known[word] for word in told} >= {"train"} and len(told) > 1


def _plain(name: str) -> str:
    return name.strip().casefold().replace("-", "_").replace(" ", "_")
