"""Sequences of many small dataclasses in little memory: columns are stored, and objects made when asked for.

A million listed and checked photos take 0.7 GB as objects of Python, and less than 0.1 GB in columns.
"""

from __future__ import annotations

import dataclasses
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any, Final, Generic, Protocol, TypeVar, overload

import numpy as np

from headstart.images.photo import Photo

Row = TypeVar("Row")

_BLOCK: Final = 1024  # rows in one piece of memory; a single long one would be copied whenever it grows
_MOST_DISTINCT: Final = 2**16  # values of a column, beyond which most of them must repeat


class Packed(Sequence[Row], Generic[Row]):
    """Objects of one dataclass, in columns. It can be read like a tuple; objects can be appended.

    Reading an object makes a new one, equal to the one that was appended.

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
        self._columns: dict[str, _Column] = {name: _COLUMNS.get(name, Values)() for name in names}
        if isinstance(photos_of, Packed):
            self._columns["photo"] = _Shared(photos_of._columns["photo"])
        self._length = 0
        for row in rows:
            self.append(row)

    def append(self, row: Row) -> None:
        """Add an object at the end."""
        for name, column in self._columns.items():
            column.append(getattr(row, name))
        self._length += 1

    def column(self, name: str) -> Iterator[Any]:
        """Yield one attribute of all objects, which is faster than making the objects."""
        return iter(self._columns[name])

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> Packed[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | Packed[Row]:
        if isinstance(index, slice):
            return Packed(self._kind, (self[row] for row in range(*index.indices(self._length))))
        row = range(self._length)[index]  # raises IndexError
        return self._kind(*(column[row] for column in self._columns.values()))

    def __iter__(self) -> Iterator[Row]:
        return map(self._kind, *self._columns.values())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (Packed, tuple, list)) or len(self) != len(other):
            return NotImplemented if not isinstance(other, (Packed, tuple, list)) else False
        return all(one == another for one, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # objects can be appended

    def __repr__(self) -> str:
        return f"<{self._length:,} of {self._kind.__name__}>"


def picked(rows: Sequence[Row], wanted: Callable[[Row], object]) -> Sequence[Row]:
    """Return those objects for which a function is true, in columns if they are in columns."""
    if isinstance(rows, Packed):
        return Packed(rows._kind, filter(wanted, rows))
    return tuple(filter(wanted, rows))


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


class _Column(Protocol):
    """One attribute of all objects."""

    def append(self, value: Any, /) -> None: ...

    def __getitem__(self, row: int, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


class Values:
    """Values that are often equal, such as classes: each is kept once, with up to 4 bytes a row."""

    def __init__(self) -> None:
        self._codes: array[int] | None = array("B")  # None once too many differ
        self._code_of: dict[Any, int] = {}
        self._values: list[Any] = []  # by code; or of each row, once too many differ
        self._num_same = 0  # rows with the only value, which need no codes

    def append(self, value: Any) -> None:
        """Add the value of another row."""
        if self._codes is None:
            self._values.append(value)
            return
        try:
            code = self._code_of.setdefault(value, len(self._values))
        except TypeError:  # not hashable
            self._unpack()
            self._values.append(value)
            return
        if code == 0 and not self._codes:
            self._values = self._values or [value]
            self._num_same += 1
            return
        if code == len(self._values):
            self._values.append(value)
            if code == 1:
                self._codes, self._num_same = array("B", bytes(self._num_same)), 0
            elif code == 2**8:
                self._codes = array("I", self._codes)
        self._codes.append(code)
        if code > max(_MOST_DISTINCT, len(self._codes) // 2):
            self._unpack()

    def _unpack(self) -> None:
        self._values = list(self)
        self._codes, self._code_of, self._num_same = None, {}, 0

    def __getitem__(self, row: int) -> Any:
        return self._values[self._codes[row] if self._codes else 0 if self._num_same else row]

    def __iter__(self) -> Iterator[Any]:
        if self._num_same:
            return repeat(self._values[0], self._num_same)
        return map(self._values.__getitem__, self._codes) if self._codes else iter(self._values)


class _Objects:
    """Values of which every one differs; or all are the same object, such as None, which takes no memory."""

    def __init__(self) -> None:
        self._values: list[Any] = []
        self._num_same = 0  # rows with the only value

    def append(self, value: Any) -> None:
        if self._num_same and value is self._values[0]:
            self._num_same += 1
            return
        if self._num_same:
            self._values, self._num_same = self._values * self._num_same, 0
        self._num_same = 0 if self._values else 1
        self._values.append(value)

    def __getitem__(self, row: int) -> Any:
        return self._values[0 if self._num_same else row]

    def __iter__(self) -> Iterator[Any]:
        return repeat(self._values[0], self._num_same) if self._num_same else iter(self._values)


class _Texts:
    """Texts that begin alike, such as paths: their last parts as bytes, and the rest as values."""

    def __init__(self) -> None:
        self._heads = Values()
        self._blocks: list[tuple[bytearray, array[int]]] = []  # last parts, and where each ends

    def append(self, text: str) -> None:
        if not self._blocks or len(self._blocks[-1][1]) == _BLOCK:
            self._blocks.append((bytearray(), array("I")))
        head, tail = self._parted(text)
        self._heads.append(head)
        tails, ends = self._blocks[-1]
        tails += tail.encode("utf-8", "surrogatepass")
        ends.append(len(tails))

    def _parted(self, text: str) -> tuple[str, str]:
        place = max(text.rfind("/"), text.rfind("\\")) + 1
        return text[:place], text[place:]

    def __getitem__(self, row: int) -> str:
        tails, ends = self._blocks[row // _BLOCK]
        place = row % _BLOCK
        tail = tails[ends[place - 1] if place else 0 : ends[place]]
        return str(self._heads[row] + tail.decode("utf-8", "surrogatepass"))

    def __iter__(self) -> Iterator[str]:
        heads = iter(self._heads)
        for tails, ends in self._blocks:
            begin = 0
            for end in ends:
                yield next(heads) + tails[begin:end].decode("utf-8", "surrogatepass")
                begin = end


class _Places(_Texts):
    """Texts that differ in the number at their end, such as ``labels.csv, line 7``."""

    def _parted(self, text: str) -> tuple[str, str]:
        head = text.rstrip("0123456789")
        return head, text[len(head) :]


class _Photos:
    """Photos, most of which are read by the same function."""

    def __init__(self) -> None:
        self._keys, self._reads = _Texts(), Values()

    def append(self, photo: Photo) -> None:
        self._keys.append(photo.key)
        self._reads.append(photo.read)

    def __getitem__(self, row: int) -> Photo:
        return Photo(self._keys[row], self._reads[row])

    def __iter__(self) -> Iterator[Photo]:
        return map(Photo, self._keys, self._reads)


class _Shared:
    """Values of another column in their order, of which some may be left out: 4 bytes each."""

    def __init__(self, column: _Column) -> None:
        self._column, self._rows = column, array("I")

    def append(self, value: Any) -> None:
        row = self._rows[-1] + 1 if self._rows else 0
        while self._column[row] != value:
            row += 1
        self._rows.append(row)

    def __getitem__(self, row: int) -> Any:
        return self._column[self._rows[row]]

    def __iter__(self) -> Iterator[Any]:
        return map(self._column.__getitem__, self._rows)


class Digests:
    """SHA-256 in hexadecimal, or empty: 32 bytes each."""

    def __init__(self) -> None:
        self._blocks: list[bytearray] = []
        self._empty: set[int] = set()  # rows
        self._length = 0

    def append(self, digest: str) -> None:
        """Add the SHA-256 of another row."""
        if self._length % _BLOCK == 0:
            self._blocks.append(bytearray())
        self._blocks[-1] += bytes.fromhex(digest) or bytes(32)
        if not digest:
            self._empty.add(self._length)
        self._length += 1

    def __getitem__(self, row: int) -> str:
        begin = 32 * (row % _BLOCK)
        return "" if row in self._empty else self._blocks[row // _BLOCK][begin : begin + 32].hex()

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(self._length))


# By the names of attributes of Candidate, Record and Written; all others have few distinct values.
_COLUMNS: Final[dict[str, type[_Column]]] = {
    "photo": _Photos,
    "path": _Texts,
    "source": _Places,
    "sha256": Digests,
    "numbers": _Objects,
    "objects": _Objects,
    "box": _Objects,
    "size": _Objects,
    "declared_size": _Objects,
}
