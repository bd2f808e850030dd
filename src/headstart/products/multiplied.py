"""Calibrates a trained network: its last layer is multiplied by factors of its outputs."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from headstart.inference.model_file import ModelInfo
from headstart.model.head import logit_layers
from headstart.model.spatial_head import OnBase, SpatialHead
from headstart.model.stages_head import StagesNetwork
from headstart.model.trial import evaluating

_TOLERANCE: Final = 1e-3  # relative to the largest output


def multiply_outputs(network: nn.Module, info: ModelInfo, factors: np.ndarray) -> bool:
    """Multiply the outputs of a network, through the weights of its last layers.

    Args:
        network: On the CPU; changed in place, unless its outputs turn out not to be a multiple of its last
            layers' weights. A user's own network is never changed.
        info: Description of the model.
        factors: (D,) float32, greater than 0, one per output.

    Returns:
        Whether the network has been changed.
    """
    if info.head == "own":
        return False
    size, generator = info.preprocessing.size_px, torch.Generator().manual_seed(0)
    images = torch.randn(2, 3, size, size, generator=generator)
    layers = _last_layers(network)
    before = [tensor.clone() for layer in layers for tensor in layer.parameters()]
    with evaluating(network):
        expected = network(images) * torch.from_numpy(factors)
        for layer in layers:
            for tensor in layer.parameters():
                tensor.mul_(_shaped(factors, tensor))
        found = network(images)
        if float((found - expected).abs().max()) <= _TOLERANCE * max(float(expected.abs().max()), 1.0):
            return True
        unchanged = iter(before)
        for layer in layers:
            for tensor in layer.parameters():
                tensor.copy_(next(unchanged))
    return False


def _last_layers(network: nn.Module) -> list[nn.Module]:
    """Return the layers that compute the last outputs; each has one row of weights per output."""
    if isinstance(network, StagesNetwork):
        return [network.head.linear]
    if isinstance(network, OnBase) and isinstance(network.head, SpatialHead):
        return [] if network.head.classes is None else [network.head.classes]
    return [network.get_submodule(name) for name in logit_layers(network)]


def _shaped(factors: np.ndarray, tensor: Tensor) -> Tensor:
    """Return the factors of a weight's or a bias's rows, the last ones, in a shape that multiplies them."""
    rows = torch.from_numpy(factors)[-tensor.shape[0] :]
    return rows.reshape(-1, *[1] * (tensor.ndim - 1))
