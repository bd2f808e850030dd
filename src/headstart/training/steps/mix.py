"""Mixup and CutMix: mixes the photos of a batch with each other, at the input of the trained stages."""

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
        inputs: (B, ...), with the shape of the original inputs; mixed pixels are float32, still in 0..255.
        other: (B,) int64, a permutation: the photo of the batch that was mixed into each; None without
            mixing.
        share: (B,) float32, in 0..1: the remaining fraction of each photo itself; None without mixing.
    """

    inputs: Tensor
    other: Tensor | None = None
    share: Tensor | None = None


def mix(inputs: Tensor, phase: PhaseConfig, seed: int) -> Mixed:
    """Mix the photos of a batch in one process with each other, if the phase uses mixup or CutMix.

    If both are used, a random choice is made for each batch. A single photo is mixed with itself, which
    changes nothing; a process's dummy photo, which is always alone, is therefore never mixed with a real
    photo.

    Args:
        inputs: Inputs of the suffix: pixels (B, H, W, 3) uint8, or float activations (B, C, H, W), (B, H, W,
            C), (B, N, D) or (B, D); H = W, both above 1, for CutMix. They are not changed.
        phase: A phase that ``check_mix`` has accepted.
        seed: Seed of all random numbers: ``key("mix", seed, phase, epoch, batch, process)``.

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
    """Refuse CutMix if the inputs have no height and width.

    Args:
        phase: A phase with any settings of ``mixup`` and ``cutmix``.
        row_shape: Shape of the suffix's input for one photo, without the batch.

    Raises:
        ConfigError: ``cutmix`` is on, and the input of the trained stages is not a map with height and width.
    """
    if phase.cutmix > 0 and sides((1, *row_shape)) is None:
        raise ConfigError(
            f"Phase {phase.name}: cutmix is {phase.cutmix:g}, but with unfreeze = {phase.unfreeze!r} "
            f"the trained stages take features of shape {tuple(row_shape)}, which have no height and width "
            f"to cut in. Allowed is 0 there: use mixup, or unfreeze a stage before the pooling, or 'all'."
        )


def sides(shape: Sequence[int]) -> tuple[int, int] | None:
    """Return the axes of height and width; photos are square, so these are two equal adjacent axes."""
    if len(shape) != 4:
        return None
    for first in (2, 1):  # (B, C, H, W); (B, H, W, C): pixels, Swin
        if shape[first] == shape[first + 1] > 1:
            return first, first + 1
    return None


def _box(shape: Sequence[int], centre: Sequence[float], share: float) -> tuple[tuple[slice, ...], float]:
    """Return an index of the replaced box, and the exact fraction of the image outside it.

    Args:
        shape: Shape of the batch.
        centre: Centre of the box, as fractions of height and width; parts of the box may lie outside.
        share: Intended fraction of the image outside the box.
    """
    axes = sides(shape)
    if axes is None:
        raise ValueError(f"CutMix cannot cut in {tuple(shape)}")
    index, area = [slice(None)] * len(shape), 1.0
    for side, middle in zip(axes, centre, strict=True):
        length, half = shape[side], math.sqrt(1 - share) / 2
        start = max(0, round((middle - half) * length))
        stop = min(length, round((middle + half) * length))
        index[side] = slice(start, stop)
        area *= (stop - start) / length
    return tuple(index), 1 - area
