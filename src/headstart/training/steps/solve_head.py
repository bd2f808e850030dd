"""Finds out whether a phase's head can be solved, and loads the solution into the network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from headstart import tasks
from headstart.config import PhaseConfig, TrainConfig
from headstart.data.targets import Targets
from headstart.errors import ConfigError, UnknownBackboneError
from headstart.model.own_forward import holds_own_forward
from headstart.model.stages import cut
from headstart.model.stages_head import StagesHead
from headstart.probe.blocks import Block
from headstart.probe.photos import OutOfFold, SolvedPhotos, solve_photos
from headstart.recipe import can_be_solved, has_rows_in_file
from headstart.records import Record
from headstart.training.steps.features import PhaseFeatures


def linear_head(suffix: nn.Module) -> nn.Linear | None:
    """Return the suffix's linear layer if the suffix consists only of it and dropout, else None."""
    if any(holds_own_forward(module) for module in suffix.modules()):
        return None  # which may do more than its layers say
    if head := stages_head(suffix):
        return head.linear
    layers = [m for m in suffix.modules() if not list(m.children()) and not isinstance(m, nn.Dropout)]
    return layers[0] if len(layers) == 1 and _is_plain_linear(layers[0]) else None


def stages_head(suffix: nn.Module) -> StagesHead | None:
    """Return the suffix's head that reads several stages if the suffix consists only of it, else None."""
    heads = [module for module in suffix.modules() if isinstance(module, StagesHead)]
    own = set(heads[0].modules()) if heads else set()
    is_alone = all(list(module.children()) or module in own for module in suffix.modules())
    return heads[0] if heads and is_alone else None


def _is_plain_linear(layer: nn.Module) -> TypeGuard[nn.Linear]:
    """Return whether a layer computes only what its weight and bias define.

    Subclasses may normalise, and hooks may scale; PyTorch's older weight_norm computes the weight in a hook.
    """
    if not isinstance(layer, nn.Linear) or layer._forward_hooks or layer._forward_pre_hooks:
        return False
    if type(layer) is nn.Linear:
        return "forward" not in vars(layer)
    # Other weights than its own, for those of a new head are zeros, which hide what is done with them.
    generator = torch.Generator().manual_seed(0)
    given = {
        name: torch.randn(each.shape, generator=generator).to(each)
        for name, each in layer.named_parameters()
        if name in ("weight", "bias")
    }
    inputs = torch.randn(2, layer.in_features, generator=generator).to(layer.weight)
    with torch.no_grad():
        expected = F.linear(inputs, given["weight"], given.get("bias"))
        try:
            return torch.allclose(functional_call(layer, given, (inputs,)), expected, rtol=1e-3, atol=1e-4)
        except Exception:  # whatever a layer of somebody's own raises
            return False


def head_inputs(network: nn.Module) -> int | None:
    """Return the number of inputs of the network's head if it can be solved, else None."""
    layer = linear_head(cut(network, "head")[1])
    return layer.in_features if layer else None


def refuse_impossible_phases(network: nn.Module, phases: Iterable[PhaseConfig], source: str = "") -> None:
    """Check that the stage of each phase exists, and that heads with the exact optimiser can be solved.

    Args:
        network: With its new head.
        phases: Phases of the run.
        source: Recipe file of the phases, if any.

    Raises:
        UnknownBackboneError: A stage does not exist.
        ConfigError: The exact optimiser is used for more than one linear layer.
    """
    for phase in phases:
        where = f"{source}: phase {phase.name!r}" if source else f"Phase {phase.name!r}"
        try:
            _, suffix = cut(network, phase.unfreeze)
        except UnknownBackboneError as error:
            raise UnknownBackboneError(f"{where} (unfreeze): {error}") from error
        if phase.optimizer == "exact" and linear_head(suffix) is None:
            raise ConfigError(
                f"{where} has optimizer = 'exact', which solves one linear layer, and unfreezes "
                f"{', '.join(suffix.names)}. "
                + (
                    "This network's head is not one plain nn.Linear: use adam, adamw or sgd."
                    if suffix.names == ["head"]
                    else "Set unfreeze = 'head', or use adam, adamw or sgd."
                )
            )


def fit_head(
    suffix: nn.Module,
    features: PhaseFeatures,
    photos: Sequence[Record],
    targets: Targets,
    config: TrainConfig,
    say: Callable[[str], object] = lambda _: None,
) -> SolvedPhotos:
    """Solve the linear head of a phase on all its views, and load the solution into the network.

    Args:
        suffix: A head that ``linear_head`` accepts; changed in place.
        features: Features of the phase.
        photos: The training photos.
        targets: Targets of the photos.
        config: Says what the head may read, and by which score its logits are adjusted: not if later phases
            train them.
        say: See ``solve_photos``.

    Returns:
        The head, what it reads, and its out-of-fold outputs: see ``probe.photos.solve_photos``.

    Raises:
        TrainingError: There is not enough memory, or the features are too large for any solution.
        DataError: The features of some photos are not finite.
    """
    layer, several = linear_head(suffix), stages_head(suffix)
    assert layer is not None  # the configuration has been checked
    solved = solve_photos(
        photos,
        features.views,
        features.rows,
        _blocks(suffix, layer),
        targets,
        min_blocks=_least_blocks(config),
        select=config.select if all(phase.optimizer == "exact" for phase in config.phases) else "",
        say=say,
    )
    head, bias = solved.head, torch.from_numpy(solved.head.bias)
    with torch.no_grad():
        if several is not None:
            several.take(torch.from_numpy(head.weight), bias, solved.reading)
        else:
            layer.weight.copy_(torch.from_numpy(head.weight))
            if layer.bias is not None:
                layer.bias.copy_(bias)
    return solved


def _least_blocks(config: TrainConfig) -> int:
    return 2 if config.head == "stages" else 1


def _blocks(suffix: nn.Module, layer: nn.Linear) -> Sequence[Block]:
    several = stages_head(suffix)
    return several.blocks if several is not None else [Block("last", 0, layer.in_features)]


def answers_out_of_fold(
    suffix: nn.Module,
    features: PhaseFeatures,
    photos: Sequence[Record],
    targets: Targets,
    config: TrainConfig,
) -> OutOfFold | None:
    """Solve a head only for its out-of-fold outputs, if a phase trains it in steps on frozen features.

    Args:
        suffix: Suffix of the phase; not changed.
        features: Features of the phase.
        photos: The training photos.
        targets: Targets of the photos.
        config: Says what the head may read.

    Returns:
        As in ``fit_head``; None if the phase trains more than a linear head, uses augmentation, or if solving
        would take too much memory.
    """
    layer = linear_head(suffix)
    if layer is None or tasks.of(targets.task).solver is None or features.augmentation is not None:
        return None
    shape = len(photos), layer.in_features, layer.out_features
    if not can_be_solved(*shape) or has_rows_in_file(*shape):  # which would take longer than the steps
        return None
    blocks, least = _blocks(suffix, layer), _least_blocks(config)
    return solve_photos(photos, features.views, features.rows, blocks, targets, min_blocks=least).out_of_fold
