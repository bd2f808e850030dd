"""Finds the column of a table that says which photos are for training, validation and the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from headstart.data.sources.split_names import SPLIT_OF_WORD
from headstart.data.sources.tabular import Table, text_of
from headstart.errors import DataError

_NAMES: Final = {"subset", "partition", "set", "fold", "phase", "usage", "data_split", "split_name"}
_IS_VALID: Final = {"is_valid", "is_val"}  # fastai
_FLAGS: Final = {
    **dict.fromkeys(("true", "1", "1.0"), "val"),
    **dict.fromkeys(("false", "0", "0.0"), "train"),
}


def find_split_column(path: str, table: Table, names: Sequence[str]) -> tuple[str | None, Mapping[str, str]]:
    """Return the column with the splits, and the split of each of its words; None if there is none.

    This is ``split``, or a column with another usual name that contains only words for splits, train among
    them, or fastai's ``is_valid``.

    Args:
        path: The table.
        table: Its content, which is read once if there is a column with such a name.
        names: The columns that may be it.

    Raises:
        DataError: Several columns may be it.
    """
    if "split" in names:
        return "split", SPLIT_OF_WORD
    plain = {name: name.strip().casefold() for name in names}
    likely = [name for name in names if plain[name] in _NAMES | _IS_VALID | {"split"}]
    if not likely:
        return None, SPLIT_OF_WORD
    words: dict[str, set[str]] = {name: set() for name in likely}
    for _, cells in table.rows(likely, []):
        for name in likely:
            words[name].add(text_of(cells.get(name)).casefold())
    found = [name for name in likely if _are_splits(plain[name], words[name])]
    if len(found) > 1:
        raise DataError(
            f"{path!r} has several columns that may be the splits: {', '.join(map(repr, found))}. Choose one: "
            "--split-column NAME"
        )
    if not found:
        return None, SPLIT_OF_WORD
    return found[0], _FLAGS if plain[found[0]] in _IS_VALID else SPLIT_OF_WORD


def words_of(column: str | None) -> Mapping[str, str]:
    """Return the split of each word of a column that the user names."""
    return _FLAGS if column and column.strip().casefold() in _IS_VALID else SPLIT_OF_WORD


def _are_splits(name: str, words: set[str]) -> bool:
    """Return whether the words of a column are splits, with photos to train on among them."""
    known = _FLAGS if name in _IS_VALID else SPLIT_OF_WORD
    told = words - {"", "none", "nan"}
    return told <= known.keys() and {known[word] for word in told} >= {"train"} and len(told) > 1
