"""How fast this machine computes, measured on black photos."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from headstart.cores import num_cores
from headstart.frozen.prefix import Prefix
from headstart.inference.runtime import map_images


def seconds(work: Callable[[], object]) -> float:
    """Time what is done for the second time: the first time exports, allocates and warms up."""
    work()
    begun = time.perf_counter()
    work()
    return max(time.perf_counter() - begun, 1e-9)


def photos_per_second(prefix: Prefix, size_px: int, workers: int | None) -> float:
    """Return how many photos a second go through a frozen part, with as many threads as training has."""
    black = np.zeros((size_px, size_px, 3), np.uint8)
    num_photos = prefix.batch_size * (1 if workers == 0 else num_cores())

    def one_round() -> None:
        photos = range(num_photos)
        for _ in map_images(photos, lambda _: black, prefix, batch_size=prefix.batch_size, workers=workers):
            pass

    return num_photos / seconds(one_round)
