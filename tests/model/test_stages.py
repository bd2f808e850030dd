"""One contract over every staged family, and what stages promise on networks of other hands."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from functools import partial

import pytest
import timm
import torch
from torch import nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.efficientnet import MBConvConfig
from torchvision.models.mobilenetv3 import InvertedResidualConfig
from torchvision.models.regnet import BlockParams
from torchvision.models.resnet import BasicBlock
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

from headstart.errors import UnknownBackboneError
from headstart.model import families
from headstart.model.backbones import create_native, resolve
from headstart.model.check import check_stages
from headstart.model.freeze import digest, freeze, is_frozen, unfreeze
from headstart.model.head import replace_head
from headstart.model.native_head import auxiliary_heads, head_module_name
from headstart.model.stages import cut, is_staged, stage_names, stages
from headstart.model.tensors import state_names

Build = Callable[..., nn.Module]  # by num_classes


def small_vgg(num_classes: int = 1000) -> nn.Module:
    """A VGG whose hidden layers are 8 wide; the real one has half a gigabyte."""
    with torch.device("meta"):
        network = models.vgg11_bn(num_classes=num_classes)
    for index, width in ((0, 25088), (3, 8), (6, 8)):
        network.classifier[index] = nn.Linear(width, num_classes if index == 6 else 8)
    network.to_empty(device="cpu")
    for parameter in network.parameters():
        nn.init.uniform_(parameter, -0.1, 0.1)
    return network


def small_mobilenet_v3(num_classes: int = 1000) -> nn.Module:
    rows = [
        (8, 3, 8, 8, False, "RE", 2, 1),
        (8, 3, 16, 8, True, "HS", 1, 1),
        (8, 5, 16, 16, True, "HS", 2, 1),
    ]
    return models.MobileNetV3([InvertedResidualConfig(*row, 1.0) for row in rows], 16, num_classes)


def small_efficientnet(num_classes: int = 1000) -> nn.Module:
    rows = [(1, 3, 1, 32, 16, 1), (6, 3, 2, 16, 24, 2), (6, 5, 2, 24, 32, 1)]
    return models.EfficientNet([MBConvConfig(*row, 1.0, 1.0) for row in rows], 0.2, num_classes=num_classes)


def small_resnet_v2(num_classes: int = 1000) -> nn.Module:
    sizes = {"layers": (1, 1, 1, 1), "channels": (8, 8, 16, 16), "stem_chs": 8}
    return timm.create_model("resnetv2_18", num_classes=num_classes, **sizes)


SMALL_SWIN = {
    "patch_size": [4, 4],
    "embed_dim": 8,
    "depths": [1] * 4,
    "num_heads": [2] * 4,
    "window_size": [2, 2],
}
SMALL_VIT = {
    "image_size": 32,
    "patch_size": 16,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 8,
    "mlp_dim": 8,
}
CONVNEXT_BLOCKS = [
    CNBlockConfig(8, 16, 1),
    CNBlockConfig(16, 16, 2),
    CNBlockConfig(16, 24, 1),
    CNBlockConfig(24, None, 1),
]

# (how to build it, side of the image, name of the head's layer): a small network of every class in the table.
STAGED: dict[str, tuple[Build, int, str]] = {
    "VGG": (small_vgg, 32, "classifier.6"),
    "ResNet": (partial(models.ResNet, BasicBlock, [1, 1, 1, 1]), 32, "fc"),
    "MobileNetV2": (partial(models.MobileNetV2, width_mult=0.25), 32, "classifier.1"),
    "MobileNetV3": (small_mobilenet_v3, 32, "classifier.3"),
    "EfficientNet": (small_efficientnet, 32, "classifier.1"),
    "ConvNeXt": (partial(models.ConvNeXt, CONVNEXT_BLOCKS), 32, "classifier.2"),
    "DenseNet": (partial(models.DenseNet, 4, (1, 1, 1, 1), 8), 32, "classifier"),
    "RegNet": (partial(models.RegNet, BlockParams.from_init_params(8, 24, 36, 2.5, 8)), 32, "fc"),
    "Swin": (partial(models.SwinTransformer, **SMALL_SWIN), 64, "head"),
    "SwinV2": (
        partial(
            models.SwinTransformer,
            **SMALL_SWIN,
            block=SwinTransformerBlockV2,
            downsample_layer=PatchMergingV2,
        ),
        64,
        "head",
    ),
    "ViT": (partial(models.VisionTransformer, **SMALL_VIT), 32, "heads.head"),
    "SqueezeNet": (partial(models.SqueezeNet, "1_1"), 64, "classifier.1"),
    "timm ResNet": (partial(timm.create_model, "test_resnet"), 64, "fc"),
    "timm EfficientNet": (partial(timm.create_model, "test_efficientnet"), 64, "classifier"),
    "timm EfficientNet lite": (partial(timm.create_model, "tf_efficientnet_lite0"), 32, "classifier"),
    "timm ConvNeXt": (partial(timm.create_model, "test_convnext"), 64, "head.fc"),
    "timm ViT": (partial(timm.create_model, "test_vit"), 160, "head"),
}
UNSTAGED: dict[str, tuple[Build, int, str]] = {
    "GoogLeNet": (partial(models.GoogLeNet, init_weights=False), 64, "fc"),
    "MNASNet": (partial(models.MNASNet, 0.25), 32, "classifier.1"),
    "ShuffleNet": (partial(models.ShuffleNetV2, [4, 8, 4], [24, 48, 96, 192, 1024]), 32, "fc"),
    "timm MobileNetV3": (partial(timm.create_model, "mobilenetv3_small_050"), 32, "classifier"),
    "timm DLA": (partial(timm.create_model, "dla46x_c"), 32, "fc"),  # a convolution, flattened behind
    "timm ResNetV2": (small_resnet_v2, 32, "head.fc"),  # the same in a head module
}
FAMILIES = STAGED | UNSTAGED
NUM_CLASSES = 3


def built(build: Build, **options: int) -> nn.Module:
    torch.manual_seed(0)
    network = build(**options)
    for module in network.modules():  # statistics and scales that are not the neutral ones they begin with
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.9, 1.1)
    return network.eval()


def test_there_is_a_small_network_of_every_class_in_the_table() -> None:
    tried = {f"{type(network).__module__}.{type(network).__qualname__}" for network in map(meta, STAGED)}
    assert tried == set(families.FAMILIES)


def meta(family: str) -> nn.Module:
    if family == "RegNet":  # it computes its widths with tensors, so it cannot be built without numbers
        return FAMILIES[family][0]()
    with torch.device("meta"):
        return FAMILIES[family][0]()


@pytest.mark.parametrize("family", FAMILIES)
def test_contract_of_a_family(family: str) -> None:
    build, size_px, head_name = FAMILIES[family]
    network = built(build)
    assert is_staged(network) == (family in STAGED)
    check_contract(network, build, size_px, head_name)


def check_contract(network: nn.Module, build: Build, size_px: int, head_name: str) -> None:
    images = torch.randn(2, 3, size_px, size_px)
    with_own_head = copy.deepcopy(network)

    # Composing the stages equals the native forward pass, and every parameter belongs to one stage.
    assert_composition_is_native(network, images)
    check_stages(network, size_px)
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
    build(num_classes=NUM_CLASSES).load_state_dict(network.state_dict(), strict=True)

    # A head of the user's own, of several layers, is the head and nothing else.
    old = with_own_head.get_submodule(head_name)
    layer = partial(nn.Conv2d, kernel_size=1) if isinstance(old, nn.Conv2d) else nn.Linear
    width = old.in_channels if isinstance(old, nn.Conv2d) else old.in_features
    replace_head(with_own_head, nn.Sequential(layer(width, 4), nn.ReLU(), layer(4, NUM_CLASSES)))
    freeze(with_own_head, before="head")
    expected = [f"{head_name}.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")]
    for twin in (with_own_head, copy.deepcopy(with_own_head), pickle.loads(pickle.dumps(with_own_head))):
        assert head_module_name(twin) == head_name
        assert [name for name, p in twin.named_parameters() if p.requires_grad] == expected
        prefix, suffix = cut(twin, "head")
        assert is_frozen(prefix)
        assert state_names(twin, suffix) == expected
    assert_composition_is_native(with_own_head, images)


def assert_composition_is_native(network: nn.Module, images: torch.Tensor) -> None:
    with torch.no_grad():
        x = images
        for stage in stages(network):
            x = stage(x)
        native = network(images)
    assert x.shape == (len(images), x.shape[1])
    assert torch.equal(x, native)


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size_px", "head_name"),
    [
        ("vgg11_bn", 32, "classifier.6"),
        ("resnet18", 32, "fc"),
        ("resnext50_32x4d", 32, "fc"),
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
        ("alexnet", 64, "classifier.6"),
        ("inception_v3", 96, "fc"),
        ("maxvit_t", 224, "classifier.5"),
        ("timm/efficientnet_b0", 32, "classifier"),
        ("timm/resnet18", 32, "fc"),
        ("timm/convnext_atto", 32, "head.fc"),
        ("timm/vit_tiny_patch16_224", 224, "head"),
    ],
)
def test_contract_of_a_real_network(name: str, size_px: int, head_name: str) -> None:
    build = partial(create_native, resolve(name))
    check_contract(built(build), build, size_px, head_name)


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
    # RegNet computes its widths with tensors, so it cannot be built without numbers.
    return [name for name in models.list_models(module=models) if not name.startswith("regnet")]


# One of each class and kind of block; the others differ in depth and width alone.
DIFFERENT = [
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "resnet18",
    "resnet50",
    "shufflenet_v2_x0_5",
    "squeezenet1_0",
    "swin_t",
    "swin_v2_t",
    "vgg11",
    "vgg11_bn",
    "vit_b_16",
]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name not in DIFFERENT)) for name in all_of_torchvision()],
)
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
    class Doubled(models.ResNet):
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
    with pytest.raises(UnknownBackboneError, match="it has no head"):
        stages(nn.ReLU())


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_classifiers_do_not_run_and_stay_frozen(name: str) -> None:
    network = create_native(resolve(name)).train()
    prefix, suffix = cut(network, "all")
    unfreeze(suffix)
    suffix.train()
    logits = suffix(prefix(torch.randn(2, 3, 80, 80)))
    assert logits.shape == (2, 1000)  # a tensor, not torchvision's tuple
    assert network.training
    logits.sum().backward()
    # DistributedDataParallel waits for the gradient of every parameter that asks for one.
    assert all((parameter.grad is not None) == parameter.requires_grad for parameter in suffix.parameters())
    for auxiliary in auxiliary_heads(network):
        assert is_frozen(network.get_submodule(auxiliary))
    assert sum(not parameter.requires_grad for parameter in network.parameters()) > 0


class PooledNet(nn.Module):
    """A user's own network that does something to its logits."""

    def __init__(self, after: Callable[[nn.Module, torch.Tensor], object]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 5)
        self.after = after

    def forward(self, images: torch.Tensor) -> object:
        return self.after(self, self.conv(images).mean((2, 3)))


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (lambda net, x: net.fc(x).softmax(1), r"stages \(backbone, head\) do not give its own logits"),
        (lambda net, x: net.fc(x)[:, 1:], "do not give its own logits"),
        (lambda net, x: net.fc(x) + net.fc(2 * x), "runs its head, fc, 2 times"),
        (lambda net, x: x, "runs its head, fc, 0 times"),
        (lambda net, x: net.fc(input=x), "do not run one after the other"),
        (lambda net, x: {"logits": net.fc(x)}, "gives dict for two images"),
        (lambda net, x: net.fc(x)[:, :, None], r"gives \(2, 5, 1\) for two images"),
        (lambda net, x: net.fc(x.flatten()), r"does not take images of 8 × 8 pixels.*mat1 and mat2"),
    ],
)
def test_a_network_that_is_more_than_its_stages_is_refused(
    after: Callable[[nn.Module, torch.Tensor], object], told: str
) -> None:
    with pytest.raises(UnknownBackboneError, match=f"PooledNet.*{told}"):
        check_stages(PooledNet(after), 8)


def test_checking_leaves_modes_and_random_numbers_alone() -> None:
    network = PlainNet().train()
    network.norm.eval()
    state, before = torch.get_rng_state(), digest(network)
    check_stages(network, 8)
    assert network.training
    assert network.conv.training
    assert not network.norm.training
    assert torch.equal(torch.get_rng_state(), state)
    assert digest(network) == before


@pytest.mark.parametrize("name", ["crossvit_9_240", "deit_tiny_distilled_patch16_224"])
def test_a_network_of_several_heads_is_refused(name: str) -> None:
    with torch.device("meta"):
        network = timm.create_model(name)
    with pytest.raises(UnknownBackboneError, match=r"it has no head.*headstart backbones"):
        stages(network)
