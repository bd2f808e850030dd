"""Does the exported model say the same as the trained network, from a photo's bytes to probabilities?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from headstart.errors import ParityError
from headstart.images.decode import read_bytes
from headstart.images.preprocess import load_pixels
from headstart.model.normalise import Normalise
from headstart.predictor import Predictor

# Two runtimes add the same numbers in another order; float32 leaves differences of about 1e-6.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Parity:
    """How far apart the two were.

    Attributes:
        num_photos: Photos compared.
        max_difference: Largest difference of a probability, in 0..1.
    """

    num_photos: int
    max_difference: float


@torch.inference_mode()
def check_parity(predictor: Predictor, network: nn.Module, paths: Sequence[str]) -> Parity:
    """Run photos through the model file and through the network it was exported from.

    Args:
        predictor: The exported model.
        network: The trained network, on the CPU.
        paths: Real photos, for instance of the validation split.

    Raises:
        ParityError: A probability differs by more than ``TOLERANCE``.
    """
    settings = predictor.info.preprocessing
    normalise = Normalise(settings)
    network.eval()
    largest, worst = 0.0, ""
    for prediction in predictor.predict_iter(paths):
        path = str(prediction.path)
        pixels = torch.from_numpy(load_pixels(read_bytes(path), settings, path=path))[None]
        expected = network(normalise(pixels)).softmax(1)[0].numpy()
        actual = np.array([prediction.probabilities[name] for name in predictor.class_names])
        difference = float(np.abs(actual - expected).max())
        if not difference <= largest:  # NaN counts as a difference
            largest, worst = difference, path
    if not largest <= TOLERANCE:
        raise ParityError(
            f"The exported model disagrees with the trained network: on {worst} a probability differs by "
            f"{largest:.2g}, and {TOLERANCE:g} is allowed. The weights in model.safetensors are good; please "
            f"report this with the backbone's name."
        )
    return Parity(len(paths), largest)
