"""The prediction for one photo."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Final

from headstart.images.view import Box
from headstart.tasks.heat_map import HeatMap

_MOST_SHOWN: Final = 5  # classes


@dataclass(frozen=True)
class SimilarPhoto:
    """A training photo that is similar to another photo.

    Attributes:
        path: Its path.
        label: Its label as text.
        similarity: Cosine of the angle between the centred features, -1..1; 1 for the same picture.
    """

    path: str
    label: str
    similarity: float


@dataclass(frozen=True, repr=False)
class Prediction:
    """The prediction for one photo. Only the fields of the model's task are set.

    Attributes:
        path: Path or key of the photo, as it was given; None if it was given as data, without a name.
        label: The most probable class; None if photos have several classes or none, or if the photo cannot be
            read.
        probability: Probability of ``label``, in 0..1.
        probabilities: Probabilities by class name, sorted from the highest.
        labels: For several labels: the classes with a probability of at least their threshold, sorted by
            probability.
        numbers: Predicted numbers by target, in the units of the targets.
        box: xmin, ymin, xmax, ymax in pixels of the photo with its EXIF orientation applied.
        unknown: Whether the photo is probably of none of the classes; None if the model cannot tell.
        unknown_score: How foreign the photo is to the classes; larger is more foreign. The threshold is
            ``info.unknown_threshold`` of the model.
        heat_map: Where in the photo the most probable class comes from, if that was requested; not compared.
        similar: The most similar training photos, the best first; only if they were asked for.
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
    unknown: bool | None = None
    unknown_score: float | None = None
    heat_map: HeatMap | None = field(default=None, compare=False)
    similar: tuple[SimilarPhoto, ...] = ()

    def with_score(self, score: float | None, threshold: float | None) -> Prediction:
        """Return the prediction with ``unknown_score``, and with ``unknown`` if there is a threshold."""
        if score is None or threshold is None:
            return self
        return replace(self, unknown=score > threshold, unknown_score=score)

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes for JSON, without the heat map."""
        found = {name: getattr(self, name) for name in _WRITTEN}  # many times faster than asdict
        copies = {"probabilities": dict(self.probabilities), "numbers": dict(self.numbers)}
        return found | copies | {"similar": tuple(asdict(each) for each in self.similar)}

    def __repr__(self) -> str:
        """Return what there is to say, and of many classes the most probable ones."""
        said = {each.name: getattr(self, each.name) for each in fields(self)}
        empty: tuple[Any, ...] = (None, (), {})
        shown = [f"{name}={_text(name, value)}" for name, value in said.items() if value not in empty]
        return f"Prediction({', '.join(shown)})"


_WRITTEN: Final = [each.name for each in fields(Prediction) if each.name != "heat_map"]


def _text(name: str, value: Any) -> str:
    """Write a field with as many digits as say something."""
    digits = ".4g" if name == "numbers" else ".1f" if name == "box" else ".4f"
    if isinstance(value, float):
        return format(value, digits)
    if isinstance(value, dict):
        parts = [f"{key!r}: {number:{digits}}" for key, number in list(value.items())[:_MOST_SHOWN]]
        return "{" + ", ".join([*parts, *(["..."] if len(value) > _MOST_SHOWN else [])]) + "}"
    if name == "box":
        return "(" + ", ".join(format(side, digits) for side in value) + ")"
    return repr(value)
