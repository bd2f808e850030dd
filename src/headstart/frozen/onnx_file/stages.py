"""Finds outputs of a user's ONNX file that a head may read beside its features, as earlier stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx

from headstart.frozen.graph import leading_to
from headstart.frozen.onnx_file.batch import close, noise, run
from headstart.frozen.onnx_file.output import ANSWERS
from headstart.frozen.onnx_file.surgery import (
    serialised,
    taken_out,
    with_normalisation,
    with_pooling,
    with_stage,
)
from headstart.frozen.onnx_file.words import shown_shape
from headstart.images.settings import Preprocessing
from headstart.inference.runtime import open_session

MOST_STAGES: Final = 2
_NUM_PHOTOS: Final = 3


def outputs_before(graph: onnx.GraphProto, chosen: str) -> list[str]:
    """Return the outputs that are computed before the features, from the photos alone, in their order.

    Args:
        graph: Graph of the file.
        chosen: Name of the tensor with the features.
    """
    place = {name: number for number, node in enumerate(graph.node) for name in node.output}
    inputs = {each.name for each in graph.input} - {each.name for each in graph.initializer}
    needed = inputs & leading_to(graph, [chosen])[1]
    names = {each.name for each in graph.output if not ANSWERS.search(each.name)} & place.keys()
    before = sorted((name for name in names if place[name] < place[chosen]), key=place.__getitem__)
    return [name for name in before if inputs & leading_to(graph, [name])[1] == needed]


def with_stages(
    features: bytes,
    whole: onnx.ModelProto,
    output: str,
    preprocessing: Preprocessing,
    channels_first: bool,
    pooling: Mapping[str, Any],
    file: str,
    say: Callable[[str], object],
) -> tuple[bytes, tuple[str, ...]]:
    """Add the last two usable outputs before the features to a graph, as inner tensors.

    An output is usable if it is a map (N, C, H, W) or (N, H, W, C) with height equal to width, or a vector
    (N, D), and is the same for a photo alone and in a batch.

    Args:
        features: The graph from ``images`` to ``activations``.
        whole: The model in the file.
        output: Name of its tensor with the features.
        preprocessing: With the size, mean and std of its input.
        channels_first: Whether its input is (N, 3, H, W) rather than (N, H, W, 3).
        pooling: Arguments of ``with_pooling`` for the features.
        file: Name of the file.
        say: Called with a sentence about the outputs.

    Returns:
        The graph, in which the operations that lead to ``activations`` are the same; and the names of the
        tensors, (N, C, H, W) or (N, D) float32.
    """

    def build(names: Sequence[str]) -> onnx.ModelProto:
        return with_normalisation(taken_out(whole, names), preprocessing, channels_first=channels_first)

    others, size_px = outputs_before(whole.graph, output), preprocessing.size_px
    if not others:
        return features, ()
    found = run(open_session(features, is_trial=True), noise(_NUM_PHOTOS, size_px))
    try:
        if features != serialised(with_pooling(build([output]), found.shape[1], **pooling)):
            raise ValueError("The graph runs photo by photo.")
        together, alone = _computed(build([output, *others]), size_px)
    except Exception:  # ONNX Runtime has many
        say(f"A head reads {output} of {file} alone: its other outputs do not run on batches of photos.")
        return features, ()
    usable = _usable(others, together[1:], alone[1:], found, file, say)
    if not usable:
        return features, ()
    names = list(usable)[-MOST_STAGES:]
    say(f"A head may read {' and '.join(names)} of {file} too, as earlier stages.")
    model = build([output, *names])
    tensors = [each.name for each in model.graph.output[1:]]
    del model.graph.output[1:]
    stages = [f"stage.{name}" for name in names]
    for stage, tensor, name in zip(stages, tensors, names, strict=True):
        with_stage(model, tensor, stage, usable[name], channels_first=_channels_first(usable[name]))
    return serialised(with_pooling(model, found.shape[1], **pooling)), tuple(stages)


def _usable(
    names: Sequence[str],
    together: Sequence[np.ndarray],
    alone: Sequence[np.ndarray],
    features: np.ndarray,
    file: str,
    say: Callable[[str], object],
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of outputs that can be read, by name, and report the others."""
    faults = {
        name: _fault(values, singles, features)
        for name, values, singles in zip(names, together, alone, strict=True)
    }
    if unusable := "; ".join(f"{name} {fault}" for name, fault in faults.items() if fault):
        say(f"Outputs of {file} that a head does not read as earlier stages: {unusable}.")
    return {name: values.shape for name, values in zip(names, together, strict=True) if not faults[name]}


def _computed(model: onnx.ModelProto, size_px: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the outputs of a model for noise, as one batch and photo by photo."""
    session, photos = open_session(serialised(model), is_trial=True), noise(_NUM_PHOTOS, size_px)
    together = session.run(None, {"images": photos})
    singles = [session.run(None, {"images": photo[None]}) for photo in photos]
    return together, [np.concatenate(parts) for parts in zip(*singles, strict=True)]


def _fault(values: np.ndarray, singles: np.ndarray, features: np.ndarray) -> str:
    """Return why an output cannot be read; empty if it can.

    Args:
        values: The output for a batch.
        singles: The same for single photos.
        features: (N, D).
    """
    shape = values.shape
    if values.dtype not in (np.float16, np.float32, np.float64):
        return f"is {values.dtype}"
    if len(values) != _NUM_PHOTOS or len(shape) not in (2, 4) or (len(shape) == 2 and shape[1] == 1):
        return f"is {shown_shape(shape)}, neither a map nor a vector"
    channels_first = _channels_first(shape)
    if channels_first is None:
        return f"is {shown_shape(shape)}, whose axis of channels is not known"
    if singles.shape != shape or not close(values, singles):
        return "depends on the other photos of a batch"
    if not np.isfinite(values).all():
        return "is not finite"
    means = values.astype(np.float32)
    if len(shape) == 4:
        means = means.mean((2, 3) if channels_first else (1, 2))
    if means.shape == features.shape and close(means, features):
        return "has the features themselves"
    return ""


def _channels_first(shape: tuple[int, ...]) -> bool | None:
    """Return whether the channels of a square map come first; None if it is not known. True for a vector."""
    if len(shape) == 2:
        return True
    is_first, is_last = shape[2] == shape[3], shape[1] == shape[2]
    return None if is_first == is_last else is_first
