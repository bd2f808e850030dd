"""The training photos of a run as vectors, among which the most similar ones of a photo are found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from headstart.tasks.prediction import SimilarPhoto

_LEAST_NORM = 1e-12


@dataclass(frozen=True)
class KnownPhoto:
    """A photo among which similar ones are found.

    Attributes:
        path: Its path.
        label: Its label as text.
        sha256: SHA-256 of the file.
    """

    path: str
    label: str
    sha256: str


@dataclass(frozen=True, eq=False)
class Among:
    """Photos with centred vectors of length 1.

    Attributes:
        photos: The N photos.
        mean: (D,) float32, the mean of their features.
        vectors: (N, D) float32.
    """

    photos: Sequence[KnownPhoto]
    mean: np.ndarray
    vectors: np.ndarray

    @classmethod
    def of(cls, photos: Sequence[KnownPhoto], features: np.ndarray) -> Self:
        """Centre the features (N, D) float32 of photos, which are changed in place."""
        mean = features.mean(0, dtype=np.float64).astype(np.float32)
        features -= mean
        features /= np.maximum(np.linalg.norm(features, axis=1, keepdims=True), _LEAST_NORM)
        return cls(photos, mean, features)

    def nearest(self, feature: np.ndarray, number: int, *, but: str = "") -> tuple[SimilarPhoto, ...]:
        """Return the photos with the largest cosine, the most similar first.

        Args:
            feature: (D,) float32, of a photo.
            number: Number of photos.
            but: SHA-256 of a photo that is left out: the photo itself.
        """
        vector = feature.astype(np.float32) - self.mean
        vector /= max(float(np.linalg.norm(vector)), _LEAST_NORM)
        # Not by BLAS, whose bits depend on its number of threads. Limiting them takes longer than this
        # product, and can block for ever beside other threads.
        cosines = np.einsum("nd,d->n", self.vectors, vector)
        found: list[SimilarPhoto] = []
        for row in np.argsort(-cosines, kind="stable").tolist():
            if len(found) == number:
                break
            photo = self.photos[row]
            if photo.sha256 != but:
                found.append(SimilarPhoto(photo.path, photo.label, round(float(cosines[row]), 4)))
        return tuple(found)
