"""The table of stages for ``headstart inspect``."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from headstart.model.freeze import is_frozen
from headstart.model.stages import stages


@dataclass(frozen=True)
class StageSummary:
    """One row: a stage with its costs for one image.

    Attributes:
        name: Name of the stage.
        modules: Names of its native modules, shortened: ``features.0 … features.9``.
        output_shape: Without the batch dimension.
        num_params: Number of parameters.
        megabytes: Size of parameters and buffers, in 10⁶ bytes.
        multiply_adds: Multiply-adds of convolutions, linear layers and attention.
        frozen: Whether it has no gradients and stays in evaluation mode.
    """

    name: str
    modules: str
    output_shape: tuple[int, ...]
    num_params: int
    megabytes: float
    multiply_adds: int
    frozen: bool


def summarise(network: nn.Module, size_px: int) -> list[StageSummary]:
    """Return one row per stage. Only shapes are computed, so this is fast.

    Args:
        network: A network that ``stages`` accepts.
        size_px: Height and width of the input.
    """
    rows: list[StageSummary] = []
    native_names = {id(module): name for name, module in network.named_modules()}
    modules = [_span(list(_native_names(stage, native_names))) for stage in stages(network)]
    frozen = [is_frozen(stage) for stage in stages(network)]
    # A copy without numbers: freezing is read off the original, shapes and operations off the copy.
    shapes_only = copy.deepcopy(network).to("meta").eval()
    x = torch.empty(1, 3, size_px, size_px, device="meta")
    with torch.no_grad():
        for i, stage in enumerate(stages(shapes_only)):
            with FlopCounterMode(display=False) as counter:
                x = stage(x)
            tensors = stage.state_dict(keep_vars=True).values()
            rows.append(
                StageSummary(
                    name=stage.name,
                    modules=modules[i],
                    output_shape=tuple(x.shape[1:]),
                    num_params=sum(parameter.numel() for parameter in stage.parameters()),
                    megabytes=sum(t.numel() * t.element_size() for t in tensors) / 1e6,
                    multiply_adds=counter.get_total_flops() // 2,  # a multiply-add counts as two
                    frozen=frozen[i],
                )
            )
    return rows


def _native_names(part: nn.Module, names: dict[int, str]) -> Iterator[str]:
    """Return the names of the largest native modules in a part of a network, in order."""
    for child in part.children():
        if id(child) in names:
            yield names[id(child)]
        else:
            yield from _native_names(child, names)


def _span(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{names[0]} … {names[-1]}"
