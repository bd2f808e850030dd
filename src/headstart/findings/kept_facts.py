"""Facts about many photos in little memory: thumbnails are read from the cache when they are needed."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Any, Final, overload

import numpy as np

from headstart.errors import ImageError
from headstart.frozen.cache import Room
from headstart.frozen.photos import PhotoFacts, PhotoStore, facts_from
from headstart.packed import Some
from headstart.packed_columns import Digests, Values
from headstart.records import Record

_MOST_IN_MEMORY: Final = 1024  # thumbnails, 9 MB


class KeptFacts(Sequence[PhotoFacts]):
    """The facts of those photos of a data set whose facts are known, in 0.1 kB each.

    Thumbnails, 9 kB each, are read from the store when they are needed, except for the first 1,024 and those
    that are not stored, which stay in memory.

    Attributes:
        rows: The rows of these photos in the data set, ascending.
    """

    def __init__(self, records: Sequence[Record], room: Room | None, *, decode: bool) -> None:
        """Read all facts once.

        Args:
            records: The photos of the data set.
            room: Opens the store; None if nothing is stored.
            decode: Whether photos without stored facts are decoded, and their facts stored. Otherwise they
                are left out, like photos that cannot be decoded.
        """
        self._records = records
        self._store = PhotoStore(room)
        self._thumbnails: dict[int, np.ndarray] = {}
        self._columns: dict[str, Any] = {
            "sha256": Digests(),
            "num_bytes": array("q"),
            **{name: array("i") for name in ("width_px", "height_px", "orientation")},
            **{name: array("d") for name in ("brightness", "contrast", "sharpness")},
            **{name: Values() for name in ("format", "profile")},
        }
        self.rows = array("q")
        for row, facts in enumerate(self._found(decode)):
            if facts is not None:
                self._append(row, facts)

    def close(self) -> None:
        """Close the store and release the thumbnails."""
        self._store.close()
        self._thumbnails = {}

    def _found(self, decode: bool) -> Iterable[PhotoFacts | None]:
        if not decode:
            return (self._store.get(record.sha256) for record in self._records)
        found = facts_from(self._store, ((record.photo, record.sha256) for record in self._records))
        return (None if isinstance(each, ImageError) else each for each in found)

    def _append(self, row: int, facts: PhotoFacts) -> None:
        for name, column in self._columns.items():
            column.append(getattr(facts, name))
        if len(self._thumbnails) < _MOST_IN_MEMORY or facts.sha256 not in self._store:
            self._thumbnails[len(self.rows)] = facts.thumbnail.copy()  # not the bytes that it was read from
        self.rows.append(row)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> PhotoFacts: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[PhotoFacts]: ...

    def __getitem__(self, index: int | slice) -> PhotoFacts | Sequence[PhotoFacts]:
        if isinstance(index, slice):
            return Some(self, range(len(self))[index])
        place = range(len(self))[index]  # raises IndexError
        return _Facts(self, place)

    def value(self, place: int, name: str) -> Any:
        """Return one of the facts about a photo, by the name of the attribute."""
        return self._thumbnail(place) if name == "thumbnail" else self._columns[name][place]

    def _thumbnail(self, place: int) -> np.ndarray:
        if (kept := self._thumbnails.get(place)) is not None:
            return kept
        if (stored := self._store.get(self._columns["sha256"][place])) is not None:
            return stored.thumbnail
        record = self._records[self.rows[place]]
        (facts,) = facts_from(self._store, [(record.photo, record.sha256)], workers=0)
        if isinstance(facts, ImageError):  # deleted from the store and from the disk meanwhile
            raise facts
        return facts.thumbnail


class _Facts(PhotoFacts):
    """Facts of which each is read when it is asked for."""

    def __init__(self, facts: KeptFacts, place: int) -> None:
        vars(self).update(_facts=facts, _place=place)  # as the dataclass is frozen

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # such as those by which Python copies objects
            raise AttributeError(name)
        return self._facts.value(self._place, name)
