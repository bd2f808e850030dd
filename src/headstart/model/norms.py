"""Norm layers with running statistics: which are pretrained, and how they process a single photo."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from headstart.model.stages import cut


def has_statistics(module: nn.Module) -> bool:
    """Return whether a module has running statistics itself: batch norms, instance norms, and the like."""
    return bool(_statistics(module))


def new_norms(network: nn.Module, weights: str) -> frozenset[nn.Module]:
    """Return the norms whose statistics are not pretrained and therefore have to be learned.

    These are always the norms of the head; those of the backbone if its weights are random; and in a user's
    own network, those whose statistics still have their initial values, means of 0 and variances of 1.

    Args:
        network: A network before training; afterwards, new norms cannot be distinguished from pretrained
            ones.
        weights: Origin of the weights, as ``WeightsSource.kind``.
    """
    head = set(cut(network, "head")[1].modules())
    return frozenset(
        module
        for module in network.modules()
        if has_statistics(module)
        and (module in head or weights == "random" or (weights == "own network" and _is_fresh(module)))
    )


@contextmanager
def taking_one_photo(module: nn.Module) -> Iterator[None]:
    """Let trained norms process a single photo in the block, forward and backward.

    One photo has no batch statistics: its variance is that of its own pixels, or undefined if a map has only
    one pixel, for which PyTorch raises ``ValueError``. It is therefore normalised with the running
    statistics, as in evaluation mode. At the end of the block, these are updated from it: the mean moves
    towards the photo's mean, the variance towards its mean squared distance from the running mean.

    Args:
        module: A module that contains the norms. Norms in evaluation mode, and norms that share statistics
            between processes, are not changed.
    """
    norms = [m for m in module.modules() if m.training and has_statistics(m) and not _is_shared(m)]
    seen: list[tuple[nn.Module, Tensor]] = []
    handles = [
        norm.register_forward_pre_hook(lambda norm, inputs: seen.append((norm, inputs[0].detach())))
        for norm in norms
        if isinstance(norm, _NormBase)  # whose statistics' meaning is known
    ]
    for norm in norms:
        norm.training = False
    try:
        yield
        for norm, inputs in seen:  # now, for the backward pass needs the statistics as they were
            _learn(norm, inputs)
    finally:
        for norm in norms:
            norm.training = True
        for handle in handles:
            handle.remove()


@torch.no_grad()
def _learn(norm: nn.Module, inputs: Tensor) -> None:
    assert isinstance(norm, _NormBase)
    mean, var = norm.running_mean, norm.running_var
    assert mean is not None
    assert var is not None
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    momentum = torch.as_tensor(norm.momentum or 0.0, dtype=mean.dtype, device=mean.device)
    if norm.momentum is None:  # the average over all batches
        assert norm.num_batches_tracked is not None
        momentum = 1 / norm.num_batches_tracked.to(mean.dtype)
    values = inputs.to(mean.dtype).transpose(0, 1).flatten(1)  # (C, values)
    distances = (values - mean[:, None]).square().mean(1)
    mean.lerp_(values.mean(1), momentum)
    var.lerp_(distances, momentum)


def _statistics(module: nn.Module) -> list[Tensor]:
    return [
        buffer
        for name, buffer in module.named_buffers(recurse=False)
        if name.startswith(("running_", "moving_"))
    ]


def _is_fresh(module: nn.Module) -> bool:
    return all(bool((each == 0).all() or (each == 1).all()) for each in _statistics(module))


def _is_shared(module: nn.Module) -> bool:
    return isinstance(module, nn.SyncBatchNorm) and torch.distributed.is_initialized()
