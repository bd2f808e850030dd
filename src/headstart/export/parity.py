"""Does the exported model say the same as the trained network, from a photo's bytes to probabilities?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from headstart import tasks
from headstart.errors import ParityError
from headstart.export.onnx import answers
from headstart.images.boxes import to_photo
from headstart.images.decode import image_size
from headstart.images.photo_file import read_bytes
from headstart.images.preprocess import load_pixels
from headstart.model.normalise import Normalise
from headstart.model_file import ModelInfo
from headstart.predictor import Predictor
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
def check_parity(predictor: Predictor, network: nn.Module, paths: Sequence[str]) -> Parity:
    """Run photos through the model file and through the network it was exported from.

    Args:
        predictor: The exported model.
        network: The trained network, on the CPU.
        paths: Real photos, for instance of the validation split.

    Raises:
        ParityError: An answer differs by more than ``TOLERANCE``.
    """
    settings = predictor.info.preprocessing
    normalise = Normalise(settings)
    network.eval()
    largest, worst = 0.0, ""
    for prediction in predictor.predict_iter(paths):
        path = str(prediction.path)
        pixels = torch.from_numpy(load_pixels(read_bytes(path), settings, path=path))[None]
        outputs = answers(network(normalise(pixels)), predictor.info)
        difference = _difference(prediction, [output[0].numpy() for output in outputs], predictor.info)
        if not difference <= largest:  # NaN counts as a difference
            largest, worst = difference, path
    if not largest <= TOLERANCE:
        raise ParityError(
            f"The exported model disagrees with the trained network: on {worst} an answer differs by "
            f"{largest:.2g}, and {TOLERANCE:g} is allowed. The weights in model.safetensors are good; please "
            f"report this with the backbone's name."
        )
    return Parity(len(paths), largest)


def _difference(prediction: Prediction, expected: Sequence[np.ndarray], info: ModelInfo) -> float:
    task = tasks.of(info.task)
    if task.has_numbers:
        actual = np.array([prediction.numbers[name] for name in info.targets])
        return float((np.abs(actual - expected[0]) / info.scale[1]).max())
    differences = []
    if task.has_box:
        assert prediction.path is not None and prediction.box is not None  # noqa: PT018
        size = image_size(prediction.path)
        box = np.array(to_photo(tuple(expected[0].tolist()), size, info.preprocessing))
        # In shares, but never more than half a pixel.
        allowed = np.minimum(1.0, 0.5 / (TOLERANCE * np.tile(size, 2)))
        differences.append(np.abs(box - prediction.box) / np.tile(size, 2) / allowed)
    if len(expected) > 1:
        actual = np.array([prediction.probabilities[name] for name in info.class_names])
        differences.append(np.abs(actual - expected[-1]))
    return float(np.concatenate(differences).max())
