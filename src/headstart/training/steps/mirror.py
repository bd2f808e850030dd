"""Mirrors the inputs of the trained stages at random: stored feature maps, without an extra pass, or pixels.

The map of a mirrored photo is nearly the mirrored map: asymmetric padding and strides shift it, and networks
whose weights depend on the position compute another one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from headstart.config import PhaseConfig
from headstart.errors import ConfigError, UnknownBackboneError
from headstart.images.settings import Preprocessing
from headstart.model.carrying import Carrying
from headstart.model.prefix import cut_for_training
from headstart.training.steps.device import to_device
from headstart.training.steps.mix import sides


@dataclass(frozen=True)
class Layout:
    """Where the map is in an input of the trained stages.

    Attributes:
        num_pooled: Number of pooled outputs in front of the map; their values are those of the mirrored map.
        shape: Shape of the map if it is flattened behind them, (C, H, W); None if the input is a map itself.
    """

    num_pooled: int = 0
    shape: tuple[int, ...] | None = None

    @classmethod
    def of(cls, suffix: nn.Module) -> Layout:
        """Return the layout of the inputs of a phase's trained stages."""
        stage = next(suffix.children(), None)
        first = next(stage.children(), None) if stage is not None else None
        if isinstance(first, Carrying) and first.shape is not None:
            return cls(first.num_pooled, first.shape)
        return cls()


def has_sides(row_shape: tuple[int, ...], layout: Layout) -> bool:
    """Return whether inputs have a height and a width.

    Args:
        row_shape: Shape of an input, without the batch.
        layout: Where the map is in it.
    """
    return sides((1, *(layout.shape or row_shape))) is not None


def mirror(inputs: Tensor, layout: Layout, seed: int) -> Tensor:
    """Return a copy of a batch in which each input is mirrored with probability 0.5.

    Args:
        inputs: (B, ...), as ``has_sides`` accepts them.
        layout: Where the map is in them.
        seed: Seed of the random choice: ``key("mirror", seed, phase, epoch, batch, process)``.
    """
    coins = np.random.Generator(np.random.Philox(seed)).random(len(inputs)) < 0.5
    rows = to_device(torch.from_numpy(np.flatnonzero(coins)), inputs.device)
    mirrored = inputs.clone()
    maps = mirrored
    if layout.shape is not None:
        maps = mirrored[:, layout.num_pooled :].view(-1, *layout.shape)
    axes = sides(maps.shape)
    assert axes is not None  # ``check_mirror`` has seen to it
    maps[rows] = maps[rows].flip(axes[1])
    return mirrored


def takes_map(network: nn.Module, preprocessing: Preprocessing, device: torch.device) -> bool:
    """Return whether the input of the last stage has a height and a width."""
    try:
        prefix, suffix = cut_for_training(network, 1, preprocessing, device)
    except UnknownBackboneError:  # there is no stage before the head
        return False
    return has_sides(prefix.row(preprocessing.size_px).shape, Layout.of(suffix))


def check_mirror(phase: PhaseConfig, row_shape: tuple[int, ...], layout: Layout) -> None:
    """Refuse ``mirror`` if the inputs of the trained stages have no height and width.

    Raises:
        ConfigError: ``mirror`` is on, and they have none.
    """
    if phase.mirror and not has_sides(row_shape, layout):
        raise ConfigError(
            f"Phase {phase.name}: mirror is on, but with unfreeze = {phase.unfreeze!r} the trained stages "
            f"take features of shape {tuple(row_shape)}, which have no height and width. Leave mirror out, "
            f"or use augment = 'light', which mirrors photos."
        )
