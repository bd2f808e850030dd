"""Replaces the head of a network in its native place."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

from headstart.errors import UnknownBackboneError
from headstart.model.native_head import HEAD_MARK, auxiliary_heads, head_module_name
from headstart.model.spatial_head import OnBase, spatial_head_for
from headstart.model.stage import StageSequence
from headstart.model.stages import stages

HeadKind = Literal["linear", "spatial"]


def replace_head(network: nn.Module, head: int | nn.Module) -> nn.Module:
    """Replace the head of a network so that the state dict still fits the native network.

    Args:
        network: A network that ``stages`` accepts; changed in place.
        head: The number of classes for a new layer of the same kind (if the head consists of several layers,
            as in some networks of timm, for its last layer), or a module with the input of the old head ((B,
            D) in most networks).

    Returns:
        The same network.

    Raises:
        UnknownBackboneError: The network has no single head, or its head has no layer that computes logits.
    """
    name = head_module_name(network)
    if isinstance(head, nn.Module):
        network.set_submodule(name, head)
    else:
        if isinstance(network.get_submodule(name), nn.Identity) and hasattr(network, "reset_classifier"):
            network.reset_classifier(head)  # type: ignore[operator]  # timm's, trained without classes
        for layer in logit_layers(network):
            network.set_submodule(layer, _resized(network.get_submodule(layer), head, layer))
            if _is_rectified(network, layer):
                # Behind a ReLU, zeros would have no gradient; where all are one, classes are as likely.
                nn.init.ones_(network.get_submodule(layer).bias)  # type: ignore[arg-type]
        if hasattr(network, "num_classes"):  # what timm's and torchvision's networks say of themselves
            network.num_classes = head  # type: ignore[assignment]
    setattr(network, HEAD_MARK, name)
    return network


def put_head(
    network: nn.Module, kind: HeadKind, num_outputs: int, *, is_box: bool, size_px: int
) -> nn.Module:
    """Give a pretrained network the head that a task needs.

    Args:
        network: A network that ``stages`` accepts.
        kind: ``"linear"`` on the pooled features, in the old head's place, or ``"spatial"``, on the map
            before the pooling.
        num_outputs: Of the network; of a box, 4 and one per class.
        is_box: Whether the first four outputs are a box.
        size_px: Side of the network's input.

    Returns:
        The same network with a linear head, or a new one that shares its base.

    Raises:
        UnknownBackboneError: There is no place for such a head.
    """
    if kind == "spatial":
        base = feature_map(network)
        return OnBase(base, spatial_head_for(base, size_px, num_outputs - 4))
    replace_head(network, num_outputs)
    if is_box:
        layer = network.get_submodule(logit_layers(network)[0])
        if isinstance(layer.bias, nn.Parameter):
            with torch.no_grad():  # the middle half of the photo: GIoU has a gradient there
                layer.bias[:4] = torch.tensor([0.25, 0.25, 0.75, 0.75])
    return network


def feature_map(network: nn.Module) -> StageSequence:
    """Return the stages before the pooling.

    Raises:
        UnknownBackboneError: The inner stages of the network are not known.
    """
    sequence = stages(network)
    names = [stage.name for stage in sequence]
    if "pool" not in names:
        raise UnknownBackboneError(
            f"The inside of {type(network).__name__} is not known, so its feature map before the pooling "
            f"cannot be found. Use a staged network (headstart backbones lists them), or the pooled "
            f"features: pool=True, or head = 'linear' for boxes."
        )
    return StageSequence(sequence[: names.index("pool")])


def _is_rectified(network: nn.Module, layer: str) -> bool:
    """Return whether a layer with a bias is directly followed by a ReLU, as in SqueezeNet."""
    siblings = list(network.get_submodule(layer.rpartition(".")[0]).children())
    module = network.get_submodule(layer)
    behind = siblings[siblings.index(module) + 1 :][:1]
    return bool(behind) and isinstance(behind[0], nn.ReLU) and isinstance(module.bias, nn.Parameter)


def logit_layers(network: nn.Module) -> list[str]:
    """Return the dotted names of the layers with one output per class.

    These are the head itself, or the last layer in it (RepViT averages two). Auxiliary classifiers never run,
    but are included, because the native network with this number of classes has them.
    """
    head_name = head_module_name(network)
    num_logits = {
        f"{head_name}.{name}".rstrip("."): module.weight.shape[0]
        for name, module in network.get_submodule(head_name).named_modules()
        if isinstance(module, (nn.Linear, nn.Conv2d))
    } or {head_name: 0}
    *_, last = num_logits.values()
    layers = [name for name, count in num_logits.items() if count == last]
    return [*layers, *auxiliary_heads(network).values()]


def _resized(old: Any, num_classes: int, name: str) -> nn.Module:
    """Return a layer like the old one for another number of classes, initialised with zeros.

    With zeros, as in BiT (arXiv 1912.11370), all classes are equally likely at first, the first gradient
    changes only the head, and no random numbers are needed.
    """
    if not isinstance(old, (nn.Linear, nn.Conv2d)):
        raise UnknownBackboneError(
            f"The head, {name}, is a {type(old).__name__} without a linear layer or a convolution that could "
            f"be replaced for {num_classes} classes. Give a module: replace_head(network, module)."
        )
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
