"""Networks for use in Python: with a new head on a frozen base, or only the base."""

from __future__ import annotations

from torch import nn

from headstart.errors import ConfigError
from headstart.model.backbones import resolve
from headstart.model.check import check_stages
from headstart.model.freeze import freeze
from headstart.model.head import feature_map, replace_head
from headstart.model.stage import StageSequence
from headstart.model.stages import cut
from headstart.model.weights import create_pretrained


def create_network(
    backbone: str, num_classes: int | None = None, *, head: nn.Module | None = None, weights: str = "default"
) -> nn.Module:
    """Create a pretrained network with a new head; everything before the head is frozen.

    Args:
        backbone: A torchvision name, ``timm/NAME``, or ``NAME.TAG``.
        num_classes: Number of outputs of the new head, a linear layer. Without this and ``head``, the
            pretrained head is kept.
        head: A module to use as the head instead, with the input of the old head, (B, D) in most networks.
        weights: ``"default"``, ``"random"`` or the path of a .pth or .safetensors file.

    Returns:
        The native torchvision or timm network, from normalised (B, 3, H, W) float32 to (B, num_classes).

    Raises:
        UnknownBackboneError: The network or tag does not exist, or it cannot be cut before its head.
        WeightsError: The weights are not on this machine and cannot be downloaded.
        ConfigError: Both ``num_classes`` and ``head`` are given, or ``num_classes`` is less than one.
    """
    if num_classes is not None and head is not None:
        raise ConfigError("Both num_classes and head are given; the head decides the number of outputs.")
    if num_classes is not None and num_classes < 1:
        raise ConfigError(f"num_classes is {num_classes!r}; it must be at least 1.")
    resolved = resolve(backbone)
    network, _ = create_pretrained(resolved, weights)
    check_stages(network, resolved.preprocessing.size_px)
    if num_classes is not None:
        replace_head(network, num_classes)
    elif head is not None:
        replace_head(network, head)
    freeze(network, before="head")
    return network.eval()


def feature_extractor(
    network: str | nn.Module, *, pool: bool = True, weights: str = "default"
) -> StageSequence:
    """Return a network without its head, frozen, as a convolutional base.

    Args:
        network: Name of a backbone, or a network, whose parameters are then shared (and frozen).
        pool: Whether to include the pooling, for an output (B, D). Without it, convolutional networks return
            a map (B, C, H', W') and transformers their tokens (B, N, D).
        weights: As in ``create_network``; only for a name.

    Returns:
        A module that takes normalised (B, 3, H, W) float32.

    Raises:
        UnknownBackboneError: The network does not exist, or ``pool=False`` and its inner stages are not
            known.
    """
    if isinstance(network, str):
        network, _ = create_pretrained(resolve(network), weights)
    base = cut(network, "head")[0] if pool else feature_map(network)
    freeze(base)
    return base
