"""What a phase's suffix takes, photo by photo: the frozen prefix's output, computed once where it fits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from headstart.data.records import Record
from headstart.features.prefix import BATCH_SIZE, Prefix
from headstart.images.decode import read_bytes
from headstart.images.preprocess import Preprocessing, load_pixels
from headstart.runtime import map_images

# Above this, a phase computes its prefix anew in every epoch. It decides time, never results.
MEMORY_LIMIT_BYTES = 2 * 2**30


class Activations:
    """The suffix's inputs for a list of photos.

    Args:
        records: The photos.
        prefix: The frozen stages.
        preprocessing: How photos become pixels.
    """

    def __init__(self, records: Sequence[Record], prefix: Prefix, preprocessing: Preprocessing) -> None:
        self.records = records
        self._prefix = prefix
        self._preprocessing = preprocessing
        self._kept: np.ndarray | None = None

    def keep(self, on_photo: Callable[[], object]) -> None:
        """Compute all activations now and keep them, if the prefix does work and they fit in memory."""
        if not self._prefix.stages or not self.records:
            return
        for i, row in enumerate(self._computed(range(len(self.records)))):
            if self._kept is None:
                if row.nbytes * len(self.records) > MEMORY_LIMIT_BYTES:
                    return
                self._kept = np.empty((len(self.records), *row.shape), row.dtype)
            self._kept[i] = row
            on_photo()

    def rows(self, indices: Iterable[int]) -> Iterator[np.ndarray]:
        """Yield the activations of photos in the given order, each without a batch dimension."""
        return self._computed(indices) if self._kept is None else (self._kept[i] for i in indices)

    def _computed(self, indices: Iterable[int]) -> Iterator[np.ndarray]:
        for _, row in map_images(indices, self._load, self._prefix, batch_size=BATCH_SIZE):
            if isinstance(row, Exception):
                raise row
            yield row

    def _load(self, index: int) -> np.ndarray:
        path = self.records[index].path
        return load_pixels(read_bytes(path), self._preprocessing, path=path)
