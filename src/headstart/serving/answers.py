"""Answers one photo: the entry of a response, computed in a thread by the same function as ``predict``."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from headstart.serving.models import Served
from headstart.serving.pixels import refuse_slow_photo
from headstart.serving.problems import Problem
from headstart.tasks.heat_map import HeatMap
from headstart.tasks.prediction import Prediction

NOT_SERVED = ("path", "error", "similar")
"""Keys of ``Prediction.to_dict`` that are not in answers as they are: paths belong to clients, and those
of training photos may say too much.
"""


@dataclass(frozen=True)
class Upload:
    """A photo of a request.

    Attributes:
        name: Its name as the client gave it, cleaned; it is only echoed.
        content: Its bytes.
    """

    name: str | None
    content: bytes


@dataclass(frozen=True)
class Wanted:
    """What a request asks for.

    Attributes:
        served: The model.
        top_k: Number of most probable classes; None for all.
        heat_map: Whether answers have heat maps.
        similar: Number of similar training photos; None for none.
        max_pixels: Largest JPEG.
    """

    served: Served
    top_k: int | None
    heat_map: bool
    similar: int | None
    max_pixels: int


def predict_upload(upload: Upload, wanted: Wanted) -> Prediction:
    """Predict a photo in the caller's thread.

    Raises:
        Problem: The photo cannot be read, or has too many pixels.
    """
    refuse_slow_photo(upload.content, wanted.max_pixels)
    (prediction,) = wanted.served.predictor.predict_iter(
        [upload.content], top_k=wanted.top_k, explain=wanted.heat_map, workers=0
    )
    if prediction.error is not None:
        raise Problem("unreadable_photo", f"The photo cannot be read: {prediction.error}")
    return prediction


def entry(upload: Upload, prediction: Prediction, wanted: Wanted, begun: float) -> bytes:
    """Return the answer for a photo as JSON.

    Args:
        upload: The photo.
        prediction: Its prediction.
        wanted: What the request asks for.
        begun: When a thread began with it, by ``time.perf_counter``.

    Raises:
        ValueError: An output of the model is not a finite number.
    """
    found: dict[str, Any] = {"name": upload.name}
    found |= {name: value for name, value in prediction.to_dict().items() if name not in NOT_SERVED}
    if prediction.heat_map is not None:
        found["heat_map"] = _heat_map(prediction.heat_map)
    if wanted.similar is not None and wanted.served.similar is not None:
        found["similar"] = wanted.served.similar.of(upload.content, wanted.similar)
    found["milliseconds"] = round((time.perf_counter() - begun) * 1000, 2)
    return json.dumps(found, allow_nan=False).encode()


def failed(upload: Upload, problem: Problem) -> bytes:
    """Return the answer for a photo that cannot be answered as JSON."""
    return json.dumps({"name": upload.name, "error": problem.to_dict()}).encode()


def _heat_map(found: HeatMap) -> dict[str, Any]:
    return {
        "label": found.label,
        "values": found.values.tolist(),
        "share": found.share,
        "area": list(found.area),
    }
