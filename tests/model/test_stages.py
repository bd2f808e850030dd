"""One contract over every staged family, and what stages promise on networks of other hands."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from headstart.errors import UnknownBackboneError
from headstart.model.backbones import create_native, resolve
from headstart.model.freeze import digest, freeze, is_frozen
from headstart.model.head import replace_head
from headstart.model.stages import cut, head_module_name, is_staged, stage_names, stages, state_names

# (name, side of the image, name of the head's layer); the smallest of each family.
STAGED = [
    ("vgg11", 32, "classifier.6"),
    ("vgg11_bn", 32, "classifier.6"),
    ("resnet18", 32, "fc"),
    ("resnext50_32x4d", 32, "fc"),
    ("wide_resnet50_2", 32, "fc"),
    ("mobilenet_v2", 32, "classifier.1"),
    ("mobilenet_v3_small", 32, "classifier.3"),
    ("efficientnet_b0", 32, "classifier.1"),
    ("convnext_tiny", 32, "classifier.2"),
    ("densenet121", 32, "classifier"),
    ("regnet_x_400mf", 32, "fc"),
    ("regnet_y_400mf", 32, "fc"),
    ("swin_t", 64, "head"),
    ("swin_v2_t", 64, "head"),
    ("vit_b_32", 224, "heads.head"),
    ("timm/tf_efficientnet_lite0", 32, "classifier"),
    ("timm/efficientnet_b0", 32, "classifier"),
    ("timm/resnet18", 32, "fc"),
    ("timm/convnext_atto", 32, "head.fc"),
    ("timm/vit_tiny_patch16_224", 224, "head"),
]
UNSTAGED = [
    ("alexnet", 64, "classifier.6"),
    ("squeezenet1_1", 64, "classifier.1"),
    ("googlenet", 64, "fc"),
    ("inception_v3", 96, "fc"),
    ("mnasnet0_5", 32, "classifier.1"),
    ("shufflenet_v2_x0_5", 32, "fc"),
    ("maxvit_t", 224, "classifier.5"),
    ("timm/mobilenetv3_small_050", 32, "classifier"),
]
NUM_CLASSES = 3


def network_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    network = create_native(resolve(name))
    for module in network.modules():  # statistics and scales that are not the neutral ones they begin with
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.9, 1.1)
    return network.eval()


@pytest.mark.parametrize(("name", "size_px", "head_name"), STAGED + UNSTAGED, ids=lambda v: str(v))
def test_contract_of_a_family(name: str, size_px: int, head_name: str) -> None:
    network = network_of(name)
    images = torch.randn(2, 3, size_px, size_px)

    # Composing the stages equals the native forward pass, and every parameter belongs to one stage.
    assert is_staged(network) == (name in [row[0] for row in STAGED] or name == "squeezenet1_1")
    with torch.no_grad():
        x = images
        for stage in stages(network):
            x = stage(x)
        assert torch.equal(x, network(images))
    owned = [id(parameter) for stage in stages(network) for parameter in stage.parameters()]
    assert sorted(owned) == sorted(id(parameter) for parameter in network.parameters())

    # The head is replaced in its native place, and gives as many logits.
    assert head_module_name(network) == head_name
    replace_head(network, NUM_CLASSES)
    with torch.no_grad():
        assert network(images).shape == (2, NUM_CLASSES)

    # A phase changes no frozen parameter and no frozen buffer, also after deepcopy and pickle.
    at = "head" if len(stages(network)) == 2 else 1
    freeze(network, before=at)
    copied = copy.deepcopy(network)
    train_one_step(network, at, images)
    train_one_step(pickle.loads(pickle.dumps(copied)), at, images)
    assert is_frozen(cut(copied, at)[0])

    # The trained state dict is that of the plain network.
    plain = create_native(resolve(name), num_classes=NUM_CLASSES)
    plain.load_state_dict(network.state_dict(), strict=True)


def train_one_step(network: nn.Module, at: str | int, images: torch.Tensor) -> None:
    prefix, suffix = cut(network, at)
    head = network.get_submodule(head_module_name(network))
    nn.init.normal_(head.weight)  # zeros would let no gradient through
    frozen, head_weight = digest(prefix), head.weight.clone()
    for module in (network, prefix, suffix):
        module.train()
    optimizer = torch.optim.SGD(suffix.parameters(), lr=0.1)
    suffix(prefix(images)).sum().backward()
    optimizer.step()
    assert digest(prefix) == frozen
    assert all(parameter.grad is None for parameter in prefix.parameters())
    assert not torch.equal(head.weight, head_weight)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet50", ["stem", "layer1", "layer2", "layer3", "layer4", "pool", "head"]),
        ("vgg16", ["block1", "block2", "block3", "block4", "block5", "pool", "fc6", "fc7", "head"]),
        ("mobilenet_v2", ["stem", "stage1", "stage2", "stage3", "stage4", "pool", "head"]),
        ("vit_b_32", ["embed", *(f"block{i}" for i in range(1, 13)), "pool", "head"]),
        ("googlenet", ["backbone", "head"]),
    ],
)
def test_stage_names(name: str, expected: list[str]) -> None:
    with torch.device("meta"):
        assert stage_names(create_native(resolve(name))) == expected


def all_of_torchvision() -> list[str]:
    from torchvision import models

    # RegNet computes its widths with tensors, so it cannot be built without numbers.
    return [name for name in models.list_models(module=models) if not name.startswith("regnet")]


@pytest.mark.parametrize("name", all_of_torchvision())
def test_every_parameter_of_every_torchvision_network_belongs_to_one_stage(name: str) -> None:
    with torch.device("meta"):
        network = create_native(resolve(name))
    owned = [id(parameter) for stage in stages(network) for parameter in stage.parameters()]
    assert sorted(owned) == sorted(id(parameter) for parameter in network.parameters())
    held = [tensor for stage in stages(network) for tensor in state_names(network, stage)]
    assert sorted(held) == sorted(network.state_dict())


@pytest.mark.parametrize(
    ("name", "at", "first"),
    [
        ("resnet18", "layer3", "layer3"),
        ("resnet18", 0, "head"),
        ("resnet18", 1, "layer4"),
        ("resnet18", 5, "stem"),
        ("resnet18", "all", "stem"),
        ("vgg16", 1, "block5"),
        ("vgg16", 0, "head"),
        ("alexnet", 1, "backbone"),
    ],
)
def test_cut_takes_names_and_counts_backwards_from_the_pooling(name: str, at: str | int, first: str) -> None:
    with torch.device("meta"):
        network = create_native(resolve(name))
    prefix, suffix = cut(network, at)
    assert suffix.names[0] == first
    assert prefix.names + suffix.names == stage_names(network)


@pytest.mark.parametrize(
    ("at", "told"), [("layer5", "Did you mean 'layer4'"), (6, "last 6 stages"), (-1, "last -1 stages")]
)
def test_cut_names_what_is_there(at: str | int, told: str) -> None:
    with torch.device("meta"):
        network = create_native(resolve("resnet18"))
    with pytest.raises(UnknownBackboneError, match=told) as caught:
        cut(network, at)
    assert "stem, layer1" in str(caught.value)


class PlainNet(nn.Module):
    """A user's own network, of a class that no table knows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.scale = nn.Parameter(torch.full((1, 4, 1, 1), 2.0))
        self.fc = nn.Linear(4, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc((self.norm(self.conv(images)) * self.scale).mean((2, 3)))


def test_stages_work_on_a_network_of_an_unknown_class() -> None:
    network, images = PlainNet().eval(), torch.randn(2, 3, 8, 8)
    prefix, suffix = cut(network, "head")
    assert torch.equal(suffix(prefix(images)), network(images))
    freeze(network, before="head")
    assert [name for name, p in network.named_parameters() if p.requires_grad] == ["fc.weight", "fc.bias"]


def test_a_subclass_with_its_own_forward_is_not_taken_for_its_parent() -> None:
    from torchvision.models.resnet import BasicBlock, ResNet

    class Doubled(ResNet):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(2 * self.avgpool(self._features(x)).flatten(1))

        def _features(self, x: torch.Tensor) -> torch.Tensor:
            x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
            return self.layer4(self.layer3(self.layer2(self.layer1(x))))

    network, images = Doubled(BasicBlock, [1, 1, 1, 1]).eval(), torch.randn(1, 3, 32, 32)
    assert stage_names(network) == ["backbone", "head"]
    prefix, suffix = cut(network, "head")
    with torch.no_grad():
        assert torch.equal(suffix(prefix(images)), network(images))


def test_a_network_without_a_last_layer_is_refused() -> None:
    with pytest.raises(UnknownBackboneError, match="no single layer"):
        stages(nn.ReLU())


def test_auxiliary_classifiers_do_not_run_while_googlenet_is_trained() -> None:
    network = create_native(resolve("googlenet")).train()
    _, suffix = cut(network, "all")
    suffix.train()
    assert suffix(torch.randn(2, 3, 64, 64)).shape == (2, 1000)  # a tensor, not torchvision's three
    assert network.training
