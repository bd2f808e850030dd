"""Replacing a network's head in its native place."""

from __future__ import annotations

from typing import Any

from torch import nn

from headstart.model.stages import head_module_name

# Auxiliary classifiers: they never run here, but a plain torchvision network of as many classes has them,
# and the state dict must load into it with strict=True.
_AUXILIARY_HEADS = {
    "torchvision.models.googlenet.GoogLeNet": ("aux1.fc2", "aux2.fc2"),
    "torchvision.models.inception.Inception3": ("AuxLogits.fc",),
}


def replace_head(network: nn.Module, head: int | nn.Module) -> nn.Module:
    """Put a new head where the old one is, so that the state dict still fits the plain native network.

    Args:
        network: A network that ``stages`` accepts; changed in place.
        head: The number of classes, for a new layer of the old one's kind, or a module that takes the old
            layer's input ((B, D) in most networks).

    Returns:
        The same network.
    """
    name = head_module_name(network)
    old = network.get_submodule(name)
    if isinstance(old, nn.Identity) and isinstance(head, int):  # timm's networks that come without classes
        network.reset_classifier(head)  # type: ignore[operator]
        old = network.get_submodule(name)
    network.set_submodule(name, _resized(old, head) if isinstance(head, int) else head)
    if isinstance(head, int):
        for auxiliary in _AUXILIARY_HEADS.get(f"{type(network).__module__}.{type(network).__qualname__}", ()):
            if network.get_submodule(auxiliary.rpartition(".")[0]) is not None:
                network.set_submodule(auxiliary, _resized(network.get_submodule(auxiliary), head))
        if hasattr(network, "num_classes"):  # what timm's and torchvision's networks say of themselves
            network.num_classes = head  # type: ignore[assignment]
    return network


def _resized(old: Any, num_classes: int) -> nn.Module:
    """A layer like the old one for another number of classes, all zeros.

    Zeros, as in BiT (arXiv 1912.11370): every class is equally likely at first, the first gradient changes
    nothing but the head, and no random generator is involved.
    """
    bias, device, dtype = old.bias is not None, old.weight.device, old.weight.dtype
    new: nn.Module
    if isinstance(old, nn.Conv2d):
        kernel_size: Any = old.kernel_size
        new = nn.Conv2d(old.in_channels, num_classes, kernel_size, bias=bias, device=device, dtype=dtype)
    else:
        new = nn.Linear(old.in_features, num_classes, bias=bias, device=device, dtype=dtype)
    for parameter in new.parameters():
        nn.init.zeros_(parameter)
    return new.train(old.training)
