"""Facts about each photo that do not depend on a network, stored while the photo is decoded.

They are computed at the scale at which the photo would be decoded for a network of 224 px. The scale depends
only on the photo, so that the facts are the same with every network. In most runs the network needs the same
scale, and the photo is decoded only once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import numpy as np
from PIL import Image

from headstart.errors import DataError, ImageError
from headstart.frozen.cache import OptionalStore, Room
from headstart.images.colour import profile_name
from headstart.images.decode import Decoded, decode_photo
from headstart.images.machine import DECODER
from headstart.images.photo import Photo
from headstart.inference.runtime import map_in_order

THUMBNAIL_PX: Final = 96
FACTS_PX: Final = 512
"""Smallest length of a JPEG's shorter side, in pixels, when it is decoded for its facts."""

_VERSION: Final = 1  # raised when facts are computed otherwise
_AT_ONCE: Final = 256  # photos between whose reading and decoding there is a pause
_SCALE_PX: Final = 256  # longer side at which brightness, contrast and sharpness are measured

_ROW: Final = np.dtype(
    [
        ("num_bytes", "<i8"),
        ("width_px", "<i4"),
        ("height_px", "<i4"),
        ("orientation", "<i4"),
        ("brightness", "<f8"),
        ("contrast", "<f8"),
        ("sharpness", "<f8"),
        ("format", "S8"),
        ("profile", "S64"),
        ("thumbnail", "u1", (THUMBNAIL_PX, THUMBNAIL_PX)),
    ]
)


@dataclass(frozen=True, eq=False)
class PhotoFacts:
    """Facts about a photo.

    Attributes:
        sha256: SHA-256 of the file's bytes, lower-case hexadecimal.
        num_bytes: Size of the file.
        width_px, height_px: As a viewer displays the photo.
        orientation: The EXIF orientation, 1..8. Above 4, width and height of the stored pixels are exchanged.
        brightness: Mean of the grey levels, 0..1.
        contrast: Their standard deviation, 0..0.5.
        sharpness: Variance of the Laplacian of the grey levels (0..255), at a length of 256 px of the longer
            side, so that it does not depend on the size of the photo.
        format: ``"JPEG"``, ``"PNG"``, ...
        profile: Name in the ICC profile; empty if the file has none, which means sRGB.
        thumbnail: (96, 96) uint8, grey, the whole photo without its aspect ratio. Near-duplicates can be
            found with square parts of it at 24 px: all thumbnails fit into one array, a part of a photo is a
            rectangle of its thumbnail, and a stretched copy has the same thumbnail, while the true aspect
            ratio is known.
    """

    sha256: str
    num_bytes: int
    width_px: int
    height_px: int
    orientation: int
    brightness: float
    contrast: float
    sharpness: float
    format: str
    profile: str
    thumbnail: np.ndarray

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height of the stored pixels."""
        size = self.width_px, self.height_px
        return size[::-1] if self.orientation > 4 else size


def facts_of(photo: Decoded, data: bytes, sha256: str, *, path: str) -> PhotoFacts:
    """Compute the facts of a photo.

    Args:
        photo: The photo decoded at any scale; if that is not the scale of the facts, it is decoded again.
        data: Content of the file.
        sha256: SHA-256 of the content.
        path: Name of the photo in errors; it is not opened.

    Raises:
        ImageError: The photo cannot be decoded.
    """
    if photo.reduction != photo.reduction_for(FACTS_PX):
        photo = decode_photo(data, path=path, reduce_to_px=FACTS_PX)
    grey = photo.image.convert("L")
    longer = max(grey.size)
    width, height = (max(1, round(side * _SCALE_PX / longer)) for side in grey.size)
    small = grey.resize((width, height), Image.Resampling.BILINEAR)
    levels = np.asarray(small, np.int32)
    mean, variance = _moments(levels)
    middle = levels[1:-1, 1:-1]
    around = levels[:-2, 1:-1] + levels[2:, 1:-1] + levels[1:-1, :-2] + levels[1:-1, 2:]
    thumbnail = small.resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BILINEAR)
    return PhotoFacts(
        sha256=sha256,
        num_bytes=len(data),
        width_px=photo.header.size[0],
        height_px=photo.header.size[1],
        orientation=photo.header.orientation,
        brightness=mean / 255,
        contrast=float(np.sqrt(variance)) / 255,
        sharpness=_moments(around - 4 * middle)[1],
        format=photo.format,
        profile=_shortened(profile_name(photo.profile)),
        thumbnail=np.asarray(thumbnail),
    )


def photo_facts(
    photos: Iterable[tuple[Photo, str]], room: Room | None, *, workers: int | None = None
) -> Iterator[PhotoFacts | ImageError]:
    """Yield the facts of photos, in order and with constant memory; photos without stored facts are decoded.

    Args:
        photos: Each with its SHA-256.
        room: Opens the store; None if facts are neither read from it nor stored.
        workers: Number of threads, as in ``map_images``.

    Yields:
        The facts, or the error if a photo cannot be decoded.

    Raises:
        DataError: The SHA-256 of a photo differs.
    """
    store = PhotoStore(room)
    try:
        yield from facts_from(store, photos, workers=workers)
    finally:
        store.close()


def facts_from(
    store: PhotoStore, photos: Iterable[tuple[Photo, str]], *, workers: int | None = None
) -> Iterator[PhotoFacts | ImageError]:
    """Yield the facts of photos as ``photo_facts`` does, from a store that is open and stays open."""

    def decode(item: tuple[Photo, str]) -> PhotoFacts | ImageError:
        photo, sha256 = item
        try:
            data = photo.content()
            if hashlib.sha256(data).hexdigest() != sha256:
                raise DataError(f"{photo.key} has been changed since it was checked. Start the run again.")
            decoded = decode_photo(data, path=photo.key, reduce_to_px=FACTS_PX)
        except ImageError as error:
            return error
        facts = facts_of(decoded, data, sha256, path=photo.key)
        store.put(facts)
        return facts

    remaining = iter(photos)
    # Threads help to decode, but not to read what is stored.
    while some := list(islice(remaining, _AT_ONCE)):
        known = [store.get(sha256) for _, sha256 in some]
        missing = [item for item, facts in zip(some, known, strict=True) if facts is None]
        decoded = map_in_order(decode, missing, workers)
        for facts in known:
            yield next(decoded) if facts is None else facts


class PhotoStore:
    """The facts of all photos in one file of the cache. Several threads may use it.

    If the file cannot be used, this is reported once; the store is then empty and stores nothing.
    """

    def __init__(self, room: Room | None) -> None:
        """
        Args:
            room: Opens the file; None for an empty store that stores nothing.
        """
        name = f"photos-{_VERSION}-{hashlib.sha256(DECODER.encode()).hexdigest()[:8]}"
        if room is None:
            self._store = OptionalStore(Room(print))
        else:
            self._store = OptionalStore(room, lambda: room.open_named(name, _About(), np.uint8))

    @property
    def is_open(self) -> bool:
        """Whether facts are stored."""
        return self._store.is_open

    def __contains__(self, sha256: str) -> bool:
        return self._store.ask(lambda store: bytes.fromhex(sha256) in store, False)

    def get(self, sha256: str) -> PhotoFacts | None:
        """Return the facts of a photo, or None if they are missing or damaged."""
        row = self._store.ask(lambda store: store.get(bytes.fromhex(sha256)), None)
        return None if row is None else _unpacked(sha256, row)

    def put(self, facts: PhotoFacts) -> None:
        """Store the facts of a photo."""
        self._store.ask(lambda store: store.put(bytes.fromhex(facts.sha256), _packed(facts)), None)

    def flush(self) -> None:
        """Write everything to the disk, if there is space."""
        self._store.ask(lambda store: store.flush(), None)

    def close(self) -> None:
        """Write remaining facts, and close the file."""
        self._store.close()


class _About:
    def to_dict(self) -> dict[str, Any]:
        return {"backbone": "any", "cut": "facts of photos", "version": _VERSION, "decoder": DECODER}


def _moments(values: np.ndarray) -> tuple[float, float]:
    """Return mean and variance of integers, from sums that are exact on every machine."""
    if not values.size:
        return 0.0, 0.0
    total, squares = int(values.sum(dtype=np.int64)), int((values * values).sum(dtype=np.int64))
    return total / values.size, (values.size * squares - total * total) / values.size**2


def _shortened(name: str) -> str:
    """Truncate a name to the length that a row can hold."""
    return name.encode()[: _ROW["profile"].itemsize].decode("utf-8", "ignore")


def _packed(facts: PhotoFacts) -> np.ndarray:
    row = np.zeros((), _ROW)
    for name in _ROW.names or ():
        value = getattr(facts, name)
        row[name] = value.encode() if isinstance(value, str) else value
    return np.frombuffer(row.tobytes(), np.uint8)


def _unpacked(sha256: str, row: np.ndarray) -> PhotoFacts | None:
    if row.size != _ROW.itemsize:
        return None
    (values,) = np.frombuffer(row.tobytes(), _ROW)
    fields: dict[str, Any] = {name: values[name] for name in _ROW.names or ()}
    for name, value in fields.items():
        if name != "thumbnail":
            fields[name] = value.decode("utf-8", "ignore") if isinstance(value, bytes) else value.item()
    return PhotoFacts(sha256, **fields)
