"""What a model says of one photo."""

from __future__ import annotations

from dataclasses import dataclass, field

from headstart.images.view import Box


@dataclass(frozen=True)
class Prediction:
    """What a model says of one photo: the fields of its task, the others empty.

    Attributes:
        path: The photo, as it was asked for; None for one that is not a file.
        label: The most probable class; None where photos have several classes or none, and if the photo
            cannot be read.
        probability: Of that class, in 0..1.
        probabilities: By class name, the most probable first.
        labels: Where a photo may have several classes: those whose probability reaches their threshold, the
            most probable first.
        numbers: By target, in the target's own unit.
        box: xmin, ymin, xmax, ymax in pixels of the photo with its EXIF orientation applied.
        error: Why the photo cannot be read; None if it can.
    """

    path: str | None
    label: str | None = None
    probability: float | None = None
    probabilities: dict[str, float] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    numbers: dict[str, float] = field(default_factory=dict)
    box: Box | None = None
    error: str | None = None
