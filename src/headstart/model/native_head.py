"""Finds the head and the auxiliary classifiers of a native network."""

from __future__ import annotations

from torch import nn

from headstart.errors import UnknownBackboneError
from headstart.model.stage import StageSequence

HEAD_MARK = "_headstart_head"
"""Attribute of a network with the dotted name of its head; a string survives pickle and deepcopy."""

HEAD_IS_LAST = (
    "The last linear layer or convolution that a network registers is used as its head, so register yours "
    "last."
)

ALTERNATIVES = (
    "Choose one that the command `headstart backbones` lists, or build your own on "
    "hs.feature_extractor(...): there, everything behind the base is the head, whatever it does."
)

# Class of an auxiliary classifier → its layer that gives logits.
_AUXILIARY = {
    "torchvision.models.googlenet.InceptionAux": "fc2",
    "torchvision.models.inception.InceptionAux": "fc",
}


def head_module_name(network: nn.Module) -> str:
    """Return the dotted name of the module that computes the logits, such as ``fc`` or ``classifier.6``.

    ``replace_head`` stores it in the network, because a user's own head may be any module. timm's networks
    know their head. In all others it is the last linear layer or convolution in the order of registration,
    which is correct for all of torchvision's networks (a test checks them).

    Raises:
        UnknownBackboneError: The network has no such layer, or combines several.
    """
    if base_of(network) is not None:
        raise UnknownBackboneError(
            f"{type(network).__name__} is a network on a base: its head is everything except the base. Build "
            f"another network on the base instead of replacing it."
        )
    if marked := getattr(network, HEAD_MARK, None):
        return str(marked)
    if callable(get_classifier := getattr(network, "get_classifier", None)):
        classifier = get_classifier()  # an nn.Identity where a timm network was trained without classes
        layers = [name for name, module in network.named_modules() if module is classifier]
        if isinstance(classifier, nn.ModuleList):
            layers = []
    else:
        layers = [name for name, m in network.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    if not layers:
        raise UnknownBackboneError(
            f"{type(network).__name__} cannot be cut: it has no head, or several heads with combined "
            f"logits. {ALTERNATIVES}"
        )
    return str(layers[-1])


def auxiliary_heads(network: nn.Module) -> dict[str, str]:
    """Return the auxiliary classifiers (GoogLeNet, Inception) of a network or a part of one.

    They are for training from scratch and never run here. They are kept because the native state dict
    contains them.

    Returns:
        The dotted name of each auxiliary classifier, with that of its layer that computes logits.
    """
    kinds = {name: full_name(type(module)) for name, module in network.named_modules()}
    return {name: f"{name}.{_AUXILIARY[kind]}" for name, kind in kinds.items() if kind in _AUXILIARY}


def base_of(network: nn.Module) -> StageSequence | None:
    """Return the ``feature_extractor`` that a user's own network is built on; None if there is none."""
    return next((child for child in network.children() if isinstance(child, StageSequence)), None)


def full_name(cls: type) -> str:
    """Return module and name of a class, such as ``torchvision.models.resnet.ResNet``."""
    return f"{cls.__module__}.{cls.__qualname__}"
