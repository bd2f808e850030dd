"""The optimiser of a phase: parameter groups, learning rates, and its state as tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from headstart.config import PhaseConfig
from headstart.model.stage import Stage
from headstart.training.steps.tensors import copy_strictly

_ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")

_FUSED_DEVICES = ("cpu", "cuda", "mps")


def parameter_groups(network: nn.Module, suffix: nn.Module, phase: PhaseConfig) -> list[dict[str, Any]]:
    """Group the trainable parameters by stage, and within a stage by whether weight decay applies.

    The learning rate is ``head_lr`` for the head, ``backbone_lr`` for the nearest stage before it that has
    parameters, and for each further stage ``layer_decay`` times that of the stage after it. Weight decay is
    not applied to one-dimensional parameters (biases, norms) and to those that a timm network excludes
    (position embeddings, class tokens).

    Args:
        network: The network, for the names of parameters as in its state dict.
        suffix: The trained stages of that network, with or without normalisation before them.
        phase: Settings: learning rates and weight decay.

    Returns:
        The groups, the head first, then stage by stage away from it. Each group has ``params``, ``names`` (of
        the parameters), ``name`` (``"layer4"`` or ``"layer4, biases and norms"``), ``lr`` and
        ``weight_decay``. A parameter that several stages share belongs to the stage nearest to the head.

    Source:
        Learning rates by distance: arXiv 1801.06146, as in arXiv 2111.06377.
    """
    names = {parameter: name for name, parameter in network.named_parameters()}
    undecayed: Iterable[str] = getattr(network, "no_weight_decay", tuple)()  # names or patterns
    lr = phase.head_lr if phase.backbone_lr is None else phase.backbone_lr
    groups: list[dict[str, Any]] = []
    seen: set[nn.Parameter] = set()
    for stage in reversed([module for module in suffix.modules() if isinstance(module, Stage)]):
        own = [p for p in stage.parameters() if p.requires_grad and p not in seen]
        if not own:
            continue
        seen.update(own)
        stage_lr = phase.head_lr if stage.name == "head" else lr
        if stage.name != "head":
            lr *= phase.layer_decay
        exempt = {p for p in own if p.ndim <= 1 or any(fnmatchcase(names[p], each) for each in undecayed)}
        for name, weight_decay, params in (
            (stage.name, phase.weight_decay, [p for p in own if p not in exempt]),
            (f"{stage.name}, biases and norms", 0.0, [p for p in own if p in exempt]),
        ):
            if params:
                group = {"params": params, "names": [names[p] for p in params], "name": name}
                groups.append(group | {"lr": stage_lr, "weight_decay": weight_decay})
    return groups


def build_optimizer(network: nn.Module, suffix: nn.Module, phase: PhaseConfig) -> torch.optim.Optimizer:
    """Create the optimiser of a phase for the trainable parameters of its suffix.

    Every group stores its largest learning rate as ``max_lr``, which ``set_lr`` multiplies.

    Args:
        network: See ``parameter_groups``.
        suffix: See ``parameter_groups``.
        phase: Settings, with the optimiser adam, adamw or sgd.
    """
    groups = parameter_groups(network, suffix, phase)
    for group in groups:
        group["max_lr"] = group["lr"]
    # One kernel per parameter instead of one per operation: a sixth of the time on a CPU.
    fused = all(parameter.device.type in _FUSED_DEVICES for group in groups for parameter in group["params"])
    match phase.optimizer:
        case "adam":
            return torch.optim.Adam(groups, fused=fused)
        case "adamw":
            return torch.optim.AdamW(groups, fused=fused)
        case "sgd":
            return torch.optim.SGD(groups, momentum=phase.momentum, fused=fused)
    raise ValueError(f"{phase.optimizer!r} takes no steps")


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set the learning rate of every group to its largest times a factor from ``schedule.lr_factor``."""
    for group in optimizer.param_groups:
        group["lr"] = group["max_lr"] * factor


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of the optimiser by parameter and key, such as ``layer4.0.conv1.weight/exp_avg``.

    The names depend only on the optimiser: for a parameter that has had no gradient yet, the initial zeros
    are returned. The tensors are not copies; the next step changes them.

    Args:
        optimizer: The result of ``build_optimizer``, or that wrapped by Accelerate.
    """
    tensors = _initial_state(optimizer)
    for name, parameter in _named(optimizer):
        for key, value in optimizer.state.get(parameter, {}).items():
            if value is not None:
                tensors[f"{name}/{key}"] = value
    return tensors


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restore the result of ``optimizer_tensors``, bit for bit.

    Learning rates are not included, because they are a function of the step.

    Args:
        optimizer: The result of ``build_optimizer``, or that wrapped by Accelerate.
        tensors: State of an optimiser of the same kind for the same parameters, on any device.

    Raises:
        RunFolderError: The tensors belong to another optimiser; nothing has been changed.
    """
    state = _initial_state(optimizer)
    copy_strictly(tensors, state, "optimiser's state")
    for name, parameter in _named(optimizer):
        for key in _state_keys(optimizer):
            optimizer.state[parameter][key] = state[f"{name}/{key}"]


def _initial_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    # Zeros laid out in memory as the parameter is. Adam counts its steps beside what steps, or on the CPU.
    fused = optimizer.defaults["fused"]
    return {
        f"{name}/{key}": torch.zeros((), device=parameter.device if fused else "cpu")
        if key == "step"
        else torch.zeros_like(parameter, requires_grad=False)
        for name, parameter in _named(optimizer)
        for key in _state_keys(optimizer)
    }


def _state_keys(optimizer: torch.optim.Optimizer) -> tuple[str, ...]:
    if "betas" in optimizer.defaults:
        return _ADAM_STATE
    return ("momentum_buffer",) if optimizer.defaults["momentum"] else ()


def _named(optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    for group in optimizer.param_groups:
        yield from zip(group["names"], group["params"], strict=True)
