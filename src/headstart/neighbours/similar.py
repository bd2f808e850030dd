"""Finds the training photos that are most similar to photos."""

from __future__ import annotations

import dataclasses
import itertools
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import cast

import numpy as np

from headstart.errors import ImageError, UsageError
from headstart.images.given import PhotoLike, as_photos, is_one_photo
from headstart.images.photo import Photo
from headstart.inference.predictor import Predictor, load
from headstart.neighbours.last_stage import LastStage
from headstart.neighbours.listed import training_photos
from headstart.neighbours.training_photos import open_among
from headstart.tasks.prediction import Prediction, SimilarPhoto


def similar(
    run: Predictor | str | os.PathLike[str],
    photos: PhotoLike | Iterable[PhotoLike],
    number: int = 3,
    *,
    verbose: bool = True,
) -> list[tuple[SimilarPhoto, ...]]:
    """Find the training photos that are most similar to photos, by the features before the head.

    Features that training has stored are used; others are computed once and stored.

    Args:
        run: A run folder, or what ``load`` returned for one.
        photos: As for ``Predictor.predict``.
        number: Number of similar photos, at least 1.
        verbose: Whether it prints what it computes and which training photos are missing.

    Returns:
        For each photo, the most similar training photos, the best first.

    Raises:
        UsageError: ``run`` is not a run folder, its training photos are gone, its last layer is not linear,
            or ``number`` is not positive.
        ImageError: A photo cannot be read.
        InputError: An item is not a photo.
    """
    predictor = run if isinstance(run, Predictor) else load(run)
    finder = Finder(predictor, number, say=_print if verbose else lambda _: None)
    collection = [photos] if is_one_photo(photos) else photos
    found = []
    for each in finder.each(list(as_photos(cast("Iterable[PhotoLike]", collection)))):
        if isinstance(each, ImageError):
            raise each
        found.append(each)
    return found


class Finder:
    """Finds similar photos for one photo after the other.

    Args:
        predictor: Opened from a run folder.
        number: Number of similar photos.
        say: Called with a sentence for the user.

    Raises:
        UsageError: As for ``similar``.
    """

    def __init__(self, predictor: Predictor, number: int, *, say: Callable[[str], object]) -> None:
        if number < 1:
            raise UsageError(f"The number of similar photos is {number}; it must be at least 1.")
        if predictor.path is None:
            raise UsageError("The model was opened from its content, so its run is unknown. Name its folder.")
        path = Path(predictor.path)
        photos = training_photos(path.parent)
        self._number, self._say = number, say
        self._stage = LastStage(path, predictor.info)
        self._among = open_among(self._stage, photos, say)

    def each(self, photos: Iterable[Photo]) -> Iterator[tuple[SimilarPhoto, ...] | ImageError]:
        """Yield the similar photos of each photo, or why it cannot be read."""
        activations = self._stage.open(self._say, room=None)
        photos, given = itertools.tee(photos)
        try:
            for (checked, row), photo in zip(activations.stream(photos), given, strict=True):
                if isinstance(row, np.ndarray):
                    yield self._among.nearest(row.reshape(-1), self._number, but=checked.sha256)
                else:
                    yield ImageError(photo.key, checked.reason or "its features are not finite")
        finally:
            activations.close()

    def follow(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """Yield predictions with the similar photos of their photos, which are read once more."""
        waiting: deque[Prediction] = deque()

        def readable() -> Iterator[Photo]:
            for each in predictions:
                waiting.append(each)
                if _has_photo(each):
                    yield Photo(cast("str", each.path))

        for nearest in self.each(readable()):
            while not _has_photo(waiting[0]):
                yield waiting.popleft()
            each = waiting.popleft()
            yield each if isinstance(nearest, ImageError) else dataclasses.replace(each, similar=nearest)
        yield from waiting


def _has_photo(prediction: Prediction) -> bool:
    return prediction.path is not None and prediction.error is None


def _print(text: str) -> None:
    print(text, file=sys.stderr)
