"""Times predictions with several model files, so that their ratios are right on a busy machine too."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from headstart.images.photo import Photo
from headstart.inference.model_file import open_onnx
from headstart.inference.predictor import Predictor
from headstart.inference.runtime import CPU

_ROUNDS: Final = 4
_PHOTOS_A_ROUND: Final = 8
_WARM_UP: Final = 2  # predictions of each round that are not timed


def milliseconds(models: Sequence[Path], photos: Sequence[Photo]) -> list[float]:
    """Return the median time of predicting one photo from its bytes with each model, in milliseconds.

    Decoding and resizing are included, reading from the disk is not. The models take turns, so that other
    work on the machine slows all of them alike.

    Args:
        models: Model files; only one is in memory at a time.
        photos: At least one. Those that are timed are spread evenly over them.

    Raises:
        ImageError: A photo can no longer be read.
    """
    wanted = _ROUNDS * _PHOTOS_A_ROUND
    chosen = photos[:: max(len(photos) // wanted, 1)]
    times: list[list[float]] = [[] for _ in models]
    for round_ in range(_ROUNDS):
        first = round_ * _PHOTOS_A_ROUND
        of_round = [chosen[(first + n) % len(chosen)] for n in range(_PHOTOS_A_ROUND)]
        contents = [photo.content() for photo in of_round]
        for path, of_model in zip(models, times, strict=True):
            of_model += _seconds(Predictor(*open_onnx(path), providers=CPU), contents)
    return [1000 * median(of_model) for of_model in times]


def _seconds(predictor: Predictor, contents: Sequence[bytes]) -> Iterator[float]:
    for content in contents[:_WARM_UP]:
        predictor.predict(content)
    for content in contents:
        begun = time.perf_counter()
        predictor.predict(content)
        yield time.perf_counter() - begun
