"""Names of the parameters and buffers of a module."""

from __future__ import annotations

from torch import Tensor, nn


def state_names(network: nn.Module, part: nn.Module) -> list[str]:
    """Return the names, in the state dict of the network, of the parameters and buffers of a part."""
    held = {id(tensor) for tensor in named_tensors(part).values()}
    return [name for name, tensor in named_tensors(network).items() if id(tensor) in held]


def named_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return every parameter and buffer by name: those that a state dict leaves out (non-persistent buffers)
    too, and one that has several names under each of them.
    """
    named: dict[str, Tensor] = dict(module.named_parameters(remove_duplicate=False))
    return named | dict(module.named_buffers(remove_duplicate=False))
