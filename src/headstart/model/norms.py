"""Normalisation layers with running statistics: which are pretrained, and what they do with one photo."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from headstart.model.stages import cut


def has_statistics(module: nn.Module) -> bool:
    """Tell whether a module itself keeps running statistics: batch norms, instance norms, and their like."""
    return bool(_statistics(module))


def new_norms(network: nn.Module, weights: str) -> frozenset[nn.Module]:
    """Find the norms whose statistics are not pretrained, and therefore have to be learned.

    Those of the head always are. Those of the backbone are if its weights are random. In a network of the
    user's own, whose weights came with it, those are new whose statistics are still what they began with,
    means of 0 and variances of 1.

    Args:
        network: Before any training: afterwards, new norms look like pretrained ones.
        weights: Where they came from, as ``WeightsSource.kind``.
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
    """Let norms that train take one photo in the block, forward and backward.

    One photo has no statistics of its own: its variance is that of its pixels, or none at all where a map is
    one pixel, and PyTorch then raises ``ValueError``. So it is normalised with the running statistics, as in
    evaluation mode, and these learn from it at the end of the block: the mean moves towards the photo's, the
    variance towards the photo's mean squared distance from the running mean.

    Args:
        module: Holds the norms. Those that are in evaluation mode, or that share their statistics between
            processes, are left as they are.
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
