"""Mixup and CutMix: each photo of a batch mixed with another, at the input of the trained stages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headstart.config import PhaseConfig
from headstart.errors import ConfigError
from headstart.training.steps.device import to_device


@dataclass(frozen=True)
class Mixed:
    """A batch after mixing.

    Attributes:
        inputs: (B, ...), as they were; mixed pixels are float32, still in 0..255.
        other: (B,) int64, a permutation: which photo of the batch was mixed into each; None if none was.
        share: (B,) float32, in 0..1: how much of each is still itself; None if all of it is.
    """

    inputs: Tensor
    other: Tensor | None = None
    share: Tensor | None = None


def mix(inputs: Tensor, phase: PhaseConfig, seed: int) -> Mixed:
    """Mix the photos of one process's part of a batch with each other, if the phase says so.

    Where both ways are on, a coin decides in each batch. A photo alone is mixed with itself, which changes
    nothing; so a process's stand-in, which is always alone, is never in the mixture of a photo that counts.

    Args:
        inputs: What the suffix takes: pixels (B, H, W, 3) uint8 or float activations (B, C, H, W),
            (B, H, W, C), (B, N, D) or (B, D); H = W, both above 1, for CutMix. They are left as they are.
        phase: Has been through ``check_mix``.
        seed: All that the numbers depend on: ``key("mix", seed, phase, epoch, batch, process)``.

    Source:
        Mixup: arXiv 1710.09412. CutMix: arXiv 1905.04899, with the share of the box that is really in the
        image.
    """
    if not (phase.mixup or phase.cutmix):
        return Mixed(inputs)
    generator = np.random.Generator(np.random.Philox(seed))
    coin, *centre = generator.random(3).tolist()  # always, so that a setting changes no other's numbers
    other = to_device(torch.from_numpy(generator.permutation(len(inputs))), inputs.device)
    cuts = phase.cutmix > 0 and (phase.mixup == 0 or coin < 0.5)
    alpha = phase.cutmix if cuts else phase.mixup
    share = float(generator.beta(alpha, alpha))

    mixed = inputs.to(torch.float32 if inputs.dtype == torch.uint8 else inputs.dtype, copy=True)
    if cuts:
        box, share = _box(inputs.shape, centre, share)
        mixed[box] = mixed[box][other]
    else:
        mixed.lerp_(mixed[other], 1 - share)
    shares = torch.full((len(inputs),), share, dtype=torch.float32, device=inputs.device)
    return Mixed(mixed, other, shares)


def check_mix(phase: PhaseConfig, row_shape: Sequence[int]) -> None:
    """Refuse CutMix where there is nothing to cut.

    Args:
        phase: With any settings of ``mixup`` and ``cutmix``.
        row_shape: Of one photo as the trained stages take it, without the batch.

    Raises:
        ConfigError: ``cutmix`` is on, and what is trained takes no map with height and width.
    """
    if phase.cutmix > 0 and _sides((1, *row_shape)) is None:
        raise ConfigError(
            [
                f"Phase {phase.name}: cutmix is {phase.cutmix:g}, but with unfreeze = {phase.unfreeze!r} "
                f"what is trained takes features of shape {tuple(row_shape)}, which have no height and width "
                f"to cut in. Allowed is 0 there: use mixup, or unfreeze a stage before the pooling, or 'all'."
            ]
        )


def _sides(shape: Sequence[int]) -> tuple[int, int] | None:
    """Find height and width; photos are square, so they are the two equal sides next to each other."""
    if len(shape) != 4:
        return None
    for first in (2, 1):  # (B, C, H, W); (B, H, W, C): pixels, Swin
        if shape[first] == shape[first + 1] > 1:
            return first, first + 1
    return None


def _box(shape: Sequence[int], centre: Sequence[float], share: float) -> tuple[tuple[slice, ...], float]:
    """Return an index of what is replaced, and the true share of what is not.

    Args:
        shape: Of the batch.
        centre: Of the box, as fractions of height and width; parts of the box may lie outside.
        share: What the box is to leave over.
    """
    sides = _sides(shape)
    if sides is None:
        raise ValueError(f"CutMix cannot cut in {tuple(shape)}")
    index, area = [slice(None)] * len(shape), 1.0
    for side, middle in zip(sides, centre, strict=True):
        length, half = shape[side], math.sqrt(1 - share) / 2
        start = max(0, round((middle - half) * length))
        stop = min(length, round((middle + half) * length))
        index[side] = slice(start, stop)
        area *= (stop - start) / length
    return tuple(index), 1 - area
