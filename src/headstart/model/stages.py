"""Represents a network as an ordered list of named stages, and cuts it between two of them.

The composition of the stages equals the network's own forward pass. Stages contain the modules and parameters
of the native network itself, which is not changed. A new stage begins where the resolution is halved (in a
plain transformer: at each block); layers after the last of these (a convolution, a norm) belong to it. Then
follow ``pool``, fully connected layers before the head (VGG: ``fc6``, ``fc7``), and ``head`` with the dropout
directly before it.

Stages are found by the class of the module, so that all functions work with networks from other sources. A
class that is not in the table of ``families.py`` has two stages, ``backbone`` and ``head``
(``own_forward.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from headstart.errors import UnknownBackboneError, did_you_mean
from headstart.model.carrying import Carrying
from headstart.model.families import Glue, family_of
from headstart.model.native_head import base_of
from headstart.model.own_forward import BackboneByHook, BehindBase, on_base, two_stages
from headstart.model.stage import Description, Stage, StageSequence


def stages(network: nn.Module) -> list[Stage]:
    """Return the stages of a network in order; their composition equals ``network(images)``.

    Args:
        network: A classification network of torchvision, timm or any other source, from normalised images (B,
            3, H, W) float32 to logits (B, K).
    """
    return [Stage(name, modules) for name, modules in _describer(network)(network).items()]


def is_staged(network: nn.Module) -> bool:
    """Return whether the inner stages of a network are known, so that it has more than backbone and head."""
    return _describer(network) is not two_stages


def _describer(network: nn.Module) -> Callable[[Any], Description]:
    """Return the function that describes the stages of this network: a method of ours if it has one."""
    if own := getattr(type(network), "headstart_stages", None):
        return own  # type: ignore[no-any-return]
    return family_of(network) or (two_stages if base_of(network) is None else on_base)


def is_view(module: nn.Module) -> bool:
    """Return whether a module was created here to represent a part of a native network."""
    return isinstance(module, (Stage, StageSequence, Glue, BackboneByHook, BehindBase, Carrying))


def stage_names(network: nn.Module) -> list[str]:
    """Return the names that ``cut``, ``freeze`` and ``unfreeze`` accept for this network, in order."""
    return [stage.name for stage in stages(network)]


def cut(network: nn.Module, at: str | int) -> tuple[StageSequence, StageSequence]:
    """Cut a network into the stages before a given stage, and the rest.

    Args:
        network: Any network that ``stages`` accepts.
        at: The first stage of the second part: its name, ``"all"`` (the first part is then empty), or a
            number of stages counted backwards from ``pool``: 0 means only the head, 1 means ResNet's
            ``layer4`` and the rest.

    Returns:
        Prefix and suffix, sharing the network's parameters; ``suffix(prefix(images))`` equals
        ``network(images)``.

    Raises:
        UnknownBackboneError: The stage does not exist.
    """
    sequence = stages(network)
    index = _cut_index([stage.name for stage in sequence], at)
    return StageSequence(sequence[:index]), StageSequence(sequence[index:])


def _cut_index(names: list[str], at: str | int) -> int:
    if at == "all":
        return 0
    if isinstance(at, int):
        before_pool = names.index("pool") if "pool" in names else names.index("head")
        if not 0 <= at <= before_pool:
            raise UnknownBackboneError(
                f"Cannot unfreeze the last {at} stages: this network has {before_pool} before its pooling "
                f"({', '.join(names[:before_pool])}). Use 0 (the head alone) to {before_pool}, or 'all'."
            )
        return names.index("head") if at == 0 else before_pool - at
    if at not in names:
        raise UnknownBackboneError(
            f"Unknown stage {at!r}.{did_you_mean(at, names)} This network's stages are {', '.join(names)}; "
            f"'all' and numbers of last stages (0 is the head alone) are allowed too."
        )
    return names.index(at)
