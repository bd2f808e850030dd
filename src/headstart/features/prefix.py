"""The frozen stages as one function from pixels to activations."""

from __future__ import annotations

import threading

import numpy as np
import torch
from torch import Tensor, nn

from headstart.images.preprocess import Preprocessing
from headstart.model.normalise import Normalise
from headstart.model.stages import StageSequence, cut

BATCH_SIZE = 32


class Prefix:
    """The frozen stages behind normalisation: pixels in, activations out, the same bits for a photo always.

    Eager PyTorch gives other last bits for other batch sizes, so it is always called with ``BATCH_SIZE``
    photos (``runtime.map_images`` pads the last batch).

    Attributes:
        stages: The frozen stages. Without any, the prefix hands the pixels through as they are.
    """

    def __init__(self, stages: StageSequence, preprocessing: Preprocessing, device: torch.device) -> None:
        self.stages = stages
        self._device = device
        self._lock = threading.Lock()
        self._module = nn.Sequential(Normalise(preprocessing).to(device), stages)

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Compute activations.

        Args:
            pixels: (B, H, W, 3) uint8.

        Returns:
            (B, ...) float32; the pixels themselves if nothing is frozen.
        """
        if not self.stages:
            return pixels
        with self._lock:  # PyTorch keeps all cores busy by itself
            activations: Tensor = self._module(torch.from_numpy(pixels).to(self._device))
            return activations.float().cpu().numpy()


def cut_for_training(
    network: nn.Module, at: str | int, preprocessing: Preprocessing, device: torch.device
) -> tuple[Prefix, nn.Module]:
    """Cut a network into what is computed once and what is trained.

    Args:
        network: On the device.
        at: The first trained stage, as in ``cut``.
        preprocessing: Holds mean and std.
        device: Where the network is.

    Returns:
        The prefix, and the suffix as one module that takes the prefix's output. Where nothing is frozen,
        that output is pixels, a quarter of the size of normalised ones, and the suffix normalises.
    """
    prefix, suffix = cut(network, at)
    trained: nn.Module = suffix
    if not len(prefix):
        trained = nn.Sequential(Normalise(preprocessing).to(device), suffix)
    return Prefix(prefix, preprocessing, device), trained
