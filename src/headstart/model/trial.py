"""Runs a network on generated images for a trial, and restores its state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from headstart.model.tensors import named_tensors


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Set a network to evaluation mode, without gradients, inside the block."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def disturbed(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Change parameters by about a tenth inside the block, and restore their bits after it."""
    generator = torch.Generator().manual_seed(0)
    parameters = [parameter for parameter in parameters if parameter.is_floating_point()]
    kept = [parameter.detach().clone() for parameter in parameters]
    try:
        for parameter in parameters:
            noise = torch.randn(parameter.shape, generator=generator).to(parameter)
            parameter.mul_(1 + 0.1 * noise).add_(0.01 * noise)
        yield
    finally:
        for parameter, own in zip(parameters, kept, strict=True):
            parameter.copy_(own)


@contextmanager
def restored(network: nn.Module) -> Iterator[None]:
    """Restore modes, values, gradients and random states after the block."""
    modes = [(module, module.training, module.__dict__.get("train")) for module in network.modules()]
    buffers = [(module, dict(module.named_buffers(recurse=False))) for module in network.modules()]
    parameters = [(each, each.requires_grad, each.grad) for each in network.parameters()]
    values = {id(each): (each, each.detach().clone()) for each in named_tensors(network).values()}
    for parameter, _, _ in parameters:
        parameter.grad = None
    device = next(network.parameters()).device
    try:
        with torch.random.fork_rng([] if device.type == "cpu" else None, device_type=device.type):
            yield
    finally:
        for module, mode, held in modes:
            module.training = mode
            module.__dict__.pop("train", None)
            if held is not None:
                module.__dict__["train"] = held
        for module, own in buffers:
            for name, buffer in own.items():
                setattr(module, name, buffer)
        with torch.no_grad():
            for tensor, value in values.values():
                if not same_bits(tensor, value):
                    tensor.copy_(value)
        for parameter, has_gradient, gradient in parameters:
            parameter.requires_grad_(has_gradient)
            parameter.grad = gradient


def made_up_images(network: nn.Module, count: int, size_px: int, seed: int = 0) -> Tensor:
    """Return random images (count, 3, size_px, size_px) float32, reproducible by seed, on the network's
    device.
    """
    images = torch.randn(count, 3, size_px, size_px, generator=torch.Generator().manual_seed(seed))
    return images.to(next(network.parameters()).device)


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors are equal bit for bit; NaN equals NaN."""
    first, second = (each.detach().contiguous().view(-1).view(torch.uint8) for each in (one, other))
    return torch.equal(first, second)  # NaN equals itself
