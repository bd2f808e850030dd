"""Verifies a model file without any photos: its checksum, its self-test, and what it says of itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime

from headstart.inference.heat_map import HEAT_MAP, HEAT_MAP_SHARE
from headstart.inference.model_file import ModelInfo, seal_onnx
from headstart.inference.runtime import map_in_order, open_session
from headstart.inference.self_test import SEED, SelfTest, inputs_of


def seal_with_self_test(model: bytes, info: ModelInfo) -> bytes:
    """Run a finished model on the inputs of the self-test, and seal it with their outputs in its description.

    The self-test is computed on the CPU, so that the file is the same whatever else computes. There is none
    if an output is not a finite number.

    Args:
        model: A serialised ONNX model with all its outputs, not sealed.
        info: Description to store in the file.
    """
    found = outputs_of(open_session(model), SEED, info.preprocessing.size_px)
    self_test = None
    if all(np.isfinite(rows).all() for rows in found.values()):
        self_test = SelfTest(SEED, {name: _as_numbers(rows) for name, rows in found.items()})
    return seal_onnx(model, replace(info, self_test=self_test))


def _as_numbers(rows: np.ndarray) -> tuple[tuple[float, ...], ...]:
    """Return the shortest decimal numbers that give the same float32."""
    return tuple(tuple(float(str(value)) for value in row) for row in rows)


def outputs_of(session: onnxruntime.InferenceSession, seed: int, size_px: int) -> dict[str, np.ndarray]:
    """Run a model on the inputs of a self-test, one at a time.

    Returns:
        (4, D) float32 by name of the output, without heat maps.
    """
    names = [each.name for each in session.get_outputs() if each.name not in (HEAT_MAP, HEAT_MAP_SHARE)]
    by_input = list(
        map_in_order(lambda image: session.run(names, {"images": image[None]}), inputs_of(seed, size_px))
    )
    return {
        name: np.stack([np.ravel(outputs[index]) for outputs in by_input]) for index, name in enumerate(names)
    }
