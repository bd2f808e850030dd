"""A network whose head reads the pooled outputs of several stages."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from headstart.model.carrying import Carrying, pooled
from headstart.model.head import logit_layers
from headstart.model.native_head import head_module_name
from headstart.model.stage import Description
from headstart.model.stages import stages
from headstart.model.trial import evaluating
from headstart.probe.blocks import Block, Reading, blocks_of


class StagesHead(nn.Module):
    """A linear layer on scaled features: pooled outputs of earlier stages, then those of the last.

    Args:
        blocks: The stages that can be read, the last one at the end.
        num_outputs: K.
        dropout: Share of the features that is left out in training, in 0..1.

    Attributes:
        blocks: As given.
        scale: (D,), factors of the features; 0 for those of stages that are not read.
        linear: From (B, D) to (B, K).
    """

    scale: Tensor

    def __init__(self, blocks: Sequence[Block], num_outputs: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.blocks = tuple(blocks)
        num_features = blocks[-1].last
        self.register_buffer("scale", torch.ones(num_features))
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(num_features, num_outputs)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor) -> Tensor:
        """Return (B, K) for features (B, D)."""
        outputs: Tensor = self.linear(self.dropout(features * self.scale))
        return outputs

    @property
    def reads(self) -> tuple[Block, ...]:
        """The blocks that are read: those whose scale is not 0, the last one always."""
        return tuple(block for block in self.blocks if bool(self.scale[block.first] != 0))

    @torch.no_grad()
    def take(self, weight: Tensor, bias: Tensor, reading: Reading) -> None:
        """Take over a solution.

        Args:
            weight: (K, D') for the features from ``reading.first`` on, as they are.
            bias: (K,).
            reading: What the head reads. The features of the last stage keep their scale, and those of
                earlier ones get theirs relative to it, so that steps treat the last stage as in a head that
                reads nothing else.
        """
        self.scale.zero_()
        self.scale[reading.first :] = 1
        if reading.scale is not None:
            scale = torch.from_numpy(reading.scale / reading.scale[-1])
            self.scale[reading.first :] = scale.to(self.scale)
        self.linear.weight.zero_()
        self.linear.weight[:, reading.first :] = weight.to(self.scale) / self.scale[reading.first :]
        self.linear.bias.copy_(bias)


class StagesNetwork(nn.Module):
    """A native network with a head that reads several of its stages: see ``with_stages_head``.

    Args:
        native: A network with a linear head. It is shared, and its own head never runs.
        shapes: What each of its stages before the head gives, without the batch.
        head: The head, which names the stages that it reads.
    """

    def __init__(self, native: nn.Module, shapes: Mapping[str, tuple[int, ...]], head: StagesHead) -> None:
        super().__init__()
        self.native = native
        self._shapes = dict(shapes)
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Return (B, K) for normalised images (B, 3, H, W)."""
        names = [block.name for block in self.head.blocks[:-1]]
        rows, activations = [], images
        for stage in stages(self.native)[:-1]:
            activations = stage(activations)
            if stage.name in names:
                rows.append(pooled(activations))
        outputs: Tensor = self.head(torch.cat([*rows, activations], 1))
        return outputs

    def headstart_stages(self) -> Description:
        """Return the stages of this network: see ``stages``."""
        names = [block.name for block in self.head.blocks[:-1]]
        description: Description = {}
        num_pooled, shape = 0, None  # of what arrives at a stage
        for stage in stages(self.native)[:-1]:
            reads = stage.name in names
            if num_pooled or reads:
                description[stage.name] = [Carrying(stage, shape if num_pooled else None, num_pooled, reads)]
            else:
                description[stage.name] = list(stage)
            shape = self._shapes[stage.name]
            num_pooled += 2 * shape[0] if reads else 0
        return description | {"head": [self.head]}

    def no_weight_decay(self) -> list[str]:
        """Return the parameters that the native network excludes from weight decay."""
        own: Any = getattr(self.native, "no_weight_decay", tuple)
        return [f"native.{name}" for name in own()]

    @torch.no_grad()
    def settled(self) -> nn.Module:
        """Return a network of the same weights that computes only what the head reads, without scales.

        Returns:
            Where the last stage alone is read, the native network with the solution in its own head; else a
            network like this one, whose head takes the features as they are.
        """
        head, reads = self.head, self.head.reads
        weight = (head.linear.weight * head.scale)[:, reads[0].first :]
        if len(reads) == 1:
            network, linear = self.native, native_linear(self.native)
        else:
            *earlier, last = [(block.name, block.last - block.first) for block in reads]
            new = StagesHead(blocks_of(earlier, last[1]), head.linear.out_features, head.dropout.p)
            network = StagesNetwork(self.native, self._shapes, new.to(weight.device).train(head.training))
            linear = new.linear
        linear.weight.copy_(weight)
        linear.bias.copy_(head.linear.bias)
        return network


def with_stages_head(
    native: nn.Module, size_px: int, reads: Collection[str] | None = None
) -> StagesNetwork | None:
    """Give a network a head that may read two stages with maps before the last one, or fewer.

    Args:
        native: A network whose head is one linear layer for the outputs of the task. It is shared.
        size_px: Side of the input.
        reads: Names of those of the two that it may read; None for both.

    Returns:
        The network; None if there are no such stages, or its head is something else.
    """
    linear = native_linear(native)
    shapes = _shapes(native, size_px)
    earlier = [each for each in _earlier(shapes) if reads is None or each[0] in reads]
    if type(linear) is not nn.Linear or linear.bias is None or not earlier:
        return None
    *_, last = stages(native)
    rates = [module.p for module in last.modules() if isinstance(module, nn.Dropout)]
    head = StagesHead(blocks_of(earlier, linear.in_features), linear.out_features, *rates[:1])
    return StagesNetwork(native, shapes, head.to(linear.weight.device)).eval()


def native_linear(native: nn.Module) -> nn.Linear:
    """Return the linear layer of a native network's head."""
    linear = native.get_submodule(head_module_name(native))
    return cast(nn.Linear, linear)


def settled(network: nn.Module) -> nn.Module:
    """Return what is exported of a trained network: see ``StagesNetwork.settled``; others as they are."""
    return network.settled() if isinstance(network, StagesNetwork) else network


def state_to_save(network: nn.Module) -> dict[str, Tensor]:
    """Return the tensors that a file of weights holds.

    Of a network whose head reads several stages, they are those of the native network without its own head,
    and ``head.weight`` and ``head.bias``; of others, the state dict.
    """
    if not isinstance(network, StagesNetwork):
        return dict(network.state_dict())
    own = logit_layers(network.native)
    native = network.native.state_dict().items()
    state = {name: each for name, each in native if name.rpartition(".")[0] not in own}
    return state | {f"head.{name}": each for name, each in network.head.linear.state_dict().items()}


def read_stages(network: nn.Module) -> tuple[str, ...]:
    """Return the names of the stages before the last that a network's head reads; none for most networks."""
    if not isinstance(network, StagesNetwork):
        return ()
    return tuple(block.name for block in network.head.reads[:-1])


def _shapes(network: nn.Module, size_px: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes, without the batch, of what each stage before the head gives."""
    shapes: dict[str, tuple[int, ...]] = {}
    activations = torch.zeros(1, 3, size_px, size_px, device=next(network.parameters()).device)
    with evaluating(network):
        for stage in stages(network)[:-1]:
            activations = stage(activations)
            shapes[stage.name] = tuple(activations.shape[1:])
    return shapes


def _earlier(shapes: dict[str, tuple[int, ...]]) -> list[tuple[str, int]]:
    """Return the two stages before the last one that gives maps, or fewer, with the widths of their rows."""
    names = list(shapes)
    before_pool = names[: names.index("pool")] if "pool" in names else []
    maps = [name for name in before_pool if len(shapes[name]) == 3 and shapes[name][1] == shapes[name][2]]
    return [(name, 2 * shapes[name][0]) for name in maps[-3:-1]]
