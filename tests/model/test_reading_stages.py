"""A network whose head reads several stages: what it computes, how it is cut, and what is exported of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn

from headstart.model.carrying import pooled
from headstart.model.check import check_stages
from headstart.model.stages import stage_names, stages
from headstart.model.stages_head import StagesNetwork, read_stages, settled, state_to_save, with_stages_head
from headstart.probe.blocks import Reading

NETWORKS: dict[str, Any] = {
    "test_resnet": lambda: timm.create_model("test_resnet", num_classes=3),
    "test_convnext": lambda: timm.create_model("test_convnext", num_classes=3),
    "resnet18": lambda: torchvision.models.resnet18(num_classes=3),
    "vgg11": lambda: torchvision.models.vgg11(num_classes=3),
}
ALL = [
    pytest.param(name, marks=pytest.mark.slow if name == "vgg11" else ())  # 500 MB of weights
    for name in NETWORKS
]
SIZE_PX = 64


def made(name: str, num_read: int = 3) -> StagesNetwork:
    """Return a network of random weights whose head reads its last ``num_read`` stages, scaled."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = with_stages_head(NETWORKS[name]().eval(), SIZE_PX)
        assert network is not None
        blocks = network.head.blocks[-num_read:]
        factors = [np.full(block.last - block.first, 0.5 + n, np.float32) for n, block in enumerate(blocks)]
        scale = np.concatenate(factors)
        names = tuple(block.name for block in blocks[:-1])
        network.head.take(
            0.01 * torch.randn(3, len(scale)), torch.randn(3), Reading(names, blocks[0].first, scale)
        )
    return network


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ALL)
def test_stages_compose_to_the_forward_pass_at_every_cut(name: str, images: torch.Tensor) -> None:
    network = made(name)
    check_stages(network, SIZE_PX)
    assert stage_names(network) == stage_names(network.native)
    parts = list(stages(network))
    with torch.inference_mode():
        expected = network(images)
        for cut in range(len(parts) + 1):
            rows = nn.Sequential(*parts[:cut])(images)
            stored = torch.from_numpy(rows.numpy().copy())
            torch.testing.assert_close(nn.Sequential(*parts[cut:])(stored), expected)


@pytest.mark.parametrize("num_read", [1, 2, 3])
@pytest.mark.parametrize("name", ALL)
def test_the_settled_network_computes_the_same_without_what_is_not_read(
    name: str, num_read: int, images: torch.Tensor
) -> None:
    network = made(name, num_read)
    assert len(read_stages(network)) == num_read - 1
    with torch.inference_mode():
        expected = network(images)
        exported = settled(network)
        torch.testing.assert_close(exported(images), expected)
    if num_read == 1:
        assert exported is network.native
        return
    assert isinstance(exported, StagesNetwork)
    assert read_stages(exported) == read_stages(network)
    assert torch.equal(exported.head.scale, torch.ones(exported.head.linear.in_features))
    state = state_to_save(exported)
    assert state["head.weight"].shape == (3, exported.head.linear.in_features)
    assert state.keys() - {"head.weight", "head.bias"} < network.native.state_dict().keys()


def test_gradients_of_pooled_outputs_of_a_dead_channel_are_finite() -> None:
    maps = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    maps[:, 1] = 0
    maps.requires_grad_()
    rows = pooled(maps)
    torch.testing.assert_close(rows[:, [3, 5]], maps.flatten(2).std(2, correction=0)[:, [0, 2]])
    rows.sum().backward()
    assert maps.grad is not None
    assert torch.isfinite(maps.grad).all()


def test_a_network_of_tokens_has_no_stages_to_read() -> None:
    assert with_stages_head(timm.create_model("test_vit", num_classes=3), 160) is None
