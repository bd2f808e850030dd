"""Columns of ``Packed``: one attribute of many objects, in as little memory as its values allow."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate, repeat
from typing import Any, Final, Protocol

from headstart.images.photo import Photo

BLOCK: Final = 1024
"""Rows in one piece of memory: a single long one would be copied whenever it grows."""

_MOST_DISTINCT: Final = 2**16  # values of a column, beyond which most of them must repeat


class Column(Protocol):
    """One attribute of all objects."""

    def extend(self, values: Sequence[Any], /) -> None:
        """Add values at the end."""

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
        """Add a value at the end."""
        self.extend((value,))

    def extend(self, values: Sequence[Any]) -> None:
        """Add values at the end."""
        if self._codes is None:
            self._values.extend(values)
            return
        try:
            new = [value for value in dict.fromkeys(values) if value not in self._code_of]
        except TypeError:  # not hashable
            self._unpack()
            self._values.extend(values)
            return
        self._code_of.update(zip(new, range(len(self._values), len(self._values) + len(new)), strict=True))
        self._values += new
        if len(self._values) == 1:
            self._num_same += len(values)
            return
        if self._num_same:
            self._codes, self._num_same = array("B", bytes(self._num_same)), 0
        if len(self._values) > 2**8 and self._codes.typecode == "B":
            self._codes = array("I", self._codes)
        self._codes.extend(map(self._code_of.__getitem__, values))
        if len(self._values) > max(_MOST_DISTINCT, len(self._codes) // 2):
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


class Objects:
    """Values of which every one differs; or all are the same object, such as None, which takes no memory."""

    def __init__(self) -> None:
        self._values: list[Any] = []
        self._num_same = 0  # rows with the only value

    def extend(self, values: Sequence[Any]) -> None:
        """Add values at the end."""
        if self._num_same or not self._values:
            first = (self._values or values)[:1]
            if {*map(id, first)} >= {*map(id, values)}:
                self._values, self._num_same = list(first), self._num_same + len(values)
                return
            self._values, self._num_same = self._values * self._num_same, 0
        self._values.extend(values)

    def __getitem__(self, row: int) -> Any:
        return self._values[0 if self._num_same else row]

    def __iter__(self) -> Iterator[Any]:
        return repeat(self._values[0], self._num_same) if self._num_same else iter(self._values)


class Texts:
    """Texts that begin alike, such as paths: their last parts as bytes, and the rest as values."""

    def __init__(self) -> None:
        self._heads = Values()
        self._blocks: list[tuple[bytearray, array[int]]] = []  # last parts, and where each ends

    def extend(self, texts: Sequence[str]) -> None:
        """Add texts at the end."""
        places = list(map(self._place, texts))
        self._heads.extend([text[:place] for text, place in zip(texts, places, strict=True)])
        tails = [
            text[place:].encode("utf-8", "surrogatepass") for text, place in zip(texts, places, strict=True)
        ]
        while tails:
            if not self._blocks or len(self._blocks[-1][1]) == BLOCK:
                self._blocks.append((bytearray(), array("I")))
            content, ends = self._blocks[-1]
            some, tails = tails[: BLOCK - len(ends)], tails[BLOCK - len(ends) :]
            ends.extend(end + len(content) for end in accumulate(map(len, some)))
            content += b"".join(some)

    @staticmethod
    def _place(text: str) -> int:
        """Return where the last part begins."""
        return max(text.rfind("/"), text.rfind("\\")) + 1

    def __getitem__(self, row: int) -> str:
        tails, ends = self._blocks[row // BLOCK]
        place = row % BLOCK
        tail = tails[ends[place - 1] if place else 0 : ends[place]]
        return str(self._heads[row] + tail.decode("utf-8", "surrogatepass"))

    def __iter__(self) -> Iterator[str]:
        heads = iter(self._heads)
        for tails, ends in self._blocks:
            places = zip((0, *ends), ends, strict=False)
            if tails.isascii():  # then all of them are decoded at once
                text = tails.decode("ascii")
                some = [text[begin:end] for begin, end in places]
            else:
                some = [tails[begin:end].decode("utf-8", "surrogatepass") for begin, end in places]
            yield from (head + tail for tail, head in zip(some, heads, strict=False))


class Places(Texts):
    """Texts that differ in the number at their end, such as ``labels.csv, line 7``."""

    @staticmethod
    def _place(text: str) -> int:
        return len(text.rstrip("0123456789"))


class Photos:
    """Photos, most of which are read by the same function."""

    def __init__(self) -> None:
        self._keys, self._reads = Texts(), Values()

    def extend(self, photos: Sequence[Photo]) -> None:
        """Add photos at the end."""
        self._keys.extend([photo.key for photo in photos])
        self._reads.extend([photo.read for photo in photos])

    def __getitem__(self, row: int) -> Photo:
        return Photo(self._keys[row], self._reads[row])

    def __iter__(self) -> Iterator[Photo]:
        return map(Photo, self._keys, self._reads)


class Shared:
    """Values of another column in their order, of which some may be left out: 4 bytes each."""

    def __init__(self, column: Column) -> None:
        self._column, self._rows = column, array("I")

    def extend(self, values: Sequence[Any]) -> None:
        """Add values at the end."""
        row = self._rows[-1] + 1 if self._rows else 0
        for value in values:
            while self._column[row] != value:
                row += 1
            self._rows.append(row)
            row += 1

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
        """Add a digest at the end."""
        if self._length % BLOCK == 0:
            self._blocks.append(bytearray())
        self._blocks[-1] += bytes.fromhex(digest) or bytes(32)
        if not digest:
            self._empty.add(self._length)
        self._length += 1

    def extend(self, digests: Sequence[str]) -> None:
        """Add digests at the end."""
        for digest in digests:
            self.append(digest)

    def __getitem__(self, row: int) -> str:
        begin = 32 * (row % BLOCK)
        return "" if row in self._empty else self._blocks[row // BLOCK][begin : begin + 32].hex()

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(self._length))


# By the names of attributes of Candidate, Record and Written; all others have few distinct values.
_OF: Final[dict[str, type[Column]]] = {
    "photo": Photos,
    "path": Texts,
    "source": Places,
    "sha256": Digests,
    "numbers": Objects,
    "objects": Objects,
    "box": Objects,
    "size": Objects,
    "declared_size": Objects,
}


def column_for(name: str) -> Column:
    """Return an empty column for the values of an attribute of this name."""
    return _OF.get(name, Values)()
