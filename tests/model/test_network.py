from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from headstart.errors import ConfigError, UnknownBackboneError
from headstart.model.backbones import create_native, resolve
from headstart.model.freeze import is_frozen, unfreeze
from headstart.model.head import replace_head
from headstart.model.native_head import head_module_name
from headstart.model.network import create_network, feature_extractor
from headstart.model.stages import cut
from headstart.model.summary import summarise

SMALL = "timm/test_resnet"


def test_a_created_network_has_a_new_head_on_a_frozen_base() -> None:
    network = create_network(SMALL, 4, weights="random")
    assert network.fc.weight.shape == (4, 96)
    assert [name for name, p in network.named_parameters() if p.requires_grad] == ["fc.weight", "fc.bias"]
    assert is_frozen(cut(network, "head")[0])
    unfreeze(network, from_stage="layer4")
    assert network.layer4[0].conv1.weight.requires_grad
    assert not network.layer3[0].conv1.weight.requires_grad


def test_a_new_head_starts_from_no_opinion() -> None:
    network = create_network(SMALL, 4, weights="random")
    assert torch.equal(network(torch.randn(2, 3, 32, 32)), torch.zeros(2, 4))


def test_a_head_of_the_users_own_is_put_in_the_native_place() -> None:
    head = nn.Sequential(nn.Linear(96, 8), nn.ReLU(), nn.Linear(8, 3))
    network = create_network(SMALL, head=head, weights="random")
    assert network.fc is head
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 3)


def test_a_network_that_cannot_be_cut_is_refused_before_its_head_is_replaced() -> None:
    # VOLO adds the logits of an auxiliary head; behind a new head of zeros nobody would see it.
    with pytest.raises(UnknownBackboneError, match="VOLO cannot be cut"):
        create_network("timm/volo_d1_224", 4, weights="random")


def test_num_classes_and_head_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="Both num_classes and head"):
        create_network("resnet18", 4, head=nn.Linear(512, 4), weights="random")
    with pytest.raises(ConfigError, match="num_classes is 0"):
        create_network("resnet18", 0, weights="random")


def test_networks_that_timm_ships_without_classes_get_a_head() -> None:
    with torch.device("meta"):
        network = create_native(resolve("timm/vit_small_patch14_dinov2"))
        replace_head(network, 5)
    assert network.head.weight.shape == (5, 384)
    assert network.num_classes == 5


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("repvit_m1", ["head.head.l", "head.head_dist.l"]),  # two layers whose logits are averaged
        ("caformer_s18", ["head.fc.fc2"]),  # a hidden layer, which stays pretrained
        ("levit_256d", ["head.linear"]),
        ("dla46x_c", ["fc"]),
    ],
)
def test_a_head_of_several_layers_is_made_anew_in_those_that_give_logits(
    name: str, layers: list[str]
) -> None:
    with torch.device("meta"):
        network, plain = timm.create_model(name), timm.create_model(name, num_classes=5)
        before = dict(network.named_modules())
        replace_head(network, 5)
    assert [path for path, module in network.named_modules() if module is not before[path]] == layers
    shapes = [{key: v.shape for key, v in net.state_dict().items()} for net in (network, plain)]
    assert shapes[0] == shapes[1]


def test_a_head_of_the_users_own_can_be_replaced_again() -> None:
    with torch.device("meta"):
        network = create_native(resolve("alexnet"))
        replace_head(network, nn.Sequential(nn.Linear(4096, 8), nn.ReLU(), nn.Linear(8, 3)))
        assert replace_head(network, 4).classifier[6][2].out_features == 4
        replace_head(network, nn.Tanh())
        with pytest.raises(
            UnknownBackboneError, match=r"The head, classifier\.6, is a Tanh without a linear"
        ):
            replace_head(network, 4)
        replace_head(network, nn.Linear(4096, 2))
    assert head_module_name(network) == "classifier.6"


def test_the_feature_extractor_gives_the_heads_input() -> None:
    images = torch.randn(2, 3, 64, 64)
    for name, width, map_shape in [
        (SMALL, 96, (96, 2, 2)),
        ("mobilenet_v3_small", 1024, (576, 2, 2)),
        ("densenet121", 1024, (1024, 2, 2)),
    ]:
        base = feature_extractor(name, weights="random")
        assert base(images).shape == (2, width)
        assert is_frozen(base)
        assert feature_extractor(name, pool=False, weights="random")(images).shape == (2, *map_shape)


def test_the_feature_extractor_of_vgg16_goes_through_its_first_linear_layers() -> None:
    with torch.device("meta"):
        base = feature_extractor(create_native(resolve("vgg16")))
        assert base(torch.empty(1, 3, 224, 224)).shape == (1, 4096)


def test_a_network_without_known_stages_has_no_map() -> None:
    with pytest.raises(UnknownBackboneError, match="is not known"):
        feature_extractor("alexnet", pool=False, weights="random")


def test_the_summary_agrees_with_published_numbers() -> None:
    network = create_network("resnet18", 1000, weights="random")
    rows = summarise(network, 224)
    assert [row.name for row in rows] == ["stem", "layer1", "layer2", "layer3", "layer4", "pool", "head"]
    assert rows[4].output_shape == (512, 7, 7)
    assert sum(row.num_params for row in rows) == 11_689_512  # torchvision's own figure
    assert sum(row.multiply_adds for row in rows) / 1e9 == pytest.approx(
        1.814, abs=0.001
    )  # torchvision's too
    assert [row.frozen for row in rows] == [True] * 6 + [False]
    assert rows[0].modules == "conv1, bn1, relu, maxpool"


def test_a_head_behind_a_relu_can_learn() -> None:
    net = create_network("squeezenet1_1", num_classes=3, weights="random")
    logits = net(torch.randn(4, 3, 64, 64))
    assert torch.allclose(logits, logits[:, :1].expand_as(logits))  # every class is as likely
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 0, 1, 2])).backward()
    assert net.classifier[1].weight.grad.abs().sum() > 0
