"""Makes a user's ONNX network process batches, with the same features for a photo alone and in a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import onnx
import onnxruntime

from headstart.errors import NetworkError
from headstart.frozen.onnx_file.surgery import photo_by_photo, serialised
from headstart.frozen.onnx_file.words import described
from headstart.inference.runtime import open_session

TOLERANCE: Final = 5e-3
"""Largest difference between the features of a photo alone and in a batch, relative to the largest feature.
"""


def for_batches(
    model: onnx.ModelProto,
    num_features: int,
    size_px: int,
    image: onnx.ValueInfoProto,
    file: str,
    say: Callable[[str], object],
) -> bytes:
    """Return a graph that accepts any number of photos and computes for each what it computes for it alone.

    Raises:
        NetworkError: This is not possible.
    """
    slow = "so it runs photo by photo, which is slower."
    free = serialised(model)
    if any(node.op_type.startswith("Dynamic") for node in model.graph.node):  # its scale is the batch's
        say(
            f"{file} is quantised dynamically, by the scale of a whole batch, {slow} Use the float file "
            f"instead."
        )
    else:
        try:
            if _is_row_by_row(free, num_features, size_px):
                return free
            fixed = image.type.tensor_type.shape.dim[0].dim_value
        except Exception:  # ONNX Runtime has many
            fixed = 1
        if not fixed:
            raise NetworkError(
                f"{file} gives another result for a photo in a batch than alone, as a network in "
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
    """Return whether a batch of photos has the same features as the single photos.

    Raises:
        ValueError: The network does not return a row of features for each photo. ONNX Runtime raises other
            errors.
    """
    session, photos = open_session(model, is_trial=True), noise(3, size_px)
    together = run(session, photos)
    if together.shape != (len(photos), num_features):
        raise ValueError(f"The features of {len(photos)} photos are {together.shape}.")
    return close(together, np.concatenate([run(session, photo[None]) for photo in photos]))


def close(features: np.ndarray, others: np.ndarray) -> bool:
    """Return whether features are equal within ``TOLERANCE``; NaN equals NaN."""
    largest = float(np.abs(others[np.isfinite(others)]).max(initial=0))
    return bool(np.allclose(features, others, rtol=0, atol=TOLERANCE * largest, equal_nan=True))


def run(session: onnxruntime.InferenceSession, photos: np.ndarray) -> np.ndarray:
    """Return the output of a network for photos (N, H, W, 3) uint8."""
    return np.asarray(session.run(None, {"images": photos})[0])


def noise(num_photos: int, size_px: int) -> np.ndarray:
    """Return photos (N, size_px, size_px, 3) of random pixels, the same in every call."""
    return np.random.default_rng(0).integers(0, 256, (num_photos, size_px, size_px, 3), np.uint8)
