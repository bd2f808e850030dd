"""The training photos of a model that a service shows beside its answers, with the option ``--similar``."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path, PurePath
from typing import Any, Final
from urllib.parse import urlsplit

from headstart.errors import ImageError
from headstart.files import is_remote
from headstart.images.decode import decode_photo
from headstart.images.photo import Photo
from headstart.images.preprocess import load_photo
from headstart.inference.predictor import Predictor
from headstart.neighbours.last_stage import LastStage
from headstart.neighbours.listed import data_folder, training_photos
from headstart.neighbours.training_photos import open_among
from headstart.reporting.pictures import jpeg_of
from headstart.serving.names import clean

THUMBNAIL_PX: Final = 160
"""Longest side of a thumbnail."""

_KEPT_THUMBNAILS: Final = 1024  # of about 5 kB


class ShownPhotos:
    """Finds similar training photos of a model, and makes thumbnails of them.

    Args:
        predictor: Opened from a run folder.
        say: Called with a sentence for the operator, such as how many features are computed.

    Raises:
        UsageError: The model is not in a run folder, its last layer is not linear, or its training photos
            are gone and their features are not stored.
    """

    def __init__(self, predictor: Predictor, say: Callable[[str], object]) -> None:
        assert predictor.path is not None
        path = Path(predictor.path)
        photos = training_photos(path.parent)
        self._root = data_folder(path.parent)
        self._preprocessing = predictor.info.preprocessing
        self._stage = LastStage(path, predictor.info)
        self._among = open_among(self._stage, photos, say)
        sha256 = {photo.path: photo.sha256 for photo in self._among.photos}
        # Not a method, whose reference to this object would keep a replaced model in memory.
        self._thumbnail = lru_cache(_KEPT_THUMBNAILS)(partial(_thumbnail, sha256))

    def of(self, content: bytes, number: int) -> list[dict[str, Any]]:
        """Return the training photos that are most similar to a photo, for JSON, the best first.

        Args:
            content: The photo. A training photo with the same bytes is left out.
            number: Number of training photos.

        Raises:
            ImageError: The photo cannot be decoded.
        """
        _, pixels = load_photo(content, self._preprocessing, path="photo")
        (feature,) = self._stage.features(pixels[None])
        nearest = self._among.nearest(feature, number, but=hashlib.sha256(content).hexdigest())
        return [
            {
                "name": self._name(each.path),
                "label": each.label,
                "similarity": each.similarity,
                "thumbnail": self._thumbnail_or_none(each.path),
            }
            for each in nearest
        ]

    def _name(self, path: str) -> str:
        """Return the path below the data folder; of a photo elsewhere, its last part."""
        if is_remote(path):
            return clean(PurePath(urlsplit(path).path).name)
        pure = PurePath(path)
        is_below = pure.is_relative_to(self._root) and ".." not in pure.relative_to(self._root).parts
        return clean(pure.relative_to(self._root).as_posix() if is_below else pure.name)

    def _thumbnail_or_none(self, path: str) -> str | None:
        if is_remote(path):  # the service fetches nothing
            return None
        try:
            return self._thumbnail(path)
        except ImageError:  # it may come back, so this is not kept
            return None


def _thumbnail(sha256: Mapping[str, str], path: str) -> str:
    """Return a JPEG file in base64.

    Args:
        sha256: SHA-256 of the training photos by path.
        path: Of a training photo.

    Raises:
        ImageError: The photo cannot be read, or has changed.
    """
    content = Photo(path).content()
    if hashlib.sha256(content).hexdigest() != sha256[path]:
        raise ImageError(path, "it has changed")
    image = decode_photo(content, path=path, reduce_to_px=THUMBNAIL_PX).image
    return base64.b64encode(jpeg_of(image, THUMBNAIL_PX)[0]).decode()
