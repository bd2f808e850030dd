"""The inputs of a phase's trained stages for each photo, taken from memory or the store, or computed.

The origin of a row affects only the time, not the result: it is always the output of the same prefix on the
same runtime. The key of a store contains both, and the first rows taken from a store are computed again as a
check.
"""

from __future__ import annotations

import hashlib
import platform
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any, Final

import numpy as np

from headstart.cluster.nodes import refuse_unshared
from headstart.cluster.passes import RayCluster
from headstart.data.check import CHECK_REDUCE_TO_PX, CheckedPhoto, not_finite_error
from headstart.errors import DataError, ImageError, UsageError
from headstart.frozen.cache import Room
from headstart.frozen.elsewhere import NOT_ELSEWHERE, FactsRead, Found, Item, Pass
from headstart.frozen.fingerprint import Fingerprint
from headstart.frozen.kept_rows import KeptRows
from headstart.frozen.photos import FACTS_PX, PhotoStore, facts_of
from headstart.frozen.prefix import OnnxPrefix, Pair, Prefix
from headstart.images.decode import Decoded, decode_photo, image_header
from headstart.images.photo import Photo
from headstart.images.preprocess import load_photo
from headstart.images.settings import Preprocessing
from headstart.inference.runtime import Row, map_images
from headstart.records import Candidate, Record
from headstart.views.augmentation import Augmentation

MEMORY_LIMIT_BYTES: Final = 2**30
"""Rows are also kept in memory up to this total size, in bytes."""

_DAMAGED_ROW: Final = "The stored features of {} were damaged and are computed again."


class _NotFiniteError(ImageError):
    """The prefix returns NaN or infinite numbers for a photo."""


class Activations:
    """The outputs of one prefix: a float32 array per photo, without a batch dimension.

    Args:
        prefix: The frozen stages.
        preprocessing: How photos are converted to pixels.
        fingerprint: Function of the runtime's name that returns the fingerprint of the features.
        augmentation: Provides views 1, 2, ... of a photo; None to use photos without augmentation, as view 0.
        second: Stores the second output of the prefix: the activations after its first stages, for a later
            phase, or the pooled outputs of all its stages.
        keep: Whether rows are kept in the store, or computed whenever they are requested.
        memory_bytes: Rows that are kept are also held in memory, up to this size.
        proves: Whether the first rows taken from a store are computed again and compared. Not needed for the
            second output of a prefix whose main output is compared in the same run.
        workers: Number of threads that load photos, as in ``map_images``.
        say: Called with a sentence for the user about a store that cannot be used, or about damaged rows.
        room: Opens the store. It is shared within a run, so that no store of the run is deleted for another.
        cluster: Reads photos that are not known yet and computes their rows, if not this process.
    """

    def __init__(
        self,
        prefix: Prefix,
        preprocessing: Preprocessing,
        fingerprint: Callable[[str], Fingerprint],
        *,
        augmentation: Augmentation | None = None,
        second: Activations | None = None,
        keep: bool = True,
        memory_bytes: int = MEMORY_LIMIT_BYTES,
        proves: bool = True,
        workers: int | None = None,
        say: Callable[[str], object],
        room: Room | None = None,
        cluster: RayCluster | None = None,
    ) -> None:
        if cluster is not None and not isinstance(prefix, OnnxPrefix):
            raise UsageError(NOT_ELSEWHERE)
        self._cluster = cluster
        self._fingerprint = fingerprint
        self._prefix = prefix
        self._preprocessing = preprocessing
        self._augmentation = augmentation
        self._second = second
        self._keep = keep and not prefix.is_empty
        self._workers = workers
        self._say = say
        self._room = room or Room(say)
        self._photos: PhotoStore | FactsRead | None = None  # open in a pass over unknown photos
        self._proving = threading.Lock()
        self._kept = KeptRows(
            prefix,
            fingerprint,
            self._room,
            say,
            memory_bytes if self._keep else 0,
            keep=self._keep,
            proves=proves,
        )

    @property
    def is_kept(self) -> bool:
        """Whether rows are stored."""
        return self._keep

    def check(
        self, candidates: Iterable[Candidate], wanted: Callable[[Candidate], bool]
    ) -> Iterator[CheckedPhoto]:
        """Read, hash and decode photos, and compute their missing rows, in one pass.

        A photo whose row and facts are stored is only read and hashed, because the same decoder has already
        decoded it.

        Args:
            candidates: Candidates, in the order of the results.
            wanted: Whether the row of a photo will be needed; other photos are only checked.

        Yields:
            The result of each photo's check, in order.
        """
        items = (
            Item(each.photo, is_wanted=self._keep and wanted(each), has_box=each.box is not None)
            for each in candidates
        )
        with self._facts_kept():
            for item, row in self._pass(items, self._load_unknown):
                yield _checked(item, row)
        self._flush()

    def stream(self, photos: Iterable[Photo]) -> Iterator[tuple[CheckedPhoto, np.ndarray | None]]:
        """Read photos and yield their rows, in one pass and with constant memory.

        Yields:
            For each photo, in order, the result of its check, and its row, or None if the photo cannot be
            read or its row is not finite.

        Raises:
            DataError: A photo has been changed or removed in the meantime.
        """
        with self._facts_kept():
            for item, row in self._pass(map(Item, photos), self._load_unknown):
                if row is None:
                    row = self._kept.get(item.key)
                if row is None:  # damaged since it was found
                    row = self._compute_again(item)
                yield _checked(item, row), row if isinstance(row, np.ndarray) else None
        self._flush()

    def fill(self, photos: Iterable[tuple[Record, int]]) -> Iterator[None]:
        """Compute and store the missing rows of photos and views.

        Yields:
            None after each photo, for a progress bar.

        Raises:
            DataError: Some rows are not finite, or a photo can no longer be read; the message names the
                photos.
        """
        if not self._keep:
            return
        not_finite: list[str] = []
        for item, row in self._pass(_items(photos), self._load_missing):
            if isinstance(row, _NotFiniteError):
                not_finite.append(item.photo.key)
            else:
                _readable(item, row)
            yield
        self._flush()
        if not_finite:
            raise not_finite_error(list(dict.fromkeys(not_finite)))

    def rows(self, photos: Iterable[tuple[Record, int]]) -> Iterator[np.ndarray]:
        """Yield the activations of photos and views in the given order, each without a batch dimension.

        Only a bounded number of photos is read ahead.

        Raises:
            DataError: A row is not finite, or a photo can no longer be read.
        """
        wanted = _items(photos)
        for item in wanted:
            kept = self._kept.in_memory(item.key)
            if kept is None:
                wanted = chain([item], wanted)
                break
            yield kept
        for item, row in self._pass(wanted, self._load_missing):
            row = _readable(item, row)
            if row is None:
                row = self._kept.get(item.key)
            if row is None:  # damaged since it was found
                row = self._compute_again(item)
            yield row
        self._flush()

    def close(self) -> None:
        """Close the store and release the memory."""
        self._kept.close()
        if self._second is not None:
            self._second.close()

    def _pass(
        self, items: Iterable[Item], load: Callable[[Item], np.ndarray | None]
    ) -> Iterator[tuple[Item, Row]]:
        batch_size, workers = self._prefix.batch_size, self._workers
        items = iter(items)
        # Most rows of a store that was there already are proven by one call, for all items of a batch.
        first = list(islice(items, batch_size)) if self._kept.unproven else []
        for item in first:
            item.proves = True

        def prove(pixels: np.ndarray) -> Sequence[Pair]:
            if all(item.is_stored for item in first):  # then the graph of a second output need not open
                return [(row, None) for row in self._prefix(pixels)]
            return self._prefix.pairs(pixels)

        passes = [map_images(first, load, prove, batch_size=batch_size, workers=workers)]
        if self._cluster is not None and load == self._load_unknown:
            passes.append(self._elsewhere(items, self._cluster))
        else:
            passes.append(map_images(items, load, self._prefix.pairs, batch_size=batch_size, workers=workers))
        for item, pair in chain.from_iterable(passes):
            row, other = pair if isinstance(pair, tuple) else (pair, None)
            if item.proves and isinstance(row, np.ndarray):
                with self._proving:
                    is_in_memory = self._kept.in_memory(item.key) is not None
                    if self._kept.unproven and not is_in_memory and self._kept.has(item.key):
                        if self._kept.get(item.key) is not None:
                            self._kept.proves(item.key, row)
                        elif self._kept.has_store:
                            self._say(_DAMAGED_ROW.format(item.photo.key))
            # A row that is not finite is never kept, so that asking for it again gives the same error.
            if isinstance(row, np.ndarray) and not np.isfinite(row).all():
                row = _NotFiniteError(item.photo.key, "its features are not finite (NaN or infinite)")
            if other is not None and not np.isfinite(other).all():
                other = None
            is_new = not item.is_stored or self._kept.get(item.key) is None
            if self._keep and isinstance(row, np.ndarray) and is_new:
                self._kept.put(item.key, row)
            if self._second is not None and other is not None:
                self._second._kept.put(item.key, other)
            yield item, row

    def _elsewhere(
        self, items: Iterable[Item], cluster: RayCluster
    ) -> Generator[tuple[Item, Any], None, None]:
        """Let a cluster read photos and compute their rows; facts and rows are stored here."""
        for found in cluster.map(self.work(), items):
            for sentence in found.said:
                self._say(sentence)
            if found.node and isinstance(found.row, ImageError):
                photo = found.item.photo
                refuse_unshared(photo.key, photo.content, found.node, found.row.reason)
            if found.facts is not None and self._photos is not None:
                self._photos.put(found.facts)
            yield found.item, found.row

    def work(self) -> Pass:
        """Return what a process of a cluster does for a pass over photos that are not known yet."""
        assert isinstance(self._prefix, OnnxPrefix)
        return Pass(
            type(self),
            self._prefix,
            self._preprocessing,
            self._fingerprint(self._prefix.runtime),
            self._augmentation,
            self._keep,
            self._room.shared,
            self._workers,
        )

    def found(self, items: Iterable[Item]) -> Iterator[Found]:
        """Yield what another process needs to know about photos; nothing is stored: see ``elsewhere``."""
        if self._photos is None and self._keep:
            self._photos = FactsRead(PhotoStore(self._room))
        compute, size = self._prefix.pairs, self._prefix.batch_size
        for item, row in map_images(
            items, self._load_unknown, compute, batch_size=size, workers=self._workers
        ):
            found: Any = row
            if row is None and item.is_wanted:
                found = self._kept.get(item.key)
                if found is None:  # damaged since it was found
                    found = self._compute_again(item)
            facts = self._photos.take(item.sha256) if isinstance(self._photos, FactsRead) else None
            yield Found(item, found, facts, node="" if item.sha256 else platform.node())

    def _compute_again(self, item: Item) -> np.ndarray:
        self._say(_DAMAGED_ROW.format(item.photo.key))
        ((_, row),) = self._pass([item], self._load_known)
        return np.asarray(_readable(item, row))

    def _load_unknown(self, item: Item) -> np.ndarray | None:
        data = item.photo.content()
        item.sha256 = hashlib.sha256(data).hexdigest()
        if item.has_box:
            item.header = image_header(data)
        photos = self._photos
        needs_facts = photos is not None and photos.is_open and item.sha256 not in photos
        decoded: Decoded | None = None
        pixels: np.ndarray | None = None

        def load() -> np.ndarray:
            nonlocal decoded
            decoded, found = self._load(data, item)
            return found

        if item.is_wanted:
            pixels = self._pixels_if_missing(item, load)
        if decoded is None and (needs_facts or not item.is_wanted):
            reduce_to_px = FACTS_PX if needs_facts else CHECK_REDUCE_TO_PX
            decoded = decode_photo(data, path=item.photo.key, reduce_to_px=reduce_to_px)
        if needs_facts and photos is not None and decoded is not None:
            photos.put(facts_of(decoded, data, item.sha256, path=item.photo.key))
        return pixels

    def _load_missing(self, item: Item) -> np.ndarray | None:
        return self._pixels_if_missing(item, lambda: self._load_known(item))

    def _pixels_if_missing(self, item: Item, load: Callable[[], np.ndarray]) -> np.ndarray | None:
        """Load a photo if its row is missing, or must be compared with a computed row."""
        item.is_stored = self._keep and self._kept.has(item.key)
        if item.proves or not item.is_stored:
            return load()
        with self._proving:
            is_proven = not self._kept.unproven or self._kept.in_memory(item.key) is not None
            return None if is_proven or self._is_as_computed(item.key, pixels := load()) else pixels

    def _is_as_computed(self, key: bytes, pixels: np.ndarray) -> bool:
        batch = np.zeros((self._prefix.batch_size, *pixels.shape), np.uint8)
        batch[0] = pixels
        return self._kept.proves(key, self._prefix(batch)[0])

    def _load_known(self, item: Item) -> np.ndarray:
        data = item.photo.content()
        if hashlib.sha256(data).hexdigest() != item.sha256:
            raise DataError(f"{item.photo.key} has been changed since this run began. Start the run again.")
        return self._load(data, item)[1]

    def _load(self, data: bytes, item: Item) -> tuple[Decoded, np.ndarray]:
        view = self._augmentation.view(item.sha256, item.view) if self._augmentation else None
        return load_photo(data, self._preprocessing, path=item.photo.key, view=view)

    @contextmanager
    def _facts_kept(self) -> Iterator[None]:
        """Store the facts of the photos of a pass, if rows are stored."""
        self._photos = PhotoStore(self._room) if self._keep else None
        try:
            yield
        finally:
            if self._photos is not None:
                self._photos.close()
            self._photos = None

    def _flush(self) -> None:
        if self._second is not None:
            self._second._flush()
        self._kept.flush()


def _items(photos: Iterable[tuple[Record, int]]) -> Iterator[Item]:
    return (Item(record.photo, view, record.sha256) for record, view in photos)


def _checked(item: Item, row: Row) -> CheckedPhoto:
    if isinstance(row, Exception):
        is_finite = not isinstance(row, _NotFiniteError)
        reason = getattr(row, "reason", None) or str(row)
        return CheckedPhoto(item.sha256, reason, is_finite=is_finite)
    return CheckedPhoto(item.sha256, None, item.header)


def _readable(item: Item, row: Row) -> np.ndarray | None:
    if isinstance(row, _NotFiniteError):
        raise not_finite_error([item.photo.key])
    if isinstance(row, Exception):
        raise DataError(
            f"{item.photo.key} could be read when this run began, and no longer can: "
            f"{getattr(row, 'reason', None) or row}. Restore it, or start the run again."
        )
    return row
