"""Backbones of the ground floor against PyTorch's own export of the same network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scripts.make_graphs import make_graph
from torch import nn

from headstart.features.backbones import OWN_GRAPHS, find_backbone, own_graph
from headstart.model.backbones import create_native, resolve
from headstart.model.prefix import NetworkPrefix, cut_for_training
from headstart.runtime import open_session

CPU = torch.device("cpu")


def trained(full_name: str) -> nn.Module:
    """A network whose weights and statistics no other has."""
    torch.manual_seed(7)
    network = create_native(resolve(full_name))
    for buffer in network.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    return network.eval()


@pytest.fixture(scope="module", params=OWN_GRAPHS)
def full_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def network(full_name: str) -> nn.Module:
    return trained(full_name)


@pytest.fixture(scope="module")
def prefix(full_name: str, network: nn.Module) -> NetworkPrefix:
    return cut_for_training(network, "head", resolve(full_name).preprocessing, CPU)[0]


@pytest.fixture
def pth(network: nn.Module, tmp_path: Path) -> Path:
    torch.save(network.state_dict(), path := tmp_path / "weights.pth", _use_new_zipfile_serialization=False)
    return path


def test_own_graphs_are_what_the_script_makes(full_name: str) -> None:
    made, (stored, _) = make_graph(full_name), own_graph(full_name)
    assert stored.producer_name == made.producer_name
    made.producer_version = stored.producer_version
    assert made == stored


def test_a_filled_graph_is_the_function_that_pytorch_exports(
    full_name: str, prefix: NetworkPrefix, pth: Path
) -> None:
    backbone = find_backbone(full_name, pth)
    assert backbone is not None
    assert backbone.name == full_name
    assert backbone.preprocessing == resolve(full_name).preprocessing
    assert backbone.num_features == 1280
    assert backbone.function == prefix.function
    pixels = np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3), np.uint8)
    (features,) = open_session(backbone.graph).run(["activations"], {"images": pixels})
    assert np.array_equal(features, prefix(pixels))
