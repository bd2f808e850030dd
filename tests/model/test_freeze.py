from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from functools import partial

import pytest
import torch
import torch.distributed as dist
from torch import nn

from headstart.model.backbones import create_native, resolve
from headstart.model.freeze import digest, freeze, hold_norm_statistics, is_frozen, unfreeze
from headstart.model.stages import stages


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten())
        self.fc = nn.Linear(4 * 6 * 6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.body(x))


IMAGES = torch.randn(8, 3, 8, 8)


def twins(network: nn.Module) -> list[nn.Module]:
    return [network, copy.deepcopy(network), pickle.loads(pickle.dumps(network))]


def test_frozen_batch_norm_statistics_stand_still_while_training() -> None:
    network = Net()
    freeze(network.body)
    for twin in twins(network):
        before = digest(twin.body)
        twin.train()
        twin.body.train()
        twin.body[1].train()
        twin(IMAGES).sum().backward()
        assert digest(twin.body) == before
        assert torch.equal(twin.body(IMAGES), twin.body(IMAGES))  # nothing is dropped
        assert twin.fc.training
        assert twin.body[0].weight.grad is None


def test_a_copy_freezes_itself_and_not_the_original() -> None:
    network = Net()
    freeze(network)
    copied = copy.deepcopy(network)
    unfreeze(network)
    network.train()
    copied.train()
    assert network.body[1].training
    assert not copied.body[1].training
    assert copied.body[1].train(True) is copied.body[1]


def test_unfreezing_undoes_freezing() -> None:
    network = Net()
    freeze(network)
    assert is_frozen(network)
    unfreeze(network)
    assert not is_frozen(network)
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not any("train" in module.__dict__ for module in network.modules())
    assert network.train().body[1].training


class NestedNet(nn.Module):
    """A class that no table knows, with containers in containers; its root asks for its own mode."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Module()
        self.encoder.body = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten()
        )
        self.classifier = nn.Sequential(nn.Dropout(0.5), nn.Linear(4 * 6 * 6, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(nn.functional.dropout(self.encoder.body(x), training=self.training))


def of_torchvision(name: str) -> nn.Module:
    with torch.device("meta"):
        return create_native(resolve(name))


@pytest.mark.parametrize(
    ("network", "from_stage", "in_training", "in_evaluation"),
    [
        (partial(of_torchvision, "resnet18"), "layer4", ["", "layer4.0.bn1", "fc"], ["bn1", "layer3.0.bn1"]),
        (partial(of_torchvision, "resnet18"), "head", ["", "fc"], ["bn1", "layer4", "layer4.0.bn1"]),
        (
            partial(of_torchvision, "vgg11_bn"),
            "block5",
            ["", "features", "features.22", "features.26", "classifier", "classifier.2", "classifier.5"],
            ["features.1", "features.18"],
        ),
        (
            partial(of_torchvision, "vgg11_bn"),
            "head",
            ["", "classifier", "classifier.5", "classifier.6"],
            ["features", "features.26", "classifier.2"],
        ),
        (NestedNet, "head", ["", "classifier", "classifier.1"], ["encoder", "encoder.body.1"]),
        (NestedNet, "all", ["", "encoder", "encoder.body", "encoder.body.2", "classifier.0"], []),
    ],
)
def test_unfreezing_stages_of_a_frozen_network_trains_them_and_what_contains_them(
    network: Callable[[], nn.Module], from_stage: str, in_training: list[str], in_evaluation: list[str]
) -> None:
    frozen = network()
    freeze(frozen)
    for twin in twins(frozen):
        unfreeze(twin, from_stage=from_stage)
        for unfrozen in twins(twin):
            unfrozen.train()
            for name in in_training:
                assert unfrozen.get_submodule(name).training, name
            for name in in_evaluation:
                assert not unfrozen.get_submodule(name).training, name
            unfrozen.eval()
            assert not any(module.training for module in unfrozen.modules())


def test_unfreezing_a_part_of_a_frozen_network_is_seen_by_the_whole() -> None:
    network = NestedNet()
    freeze(network)
    unfreeze(network.encoder.body[2])
    for twin in twins(network):
        assert twin.train() is twin
        assert [name for name, module in twin.named_modules() if module.training] == ["encoder.body.2"]
        assert not torch.equal(twin(IMAGES), twin(IMAGES))  # it drops again
        twin.eval()
        assert torch.equal(twin(IMAGES), twin(IMAGES))


@pytest.mark.parametrize("name", ["vit_b_32", "timm/vit_tiny_patch16_224"])
def test_tokens_that_the_root_holds_are_frozen_with_their_stage(name: str) -> None:
    with torch.device("meta"):
        network = create_native(resolve(name))
    tokens = [
        p for n, p in network.named_parameters() if n.rpartition(".")[2] in ("class_token", "cls_token")
    ]
    freeze(network, before="block1")
    assert not any(token.requires_grad for token in tokens)
    unfreeze(network, from_stage="block1")
    assert not any(token.requires_grad for token in tokens)
    unfreeze(network, from_stage="all")
    assert tokens
    assert all(token.requires_grad for token in tokens)


def test_stages_tell_whether_they_are_frozen() -> None:
    with torch.device("meta"):
        network = create_native(resolve("resnet18"))
    freeze(network, before=1)
    frozen = {stage.name: is_frozen(stage) for stage in stages(network)}
    assert frozen["layer3"]
    assert not frozen["layer4"]
    assert not frozen["head"]


def test_held_norms_keep_their_statistics_and_train_their_scale() -> None:
    network = Net()
    hold_norm_statistics(network)
    network.train()
    norm = network.body[1]
    before = norm.running_mean.clone()
    network(IMAGES).sum().backward()
    assert torch.equal(norm.running_mean, before)
    assert norm.weight.grad is not None
    assert network.body[2].training  # dropout is not a norm


def test_the_digest_sees_every_parameter_and_buffer() -> None:
    network = Net()
    seen = {digest(network)}
    for tensor in network.state_dict().values():
        tensor.view(-1)[0] += 1
        seen.add(digest(network))
    assert len(seen) == 1 + len(network.state_dict())


def _train_distributed(rank: int, port: int) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    dist.init_process_group("gloo", rank=rank, world_size=2)
    torch.manual_seed(0)
    network = Net()
    freeze(network.body)
    before = digest(network.body)
    parallel = nn.parallel.DistributedDataParallel(network).train()
    optimizer = torch.optim.SGD(network.fc.parameters(), lr=0.1)
    parallel(torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(rank))).sum().backward()
    optimizer.step()
    assert digest(network.body) == before
    assert not network.body[1].training
    del parallel  # which holds the group: its threads must have ended before the process does
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
def test_frozen_survives_distributed_data_parallel() -> None:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(_train_distributed, (port,), nprocs=2)  # type: ignore[no-untyped-call]
