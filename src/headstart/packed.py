"""Sequences of many small dataclasses in little memory: columns are stored, and objects made when asked for.

A million listed and checked photos take 0.7 GB as objects of Python, and less than 0.1 GB in columns.
"""

from __future__ import annotations

import dataclasses
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from operator import attrgetter
from typing import Any, Generic, TypeVar, overload

import numpy as np

from headstart.packed_columns import BLOCK, Column, Shared, column_for

Row = TypeVar("Row")


class Packed(Sequence[Row], Generic[Row]):
    """Objects of one frozen dataclass, in columns. It can be read like a tuple; objects can be appended.

    Reading an object makes a new one, equal to the one that was appended. The last ones that were appended
    stay objects until there are enough of them for a block, which is faster than to store each alone.

    Args:
        kind: The dataclass.
        rows: Objects to begin with.
        photos_of: Objects whose photos these objects have, in their order, though some may be left out. Their
            photos are not stored again.
    """

    def __init__(
        self, kind: type[Row], rows: Iterable[Row] = (), *, photos_of: Sequence[Any] | None = None
    ) -> None:
        names = [each.name for each in dataclasses.fields(kind)]  # type: ignore[arg-type]
        self._kind = kind
        self._columns: dict[str, Column] = {name: column_for(name) for name in names}
        if isinstance(photos_of, Packed):
            photos_of._store()
            self._columns["photo"] = Shared(photos_of._columns["photo"])
        self._num_stored = 0
        self._last: list[Row] = []  # objects that are not in the columns yet
        for row in rows:
            self.append(row)

    def append(self, row: Row) -> None:
        """Add an object at the end."""
        self._last.append(row)
        if len(self._last) == BLOCK:
            self._store()

    def _store(self) -> None:
        for name, column in self._columns.items():
            column.extend(list(map(attrgetter(name), self._last)))
        self._num_stored, self._last = len(self), []

    def column(self, name: str) -> Iterator[Any]:
        """Yield one attribute of all objects, which is faster than making the objects."""
        return chain(self._columns[name], map(attrgetter(name), self._last))

    def __len__(self) -> int:
        return self._num_stored + len(self._last)

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> Packed[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | Packed[Row]:
        if isinstance(index, slice):
            return Packed(self._kind, (self[row] for row in range(*index.indices(len(self)))))
        row = range(len(self))[index]  # raises IndexError
        if row >= self._num_stored:
            return self._last[row - self._num_stored]
        return self._kind(*(column[row] for column in self._columns.values()))

    def __iter__(self) -> Iterator[Row]:
        return chain(map(self._kind, *self._columns.values()), self._last)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (Packed, tuple, list)) or len(self) != len(other):
            return NotImplemented if not isinstance(other, (Packed, tuple, list)) else False
        return all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # objects can be appended

    def __repr__(self) -> str:
        return f"<{len(self):,} of {self._kind.__name__}>"


def values_of(rows: Sequence[Any], name: str) -> Iterator[Any]:
    """Return one attribute of all objects, without making the objects if they are in columns."""
    return rows.column(name) if isinstance(rows, Packed) else map(attrgetter(name), rows)


class Some(Sequence[Row], Generic[Row]):
    """Some rows of a sequence, which are read from it when they are asked for."""

    def __init__(self, rows: Sequence[Row], numbers: Sequence[int] | np.ndarray) -> None:
        self._rows, self._numbers = rows, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> Some[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | Some[Row]:
        if isinstance(index, slice):
            return Some(self._rows, self._numbers[index])
        return self._rows[int(self._numbers[index])]

    def __iter__(self) -> Iterator[Row]:
        return map(self._rows.__getitem__, map(int, self._numbers))


def same_names(names: Iterable[str], name_of: Callable[[int], str]) -> Iterator[list[int]]:
    """Yield the rows of each name, in the order of their first rows. Takes 16 bytes a row.

    Args:
        names: The name of each row.
        name_of: Returns the name of a row again. It is called for names that occur more than once.
    """
    hashes = array("q", map(hash, names))
    ordered = np.sort(np.frombuffer(hashes, np.int64))
    repeated = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    del ordered
    rows_of: dict[str, list[int]] = {}
    for row, each in enumerate(hashes):
        if each in repeated:
            rows_of.setdefault(name_of(row), []).append(row)
    for row, each in enumerate(hashes):
        if each not in repeated:
            yield [row]
        elif (rows := rows_of[name_of(row)])[0] == row:
            yield rows
