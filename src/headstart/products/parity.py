"""Does the exported model say the same as the trained network, from a photo's bytes to probabilities?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from headstart import tasks
from headstart.errors import ParityError
from headstart.images.decode import image_size
from headstart.images.photo import Photo
from headstart.images.preprocess import load_pixels
from headstart.inference.model_file import ModelInfo
from headstart.inference.predictor import Predictor
from headstart.model.normalise import Normalise
from headstart.products.onnx import told
from headstart.tasks.prediction import Prediction

# Two runtimes add the same numbers in another order; float32 leaves differences of about 1e-6.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Parity:
    """How far apart the two were.

    Attributes:
        num_photos: Photos compared.
        max_difference: Largest difference of an answer: of a probability or of a box in shares of its photo,
            in 0..1; of a number, in standard deviations of its target.
    """

    num_photos: int
    max_difference: float


@torch.inference_mode()
def check_parity(predictor: Predictor, network: nn.Module, photos: Sequence[Photo]) -> Parity:
    """Run photos through the model file and through the network it was exported from.

    Args:
        predictor: The exported model.
        network: The trained network, on the CPU.
        photos: Real ones, for instance of the validation split.

    Raises:
        ParityError: An answer differs by more than ``TOLERANCE``.
    """
    settings = predictor.info.preprocessing
    normalise = Normalise(settings)
    task = tasks.of(predictor.info.task)
    network.eval()
    largest, worst = 0.0, ""
    for photo, prediction in zip(photos, predictor.predict_iter(photos), strict=True):
        pixels = torch.from_numpy(load_pixels(photo.content(), settings, path=photo.key))[None]
        row = told(network(normalise(pixels)), predictor.info)[0].numpy()
        size = partial(image_size, photo)
        expected = task.prediction(photo.key, row, predictor.info, size, None)
        difference = _difference(prediction, expected, predictor.info, size)
        if not difference <= largest:  # NaN counts as a difference
            largest, worst = difference, photo.key
    if not largest <= TOLERANCE:
        raise ParityError(
            f"The exported model disagrees with the trained network: on {worst} an answer differs by "
            f"{largest:.2g}, and {TOLERANCE:g} is allowed. The weights in model.safetensors are good; please "
            f"report this with the backbone's name."
        )
    return Parity(len(photos), largest)


def _difference(
    actual: Prediction, expected: Prediction, info: ModelInfo, size: Callable[[], tuple[int, int]]
) -> float:
    """Return the largest difference of a number in two predictions of a photo: see ``Parity``."""
    differences = [actual.probabilities[name] - share for name, share in expected.probabilities.items()]
    differences += [
        (actual.numbers[name] - expected.numbers[name]) / std
        for name, std in zip(info.targets, info.scale[1], strict=True)
    ]
    if expected.box is not None:
        assert actual.box is not None
        sides = np.tile(size(), 2)
        # In shares, but never more than half a pixel.
        allowed = np.minimum(1.0, 0.5 / (TOLERANCE * sides))
        differences += ((np.array(expected.box) - actual.box) / sides / allowed).tolist()
    return float(np.abs(differences).max())
