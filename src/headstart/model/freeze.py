"""Freezes modules; no other module does.

Two terms are used throughout. A module is *held* if it stays in evaluation mode (fixed norm statistics, no
dropout) when ``.train()`` is called on it or on a module that contains it. It is *frozen* if it is held and
its parameters have no gradients.

``nn.Module`` has no setting for this, so every held module gets an instance attribute ``train`` that hides
the method of its class. It is a ``functools.partial`` of a module-level function, so that a network can be
pickled, and a deep copy holds the copied module instead of the original.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection

import torch
from torch import nn

from headstart.model.native_head import auxiliary_heads
from headstart.model.norms import has_statistics
from headstart.model.stages import cut, is_view
from headstart.model.tensors import named_tensors


def freeze(network: nn.Module, *, before: str | int | None = None) -> None:
    """Freeze a module, or the stages of a network that come before a stage.

    Args:
        network: Any module; with ``before``, a network that ``stages`` accepts.
        before: The first stage that is not frozen: a name or a number of last stages, as in ``cut``.
    """
    part = network if before is None else cut(network, before)[0]
    for parameter in part.parameters():
        parameter.requires_grad_(False)
    for module in part.modules():
        _hold(module)


def unfreeze(network: nn.Module, *, from_stage: str | int | None = None) -> None:
    """Restore the gradients and modes of a module, or of the stages of a network from one stage on.

    Stages before ``from_stage`` are not changed. Auxiliary classifiers are frozen, because they never run.
    The unfrozen modules stay in evaluation mode until the next ``.train()``.

    Args:
        network: Any module; with ``from_stage``, a network that ``stages`` accepts.
        from_stage: The first stage to unfreeze: a name or a number of last stages, as in ``cut``.
    """
    part = network if from_stage is None else cut(network, from_stage)[1]
    for parameter in part.parameters():
        if parameter.is_floating_point():
            parameter.requires_grad_(True)
    unfrozen = set(part.modules())
    for module in network.modules():
        # What contains an unfrozen module trains as well: its own forward pass may ask for its mode.
        if not unfrozen.isdisjoint(module.modules()):
            module.__dict__.pop("train", None)
    for name in auxiliary_heads(part):
        freeze(part.get_submodule(name))


def make_trainable(suffix: nn.Module, norm: str, new_norms: Collection[nn.Module] = ()) -> None:
    """Unfreeze the stages that a phase trains.

    Args:
        suffix: The stages of the phase.
        norm: ``"frozen"``: norms keep their pretrained statistics; ``"train"``: they update them from each
            batch.
        new_norms: Norms without pretrained statistics, which always update them.
    """
    unfreeze(suffix)
    if norm == "frozen":
        hold_norm_statistics(suffix, new_norms)


def num_trainable(module: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def hold_norm_statistics(network: nn.Module, new_norms: Collection[nn.Module] = ()) -> None:
    """Hold norms with running statistics until ``unfreeze``; their scale and shift remain trainable.

    These norms are not frozen, because they have gradients. Statistics of small batches are noisy, so the
    pretrained ones are better.

    Args:
        network: A module that contains the norms.
        new_norms: Norms without pretrained statistics, which are not held.
    """
    for module in network.modules():
        if has_statistics(module) and module not in new_norms:
            _hold(module)


def is_held(module: nn.Module) -> bool:
    """Return whether a module stays in evaluation mode."""
    return "train" in module.__dict__


def is_frozen(module: nn.Module) -> bool:
    """Return whether no parameter of a module has gradients, and every module with parameters is held.

    Works with native modules and with stages. Stages are created anew by each call, so they are not held
    themselves.
    """
    if any(parameter.requires_grad for parameter in module.parameters()):
        return False
    owners = (part for part in module.modules() if next(part.parameters(recurse=False), None) is not None)
    return all(is_held(part) for part in owners if not is_view(part))


def digest(module: nn.Module) -> str:
    """Return the SHA-256 of a module's parameters and buffers: names, shapes, types and bytes."""
    sha256 = hashlib.sha256()
    for name, tensor in named_tensors(module).items():
        sha256.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        sha256.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return sha256.hexdigest()


def _hold(module: nn.Module) -> None:
    module.training = False
    module.train = functools.partial(_train_children, module)  # type: ignore[method-assign]


def _train_children(module: nn.Module, mode: bool = True) -> nn.Module:
    """Replace ``train`` of a held module: set the mode of its children only."""
    for child in module.children():
        child.train(mode)
    return module
