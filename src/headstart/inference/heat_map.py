"""The heat maps among the outputs of a model file."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import onnxruntime

from headstart.errors import UsageError
from headstart.images.settings import Preprocessing
from headstart.images.view import View
from headstart.tasks.heat_map import HeatMap
from headstart.tasks.prediction import Prediction

HEAT_MAP: Final = "heat_map"
"""Name of the output with the heat maps of photos, (N, h, w): see ``products/heat_map.py``."""

HEAT_MAP_SHARE: Final = "heat_map_share"
"""Name of the output that says how much of the contributions the heat maps show, (N, 1)."""


def size_of_heat_map(session: onnxruntime.InferenceSession) -> tuple[int, int] | None:
    """Return rows and columns of the heat maps of a model file; None if it has none."""
    for output in session.get_outputs():
        if output.name == HEAT_MAP:
            _, rows, columns = output.shape
            return rows, columns
    return None


def refuse_to_explain(size: tuple[int, int] | None, views: int) -> None:
    """Raise ``UsageError`` if a model cannot explain its predictions.

    Args:
        size: Rows and columns of its heat maps, if it has any.
        views: Number of views that predictions are averaged over.
    """
    if size is None:
        raise UsageError(
            "The model file has no heat maps. Models of numbers and boxes have none; nor has a network whose "
            "head does not read the mean of a feature map, such as a ViT: heat_map in the metrics.json of "
            "the run gives the reason. If there is no such key, the file is from an older Headstart: train "
            "again."
        )
    if views > 1:
        raise UsageError(
            f"views is {views}, but a heat map belongs to one view of a photo: predict with one view "
            f"(--views 1)."
        )


def with_heat_map(
    prediction: Prediction,
    outputs: np.ndarray,
    size: tuple[int, int],
    photo_size: tuple[int, int],
    settings: Preprocessing,
) -> Prediction:
    """Return a prediction with its heat map.

    Args:
        prediction: Of classes.
        outputs: (h * w + 1,), the outputs ``heat_map`` and ``heat_map_share`` of the photo.
        size: h and w.
        photo_size: Width and height of the photo as a viewer displays it.
        settings: How photos become the network's input.
    """
    corners = np.array([(0, 0, 1), (settings.size_px, settings.size_px, 1)])
    left, top, right, bottom = (corners @ View().matrix(*photo_size, settings).T)[:, :2].ravel().tolist()
    label = next(iter(prediction.probabilities))  # sorted from the highest
    found = HeatMap(label, outputs[:-1].reshape(size), float(outputs[-1]), (left, top, right, bottom))
    return replace(prediction, heat_map=found)
