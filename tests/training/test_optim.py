from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torchvision
from accelerate import Accelerator
from torch import Tensor, nn

from headstart.config import PhaseConfig
from headstart.errors import RunFolderError
from headstart.images.settings import Preprocessing
from headstart.model.freeze import freeze
from headstart.model.normalise import Normalise
from headstart.model.stage import Stage, StageSequence
from headstart.model.stages import cut
from headstart.training.steps.optim import (
    build_optimizer,
    load_optimizer_tensors,
    optimizer_tensors,
    parameter_groups,
    set_lr,
)

ADAM = {"optimizer": "adam", "weight_decay": 0.1}
ADAMW = {"optimizer": "adamw", "weight_decay": 0.1}
SGD = {"optimizer": "sgd", "weight_decay": 0.1}


class Network(nn.Module):
    """Three blocks, pooling and a head; not staged by Headstart, so the test says what its stages are."""

    def __init__(self) -> None:
        super().__init__()
        self.block1 = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.block2 = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
        self.block3 = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU())
        self.fc = nn.Linear(4, 2)

    def suffix(self) -> StageSequence:
        stages = {name: [module] for name, module in list(self.named_children())[:-1]}
        stages |= {"pool": [nn.AdaptiveAvgPool2d(1), nn.Flatten(1)], "head": [self.fc]}
        return StageSequence(Stage(name, modules) for name, modules in stages.items())


def lrs(groups: list[dict[str, Any]]) -> dict[str, float]:
    return {group["name"]: group["lr"] for group in groups}


def test_the_head_and_each_stage_learn_at_their_own_rate() -> None:
    network = Network()
    phase = PhaseConfig(head_lr=1.0, backbone_lr=0.5, layer_decay=0.1)
    assert lrs(parameter_groups(network, network.suffix(), phase)) == pytest.approx(
        {
            "head": 1.0,
            "head, biases and norms": 1.0,
            "block3": 0.5,
            "block3, biases and norms": 0.5,
            "block2": 0.05,
            "block2, biases and norms": 0.05,
            "block1": 0.005,
            "block1, biases and norms": 0.005,
        }
    )


def test_without_rates_of_its_own_the_backbone_learns_as_fast_as_the_head() -> None:
    network = Network()
    groups = parameter_groups(network, network.suffix(), PhaseConfig(head_lr=0.25))
    assert set(lrs(groups).values()) == {0.25}


def test_every_trainable_parameter_is_in_one_group_under_its_native_name() -> None:
    network = torchvision.models.resnet18(num_classes=3)
    prefix, suffix = cut(network, 2)
    freeze(prefix)
    network.layer4[0].conv2.weight.requires_grad_(False)
    groups = parameter_groups(network, suffix, PhaseConfig())
    found = {name: p for group in groups for name, p in zip(group["names"], group["params"], strict=True)}
    assert sum(len(group["params"]) for group in groups) == len(found)
    expected = {name: p for name, p in network.named_parameters() if p.requires_grad}
    assert found.keys() == expected.keys()
    assert all(found[name] is expected[name] for name in expected)
    assert "layer3.0.conv1.weight" in found
    assert {group["name"].partition(",")[0] for group in groups} == {"layer3", "layer4", "head"}


def test_where_nothing_is_frozen_normalisation_stands_before_the_stages() -> None:
    network = Network()
    normalise = Normalise(Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3))
    groups = parameter_groups(network, nn.Sequential(normalise, network.suffix()), PhaseConfig())
    assert [group["name"] for group in groups] == list(
        lrs(parameter_groups(network, network.suffix(), PhaseConfig()))
    )


def test_a_shared_parameter_is_in_the_group_nearest_to_the_head() -> None:
    network = Network()
    network.block1[0].bias = network.block3[0].bias
    groups = parameter_groups(network, network.suffix(), PhaseConfig())
    holding = [g["name"] for g in groups if any(p is network.block3[0].bias for p in g["params"])]
    assert holding == ["block3, biases and norms"]
    build_optimizer(network, network.suffix(), PhaseConfig())  # which refuses duplicates


def test_weight_decay_leaves_biases_norms_and_what_timm_names_alone() -> None:
    network = Network()
    network.no_weight_decay = lambda: {"block2.0.weight", "*.fc.weight"}  # type: ignore[assignment]
    groups = parameter_groups(network, network.suffix(), PhaseConfig(weight_decay=0.1))
    decayed = {name for group in groups if group["weight_decay"] for name in group["names"]}
    assert decayed == {"block1.0.weight", "block3.0.weight", "fc.weight"}
    assert all(group["weight_decay"] == 0.1 for group in groups if "norms" not in group["name"])


def test_timms_position_embeddings_are_left_alone_under_their_native_names() -> None:
    timm = pytest.importorskip("timm")
    network = timm.create_model(
        "vit_tiny_patch16_224", num_classes=2, img_size=32, depth=2, embed_dim=12, num_heads=2
    )
    groups = parameter_groups(network, cut(network, "all")[1], PhaseConfig(weight_decay=0.1))
    left_alone = {name for group in groups if not group["weight_decay"] for name in group["names"]}
    assert {"pos_embed", "cls_token", "blocks.0.norm1.weight", "head.bias"} <= left_alone
    assert not {"patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "head.weight"} & left_alone


def test_weight_decay_is_l2_for_adam_and_decoupled_for_adamw() -> None:
    moved = {}
    for optimizer in ("adam", "adamw"):
        network = Network()
        nn.init.constant_(network.fc.weight, 2.0)
        phase = PhaseConfig(optimizer=optimizer, head_lr=0.1, weight_decay=0.25)
        built = build_optimizer(network, network.suffix(), phase)
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        built.step()
        moved[optimizer] = network.fc.weight[0, 0].item()
    assert moved["adam"] == pytest.approx(2 - 0.1)  # a gradient of any size is a step of the learning rate
    assert moved["adamw"] == pytest.approx(2 * (1 - 0.1 * 0.25))


def test_the_rate_is_a_factor_of_each_groups_largest() -> None:
    network = Network()
    phase = PhaseConfig(head_lr=1.0, backbone_lr=0.5, layer_decay=0.5)
    optimizer = build_optimizer(network, network.suffix(), phase)
    for factor in (0.1, 0.7):  # from the largest each time, not from the last
        set_lr(optimizer, factor)
        of_stage = lrs(optimizer.param_groups)
        assert of_stage["head"] == pytest.approx(factor)
        assert of_stage["block2"] == pytest.approx(0.25 * factor)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_sgd_has_the_momentum_of_the_phase(momentum: float) -> None:
    network = Network()
    nn.init.zeros_(network.fc.weight)
    phase = PhaseConfig(optimizer="sgd", head_lr=0.1, momentum=momentum)
    optimizer = build_optimizer(network, network.suffix(), phase)
    for _ in range(2):
        network.fc.weight.grad = torch.ones_like(network.fc.weight)
        optimizer.step()
    assert network.fc.weight[0, 0].item() == pytest.approx(-0.1 * (2 + momentum))
    assert bool(optimizer_tensors(optimizer)) == (momentum > 0)


def steps(network: Network, optimizer: torch.optim.Optimizer, which: range) -> None:
    suffix = network.suffix().train()
    for step in which:
        generator = torch.Generator().manual_seed(step)
        images = torch.randn(4, 3, 9, 9, generator=generator)
        optimizer.zero_grad()
        suffix(images).logsumexp(1).sum().backward()
        set_lr(optimizer, 1 / (step + 1))
        optimizer.step()


def state(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, bytes]:
    tensors = {**network.state_dict(), **optimizer_tensors(optimizer)}
    return {name: tensor.detach().contiguous().numpy().tobytes() for name, tensor in tensors.items()}


@pytest.mark.parametrize("settings", [ADAM, ADAMW, SGD, {**SGD, "momentum": 0.0}], ids=str)
@pytest.mark.parametrize("saved_after", [0, 3])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_going_on_from_the_saved_state_gives_the_same_bits(
    settings: dict[str, Any], saved_after: int, memory_format: torch.memory_format
) -> None:
    torch.manual_seed(0)
    phase = PhaseConfig(head_lr=0.05, layer_decay=0.5, **settings)
    network = Network().to(memory_format=memory_format)
    optimizer = build_optimizer(network, network.suffix(), phase)
    steps(network, optimizer, range(saved_after))
    saved = {name: tensor.clone().contiguous() for name, tensor in optimizer_tensors(optimizer).items()}
    resumed = copy.deepcopy(network)
    steps(network, optimizer, range(saved_after, 6))

    other = build_optimizer(resumed, resumed.suffix(), phase)
    load_optimizer_tensors(other, saved)
    steps(resumed, other, range(saved_after, 6))
    assert state(resumed, other) == state(network, optimizer)


def test_a_loaded_state_is_the_optimisers_own_and_lies_in_memory_as_the_weights_do() -> None:
    network = Network().to(memory_format=torch.channels_last)
    optimizer = build_optimizer(network, network.suffix(), PhaseConfig(**ADAM))
    saved = {name: tensor.contiguous() for name, tensor in optimizer_tensors(optimizer).items()}
    load_optimizer_tensors(optimizer, saved)
    steps(network, optimizer, range(1))
    assert not any(tensor.any() for tensor in saved.values())
    loaded = optimizer_tensors(optimizer)["block2.0.weight/exp_avg"]
    assert loaded.stride() == network.block2[0].weight.stride() != saved["block2.0.weight/exp_avg"].stride()


def test_the_state_goes_through_accelerate() -> None:
    network = Network()
    phase = PhaseConfig(**ADAM)
    optimizer = build_optimizer(network, network.suffix(), phase)
    accelerator = Accelerator(cpu=True)
    wrapped = accelerator.prepare(optimizer)
    assert wrapped is not optimizer
    assert lrs(wrapped.param_groups) == lrs(parameter_groups(network, network.suffix(), phase))
    steps(network, wrapped, range(2))
    saved = {name: tensor.clone() for name, tensor in optimizer_tensors(wrapped).items()}
    assert saved["block1.0.weight/exp_avg"].any()
    assert saved["fc.bias/step"] == 2

    other = accelerator.prepare(build_optimizer(network, network.suffix(), phase))
    load_optimizer_tensors(other, saved)
    loaded = optimizer_tensors(other.optimizer)
    assert all(torch.equal(loaded[name], saved[name]) for name in saved)
    accelerator.free_memory()


def test_a_parameter_without_a_gradient_has_the_state_it_begins_with() -> None:
    network = Network()
    optimizer = build_optimizer(network, network.suffix(), PhaseConfig(**ADAM))
    names = set(optimizer_tensors(optimizer))
    network.fc.bias.grad = torch.ones(2)
    optimizer.step()
    tensors = optimizer_tensors(optimizer)
    assert set(tensors) == names
    assert len(names) == 3 * len(list(network.parameters()))
    assert tensors["fc.bias/step"] == 1
    assert not tensors["fc.weight/exp_avg"].any()


def without_one(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name != "fc.weight/exp_avg"}


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (without_one, "fc.weight/exp_avg is missing"),
        (lambda t: {**t, "fc.weight/momentum_buffer": torch.zeros(2, 4)}, "fc.weight/momentum_buffer is unk"),
        (lambda t: {**t, "fc.weight/exp_avg": torch.zeros(3, 4)}, r"\(3, 4\) float32 where \(2, 4\)"),
        (lambda t: {**t, "fc.weight/step": torch.zeros((), dtype=torch.float64)}, "float64"),
        (lambda t: {}, "is missing, .* and 33 more"),
    ],
)
def test_another_optimisers_state_is_refused_and_changes_nothing(spoil: Any, told: str) -> None:
    network = Network()
    optimizer = build_optimizer(network, network.suffix(), PhaseConfig(**ADAM))
    steps(network, optimizer, range(2))
    before = state(network, optimizer)
    with pytest.raises(RunFolderError, match=told):
        load_optimizer_tensors(optimizer, spoil(dict(optimizer_tensors(optimizer))))
    assert state(network, optimizer) == before


def test_a_solver_is_no_optimiser() -> None:
    network = Network()
    with pytest.raises(ValueError, match="'exact' takes no steps"):
        build_optimizer(network, network.suffix(), PhaseConfig(optimizer="exact"))
