"""A store that machines share: a folder of Parquet shards, at an address of fsspec or on a shared disk.

Shards are only added. Several processes can fill one store at the same time without locks: each writes shards
with names of its own. Two of them may store the same row; both copies have the same bits.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np

from headstart.errors import MissingPackageError, requires_extra
from headstart.frozen.row_store import About, StoreError, row_checksum
from headstart.frozen.shards import (
    SUFFIX,
    Form,
    RowOfShard,
    Shard,
    ShardError,
    delete_parts,
    retried,
    write_shard,
)
from headstart.messages import without_password, without_secrets

_BURST_BYTES: Final = 32 * 2**20
_NUM_GROUPS: Final = 64  # that stay in memory, about 1 MB each
_READERS: Final = 16  # threads that wait for storage
_MOST_RECENT: Final = 2**16  # places that are looked up in a dict until they are sorted


class SharedStore:
    """Rows of one shape and type by key in shards: see ``RowStore``.

    The keys of all shards are in memory, about 45 bytes per row. Shards of other processes are known if they
    were there when the store was opened.

    Attributes:
        num_damaged: Number of rows with a wrong checksum.
    """

    def __init__(
        self,
        address: str,
        name: str,
        about: About,
        dtype: type[np.generic] = np.float32,
        *,
        say: Callable[[str], object] = lambda _: None,
        burst_bytes: int = _BURST_BYTES,
    ) -> None:
        """Open the store. Its folder is created with the first shard.

        Args:
            address: Folder of all stores: an address such as ``s3://bucket/features``, or a path.
            name: Name of the folder of this store in it.
            about: Everything that the rows depend on besides their key.
            dtype: Type of the rows.
            say: Called with a sentence about each shard that is not used.
            burst_bytes: Size at which a shard is written.

        Raises:
            StoreError: The folder cannot be listed, or a shard cannot be read.
            MissingPackageError: fsspec, pyarrow or the package of a protocol is not installed.
        """
        self.num_damaged = 0
        self._say = say
        self._is_slow = False  # once the user has been told
        self._form = Form(json.dumps(about.to_dict(), sort_keys=True), np.dtype(dtype).name)
        self._dtype = dtype
        self._burst_bytes = burst_bytes
        self._lock = threading.RLock()
        self._burst: dict[bytes, RowOfShard] = {}
        self._num_bytes = 0
        self._shape: tuple[int, ...] = ()
        self._shown = f"{without_password(address).rstrip('/')}/{name}"
        with requires_extra("parquet,remote", f"The feature store {self._shown}"):
            import fsspec.core
            import pyarrow.parquet  # noqa: F401

            self._system, root = self._asked(lambda: fsspec.core.url_to_fs(address))
        self._folder = f"{root.rstrip('/')}/{name}"
        self._shards: list[Shard] = []
        self._refused: set[int] = set()  # numbers of shards
        self._keys: np.ndarray = np.zeros(0, "S1")
        self._where: np.ndarray = np.zeros((0, 2), np.uint32)  # of sorted keys: shard, row
        self._recent: dict[bytes, tuple[int, int]] = {}  # of keys that are not sorted yet
        self._unsorted: dict[int, Shard] = {}
        self._groups: OrderedDict[tuple[int, int], list[RowOfShard]] = OrderedDict()
        self._sort(self._add(self._asked(self._listed)))

    def __contains__(self, key: bytes) -> bool:
        """Return whether a row exists; its checksum is verified when it is read."""
        with self._lock:
            return key in self._burst or next(self._places(key), None) is not None

    @property
    def has_rows(self) -> bool:
        """Whether there are rows that have been written."""
        return bool(len(self._keys) or self._recent)

    def get(self, key: bytes) -> np.ndarray | None:
        """Return a row, or None if there is none or it is damaged."""
        with self._lock:
            if (row := self._burst.get(key)) is not None:
                return np.frombuffer(row.value, self._dtype).reshape(self._shape)
            for number, place in self._places(key):
                shape = self._shards[number].shape
                row = self._row(number, place)
                if row is not None and row.key == key and row.checksum == row_checksum(key, shape, row.value):
                    return np.frombuffer(row.value, self._dtype).reshape(shape)
                self.num_damaged += row is not None
            return None

    def put(self, key: bytes, row: np.ndarray) -> None:
        """Store a row; it is written in a shard with others, or by ``flush``."""
        value = np.ascontiguousarray(row, self._dtype).tobytes()
        with self._lock:
            if self._burst and self._shape != row.shape:
                self.flush()
            self._shape = row.shape
            self._burst[key] = RowOfShard(key, row_checksum(key, row.shape, value), value)
            self._num_bytes += len(value)
            if self._num_bytes > self._burst_bytes:
                self.flush()

    def distrust(self) -> None:
        """Forget all rows, including those that have not been written yet. Their files stay.

        Raises:
            StoreError: Always: this process can no longer use the store.
        """
        with self._lock:
            self._burst, self._num_bytes = {}, 0
            self._forget()
        raise StoreError(
            f"The feature store {self._shown} is not used, and stays as it is, because other machines may "
            f"use it. If they report the same, delete it"
        )

    def flush(self) -> None:
        """Write all rows as a shard."""
        with self._lock:
            rows = list(self._burst.values())
            self._burst, self._num_bytes = {}, 0
            if not rows:
                return
            path = self._asked(
                lambda: write_shard(self._system, self._folder, self._form, self._shape, rows, self._tell)
            )
            for number, shard in self._add([path]).items():
                self._unsorted[number] = shard
                self._recent.update({row.key: (number, place) for place, row in enumerate(rows)})
            if len(self._recent) > _MOST_RECENT:
                self._sort(self._unsorted)
                self._unsorted.clear()
                self._recent.clear()

    def close(self) -> None:
        """Write remaining rows. Rows that cannot be written are lost, as this is only a cache."""
        with self._lock:
            with contextlib.suppress(StoreError):
                self.flush()
            self._forget()

    def _listed(self) -> list[str]:
        self._system.invalidate_cache()
        try:  # not `find`, which passes over folders that may not be read
            found: list[str] = retried(lambda: self._system.ls(self._folder, detail=False), self._tell)
        except FileNotFoundError:  # nothing has been stored yet
            return []
        delete_parts(self._system, found)
        return sorted(path for path in found if path.endswith(SUFFIX))

    def _add(self, paths: list[str]) -> dict[int, Shard]:
        """Read the keys of shards, and return these by number. Other files are reported and not used."""
        added: dict[int, Shard] = {}
        with ThreadPoolExecutor(_READERS) as pool:
            for path, shard in zip(paths, pool.map(self._opened, paths), strict=True):
                if isinstance(shard, Shard):
                    added[len(self._shards)] = shard
                    self._shards.append(shard)
                elif shard is not None:
                    self._refuse(path, shard)
        return added

    def _opened(self, path: str) -> Shard | ShardError | None:
        try:
            shard: Shard = self._asked(
                lambda: retried(lambda: Shard(self._system, path, self._form), self._tell),
                ShardError,
                FileNotFoundError,
            )
            return shard
        except ShardError as error:
            return error
        except FileNotFoundError:  # deleted since it was listed
            return None

    def _sort(self, shards: Mapping[int, Shard]) -> None:
        """Add the keys of shards to the sorted ones; a key may be there several times."""
        parts = [(shard.keys, number, np.arange(len(shard.keys))) for number, shard in shards.items()]
        self._keys = np.concatenate([self._keys, *(keys for keys, _, _ in parts)])
        where = [np.stack([np.full(len(rows), number), rows], 1) for _, number, rows in parts]
        self._where = np.concatenate([self._where, *where]).astype(np.uint32)
        order = np.argsort(self._keys, kind="stable")
        self._keys, self._where = self._keys[order], self._where[order]

    def _places(self, key: bytes) -> Iterator[tuple[int, int]]:
        """Yield shard and row of each copy of a row."""
        if (place := self._recent.get(key)) is not None and place[0] not in self._refused:
            yield place
        first, last = (int(np.searchsorted(self._keys, key, side)) for side in ("left", "right"))
        for number, row in self._where[first:last].tolist():
            if number not in self._refused:
                yield number, row

    def _row(self, number: int, place: int) -> RowOfShard | None:
        """Return a row of a shard; if the shard turns out to be damaged, it is not used any more."""
        shard = self._shards[number]
        group, place = shard.group_of(place)
        if (rows := self._groups.get((number, group))) is None:
            try:
                rows = self._asked(
                    lambda: retried(lambda: shard.read_group(group), self._tell),
                    ShardError,
                    FileNotFoundError,
                )
            except (ShardError, FileNotFoundError) as error:
                self._refused.add(number)
                self._refuse(shard.path, error)
                return None
            self._groups[number, group] = rows
            if len(self._groups) > _NUM_GROUPS:
                self._groups.popitem(last=False)
        self._groups.move_to_end((number, group))
        return rows[place]

    def _refuse(self, path: str, error: Exception) -> None:
        reason = "it was deleted" if isinstance(error, FileNotFoundError) else str(error)
        self._say(
            f"The file {path} of the feature store is not used: {reason}. Its features are computed again."
        )

    def _tell(self, error: Exception) -> None:
        """Report that the storage fails and is tried again, once."""
        if not self._is_slow:
            self._is_slow = True
            self._say(
                f"The feature store {self._shown} does not answer as it should, and is tried again: "
                f"{without_secrets(str(error))}"
            )

    def _forget(self) -> None:
        for each in (self._shards, self._refused, self._recent, self._unsorted, self._groups):
            each.clear()
        self._keys, self._where = self._keys[:0], self._where[:0]

    def _asked(self, work: Callable[[], Any], *passed: type[Exception]) -> Any:
        """Call a function that uses storage, and pass on some exceptions.

        Raises:
            MissingPackageError: The package of a protocol is not installed.
            StoreError: The storage cannot be used.
        """
        try:
            return work()
        except passed:
            raise
        except ModuleNotFoundError:
            raise
        except ImportError as error:  # fsspec's own, which names the package of a protocol
            raise MissingPackageError(f"The feature store {self._shown} cannot be opened: {error}") from error
        except Exception as error:  # each protocol has exceptions of its own
            raise StoreError(
                f"The feature store {self._shown} cannot be read or written: {without_secrets(str(error))}"
            ) from error
