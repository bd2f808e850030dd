"""Finds out how the cells of a table's column separate several labels: ``a|b``, ``a,b``, ``a b`` or lists."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

SEVERAL: Final = frozenset({"labels", "tags", "keywords", "finding_labels"})
"""Plain names of columns that contain any number of labels."""

Separate = Callable[[str], Sequence[str]]
"""Function that returns the labels in a cell."""

_MARKS: Final = (",", ";")


def by_bar(cell: str) -> list[str]:
    """Return the labels in ``a|b``, the usual form."""
    return cell.split("|")


def _by_spaces(cell: str) -> list[str]:
    return cell.split()


def _by_mark(mark: str) -> Separate:
    return lambda cell: [part for part in map(str.strip, cell.split(mark)) if part]


def list_in(cell: str) -> list[str]:
    """Return the labels in a list that Python or JSON has written as text.

    Raises:
        ValueError: It is not such a list.
    """
    try:
        found = ast.literal_eval(cell)
    except (SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(f"{cell!r:.60} is not a list") from error
    if not isinstance(found, list) or not all(isinstance(each, (str, int)) for each in found):
        raise ValueError(f"{cell!r:.60} is not a list of labels")
    return [str(each) for each in found]


def find_separator(column: str, cells: Iterable[Any]) -> tuple[Separate, str]:
    """Return how the cells of a column separate labels, and a note if that is assumed.

    Commas and semicolons separate if at least half of the labels that they separate occur in other cells,
    too (unlike in ``tench, Tinca tinca``). Spaces are more frequent in names (``golden retriever``): they
    separate only if there are fewer words than different cells, cells have different numbers of words, and
    none has a word twice.

    Args:
        column: Its name, for the note.
        cells: All of them; those that are not text are ignored.

    Returns:
        The function, which is ``by_bar`` where nothing else is certain; and the note, which may be empty.
    """
    found = {cell.strip() for cell in cells if isinstance(cell, str) and cell.strip()}
    if not found or any("|" in cell for cell in found):
        return by_bar, ""
    if all(cell.startswith("[") and cell.endswith("]") for cell in found):
        return list_in, ""
    otherwise = f"If each cell is one class: --task classification --label-column {column!r}"
    for mark in _MARKS:
        if _recur([_by_mark(mark)(cell) for cell in found]):
            return _by_mark(mark), f"Labels in {column!r} are separated by {mark!r}. {otherwise}"
    if _are_words(found):
        return _by_spaces, f"Labels in {column!r} are separated by spaces. {otherwise}"
    kept = [repr(mark) for mark in (*_MARKS, " ") if any(mark in cell for cell in found)]
    if not kept:
        return by_bar, ""
    return by_bar, (
        f"In {column!r}, {' and '.join(kept)} are parts of the names of labels. If they separate labels, "
        "write a|b instead."
    )


def _recur(split: Sequence[Sequence[str]]) -> bool:
    """Return whether at least half of the labels that are separated in a cell occur in other cells, too."""
    separated = {label for labels in split if len(labels) > 1 for label in labels}
    counts = Counter(label for labels in split for label in set(labels))
    return bool(separated) and 2 * sum(counts[label] > 1 for label in separated) >= len(separated)


def _are_words(cells: set[str]) -> bool:
    """Return whether the words of cells are labels, by the rule of ``find_separator``."""
    split = [cell.split() for cell in cells]
    words = {word for each in split for word in each}
    counts = {len(each) for each in split}
    return len(counts) > 1 and len(words) < len(cells) and all(len(set(each)) == len(each) for each in split)
