"""The prediction for one photo."""

from __future__ import annotations

from dataclasses import dataclass, field

from headstart.images.view import Box


@dataclass(frozen=True)
class Prediction:
    """The prediction for one photo. Only the fields of the model's task are set.

    Attributes:
        path: Path of the photo, as it was given; None if it is not a file.
        label: The most probable class; None if photos have several classes or none, or if the photo cannot be
            read.
        probability: Probability of ``label``, in 0..1.
        probabilities: Probabilities by class name, sorted from the highest.
        labels: For several labels: the classes with a probability of at least their threshold, sorted by
            probability.
        numbers: Predicted numbers by target, in the units of the targets.
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
