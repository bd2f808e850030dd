from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import headstart as hs
from headstart.errors import UnknownBackboneError
from headstart.model.check import check_stages, check_tensors
from headstart.model.head import put_head, replace_head
from headstart.model.spatial_head import SpatialHead
from headstart.model.stages import cut, stage_names
from headstart.training.steps.solve_head import head_inputs


def test_at_first_the_answer_is_the_middle_half() -> None:
    boxes = SpatialHead(8)(torch.randn(3, 8, 5, 7))
    assert torch.allclose(boxes, torch.tensor([0.25, 0.25, 0.75, 0.75]).expand(3, 4), atol=1e-6)


@pytest.mark.parametrize("layout", ["maps", "channels last", "tokens"])
def test_it_finds_a_bright_spot_in_every_layout(layout: str) -> None:
    head = SpatialHead(1, channels_last=layout == "channels last")
    with torch.no_grad():
        head.sides.weight[:] = 50.0
        head.shift.zero_()
    features = torch.zeros(1, 1, 4, 4)
    features[0, 0, 1, 2] = 1.0  # row 1, column 2
    if layout == "channels last":
        features = features.permute(0, 2, 3, 1)
    elif layout == "tokens":
        features = torch.cat([torch.ones(1, 1, 1), features.flatten(2).transpose(1, 2)], 1)  # a class token
    assert head(features)[0].tolist() == pytest.approx([0.625, 0.375, 0.625, 0.375], abs=1e-4)


@pytest.mark.parametrize(
    ("backbone", "size_px"),
    [
        *(("timm/test_resnet", 64), ("mobilenet_v2", 64), ("timm/test_vit", 160)),
        *(pytest.param(name, 224, marks=pytest.mark.slow) for name in ("swin_t", "vgg11")),
    ],
)
def test_every_family_can_look_for_boxes(backbone: str, size_px: int) -> None:
    native = hs.create_network(backbone, weights="random")
    network = put_head(native, "spatial", 4 + 3, is_box=True, size_px=size_px)
    names = stage_names(network)
    assert names[-1] == "head"
    assert "pool" not in names
    check_tensors(network)
    prefix, suffix = cut(network, 1)
    images = torch.randn(2, 3, size_px, size_px)
    with torch.no_grad():
        whole = network.eval()(images)
        assert whole.shape == (2, 7)
        assert torch.allclose(suffix(prefix(images)), whole, atol=1e-5)


def test_making_the_head_leaves_the_norms_as_they_were() -> None:
    native = hs.create_network("timm/test_resnet", weights="random").train()
    before = {name: buffer.clone() for name, buffer in native.named_buffers()}
    put_head(native, "spatial", 4, is_box=True, size_px=64)
    assert all(torch.equal(buffer, before[name]) for name, buffer in native.named_buffers())


class Net(nn.Module):
    """As in the notes, without their trap: four layers, four coordinates."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_base = hs.feature_extractor("timm/test_resnet", weights="random")
        self.sides = nn.ModuleList(nn.Linear(96, 1) for _ in range(4))

    def forward(self, images: Tensor) -> Tensor:
        features = self.conv_base(images)
        return torch.cat([side(features) for side in self.sides], 1)


def test_a_network_of_ones_own_has_the_stages_of_its_base() -> None:
    net = Net().eval()
    assert stage_names(net) == ["stem", "layer1", "layer2", "layer3", "layer4", "pool", "head"]
    check_stages(net, 64)
    prefix, suffix = cut(net, "layer4")
    assert len(list(suffix.parameters())) == len(list(net.conv_base[4].parameters())) + 8
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(suffix(prefix(images)), net(images), atol=1e-6)
    with pytest.raises(UnknownBackboneError, match="network on a base"):
        replace_head(net, 3)


def test_what_looks_at_the_images_beside_its_base_is_refused() -> None:
    class Beside(Net):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) + images.mean()

    with pytest.raises(UnknownBackboneError, match="beside or after its head"):
        check_stages(Beside().eval(), 64)


def test_a_network_of_ones_own_is_in_training_mode_while_its_head_trains() -> None:
    net = Net().eval()
    _, suffix = cut(net, "head")
    suffix.train()
    assert net.training
    assert not net.conv_base[0][1].training  # the base stays frozen
    suffix.eval()
    assert not net.training


def test_what_a_network_of_ones_own_does_behind_its_base_is_not_solved() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base = hs.feature_extractor("timm/test_resnet", weights="random")
            self.fc = nn.Linear(96, 3)

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.fc(nn.functional.normalize(self.base(images)))
            return logits

    assert head_inputs(Scaled()) is None
