"""Where in a photo the most probable class comes from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headstart.images.view import Box


@dataclass(frozen=True, eq=False)
class HeatMap:
    """What each part of a photo contributes to the logit of its most probable class.

    Of one class per photo, it is the contribution to the difference between this logit and the mean of all
    logits. Positive values speak for the class, negative values against it. The head's bias has no place in a
    photo and is not contained.

    Attributes:
        label: The class.
        values: (h, w) float32, by row and column of the map. Their mean is what the map contributes in all.
        share: How much of the features' contribution the map shows, 0..1: the mean of the map as a fraction
            of it and the rest, both without sign. 1 if the head reads means over positions only; less if it
            also reads standard deviations of earlier stages, and 0 if the features contribute nothing.
        area: The part of the photo that the map covers, in pixels of the photo with its EXIF orientation
            applied: all that the network gets, which is more than the photo where that is padded.
    """

    label: str
    values: np.ndarray
    share: float
    area: Box

    def __repr__(self) -> str:
        rows, columns = self.values.shape
        return f"<HeatMap of {self.label!r}: {rows} x {columns}, shows {self.share:.0%} of the contributions>"

    @property
    def peak(self) -> tuple[float, float]:
        """The centre of the position with the largest value, x and y in pixels of the photo."""
        row, column = np.unravel_index(int(self.values.argmax()), self.values.shape)
        rows, columns = self.values.shape
        left, top, right, bottom = self.area
        return (
            left + (right - left) * (int(column) + 0.5) / columns,
            top + (bottom - top) * (int(row) + 0.5) / rows,
        )
