"""A user's ONNX network for batches of photos: each photo's features are the same alone and beside others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import onnx
import onnxruntime

from headstart.errors import NetworkError
from headstart.frozen.onnx_file.surgery import (
    photo_by_photo,
    serialised,
)
from headstart.frozen.onnx_file.words import described
from headstart.inference.runtime import open_session

TOLERANCE: Final = 5e-3
"""How far a photo's features alone and beside others may be apart, as a fraction of the largest feature."""


def for_batches(
    model: onnx.ModelProto,
    num_features: int,
    size_px: int,
    image: onnx.ValueInfoProto,
    file: str,
    say: Callable[[str], object],
) -> bytes:
    """Return the graph, which takes any number of photos and gives for each what it gives for it alone.

    Raises:
        NetworkError: It cannot be made so.
    """
    slow = "so it runs photo by photo, which is slower."
    free = serialised(model)
    if any(node.op_type.startswith("Dynamic") for node in model.graph.node):  # its scale is the batch's
        say(f"{file} is quantised dynamically, by the scale of a whole batch, {slow} The float file is not.")
    else:
        try:
            if _is_row_by_row(free, num_features, size_px):
                return free
            fixed = image.type.tensor_type.shape.dim[0].dim_value
        except Exception:  # ONNX Runtime has many
            fixed = 1
        if not fixed:
            raise NetworkError(
                f"{file} gives another result for a photo when other photos are beside it, as a network in "
                f"training mode does. Export it in evaluation mode: in PyTorch, after model.eval()."
            )
        say(f"{file} takes one photo at a time, {slow} Export it with a free batch size.")
    single = serialised(photo_by_photo(model, num_features))
    try:
        if _is_row_by_row(single, num_features, size_px):
            return single
    except Exception:  # see below
        pass
    raise NetworkError(
        f"{file} takes a batch of fixed size: its input is {described([image])}. Export it with a free "
        f"batch size: in PyTorch, with dynamic_axes={{{image.name!r}: {{0: 'batch'}}}}."
    )


def _is_row_by_row(model: bytes, num_features: int, size_px: int) -> bool:
    """Tell whether a batch of photos gives the same features as each of them alone.

    Raises:
        ValueError: It does not give a row of features for each photo. ONNX Runtime raises others.
    """
    session, photos = open_session(model, is_trial=True), noise(3, size_px)
    together = run(session, photos)
    if together.shape != (len(photos), num_features):
        raise ValueError(f"The features of {len(photos)} photos are {together.shape}.")
    return close(together, np.concatenate([run(session, photo[None]) for photo in photos]))


def close(features: np.ndarray, others: np.ndarray) -> bool:
    """Tell whether features are equal up to rounding, within ``TOLERANCE``; NaN equals NaN."""
    largest = float(np.abs(others[np.isfinite(others)]).max(initial=0))
    return bool(np.allclose(features, others, rtol=0, atol=TOLERANCE * largest, equal_nan=True))


def run(session: onnxruntime.InferenceSession, photos: np.ndarray) -> np.ndarray:
    """Return a network's output for photos (N, H, W, 3) uint8."""
    return np.asarray(session.run(None, {"images": photos})[0])


def noise(num_photos: int, size_px: int) -> np.ndarray:
    """Return photos (N, size_px, size_px, 3) of random pixels, always the same."""
    return np.random.default_rng(0).integers(0, 256, (num_photos, size_px, size_px, 3), np.uint8)
