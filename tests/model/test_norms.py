from __future__ import annotations

from collections.abc import Callable

import pytest
import timm.layers
import torch
from torch import nn

import headstart as hs
from headstart.model.backbones import create_native, resolve
from headstart.model.freeze import make_trainable
from headstart.model.norms import has_statistics, new_norms, taking_one_photo

KINDS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "1d": (lambda: nn.BatchNorm1d(4), (4,)),
    "2d": (lambda: nn.BatchNorm2d(4), (4, 5, 5)),
    "3d": (lambda: nn.BatchNorm3d(4), (4, 3, 3, 3)),
    "synchronised": (lambda: nn.SyncBatchNorm(4), (4, 5, 5)),
    "instance": (lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True), (4, 5, 5)),
    "timm": (lambda: timm.layers.BatchNormAct2d(4), (4, 5, 5)),
    "variance alone": (lambda: timm.layers.EvoNorm2dB0(4), (4, 5, 5)),
}


def statistics(norm: nn.Module) -> list[torch.Tensor]:
    return [buffer.clone() for name, buffer in norm.named_buffers() if name.startswith("running_")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("norm", "is_new", "learns"),
    [("frozen", False, False), ("frozen", True, True), ("train", False, True)],
)
def test_norms_with_pretrained_statistics_alone_are_held_still(
    kind: str, norm: str, is_new: bool, learns: bool
) -> None:
    make, shape = KINDS[kind]
    layer = make()
    suffix = nn.Sequential(layer, nn.Flatten())
    make_trainable(suffix, norm, {layer} if is_new else ())
    before = statistics(layer)
    assert before
    suffix.train()
    suffix(3 + 2 * torch.randn(8, *shape)).sum().backward()
    after = statistics(layer)
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)) == learns
    assert layer.weight is None or layer.weight.grad is not None  # scales and shifts learn in any case


def test_what_has_no_statistics_is_no_such_norm() -> None:
    without = nn.BatchNorm2d(4, track_running_stats=False)
    for layer in (nn.LayerNorm(4), nn.GroupNorm(2, 4), without, nn.Linear(2, 2)):
        assert not has_statistics(layer)


class OnBase(nn.Module):
    """A head of the user's own with a norm, on a base with norms."""

    def __init__(self, fill: float | None = None) -> None:
        super().__init__()
        self.base = hs.feature_extractor("resnet18", weights="random")
        self.norm = nn.BatchNorm1d(512)
        self.fc = nn.Linear(512, 2)
        if fill is not None:
            for layer in self.modules():
                if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                    assert layer.running_mean is not None
                    layer.running_mean.fill_(fill)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.norm(self.base(x)))


def test_a_heads_norms_are_new_and_those_of_a_pretrained_base_are_not() -> None:
    network = OnBase(fill=0.5)
    assert new_norms(network, "own network") == {network.norm}


def test_norms_of_ones_own_network_that_have_seen_nothing_are_new() -> None:
    network = OnBase()
    assert new_norms(network, "own network") == {m for m in network.modules() if has_statistics(m)}


@pytest.mark.parametrize(
    ("weights", "num_new"), [("file", 0), ("package", 0), ("download", 0), ("random", 20)]
)
def test_a_backbones_norms_are_new_if_its_weights_are_random(weights: str, num_new: int) -> None:
    assert len(new_norms(create_native(resolve("resnet18")), weights)) == num_new


def test_a_norm_in_a_replaced_head_is_new() -> None:
    network = create_native(resolve("resnet18"))
    network.fc = nn.Sequential(nn.BatchNorm1d(512), nn.Linear(512, 2))
    assert new_norms(network, "file") == {network.fc[0]}


@pytest.mark.parametrize("kind", KINDS)
def test_one_photo_is_normalised_by_the_running_statistics(kind: str) -> None:
    make, shape = KINDS[kind]
    layer = make()
    layer.train()
    layer(3 + 2 * torch.randn(8, *shape))
    photo = torch.randn(1, *shape, requires_grad=True)
    expected = layer.eval()(photo)
    layer.train()
    with taking_one_photo(layer):
        outputs = layer(photo)
        outputs.square().sum().backward()
    torch.testing.assert_close(outputs, expected)
    assert photo.grad is not None
    assert torch.isfinite(photo.grad).all()
    assert layer.training


@pytest.mark.parametrize(
    ("make", "shape"), [(lambda: nn.BatchNorm1d(4), (4,)), (lambda: nn.BatchNorm2d(4), (4, 1, 1))]
)
@pytest.mark.parametrize("momentum", [0.02, None])
def test_statistics_are_learned_from_photos_one_by_one(
    make: Callable[[], nn.BatchNorm1d], shape: tuple[int, ...], momentum: float | None
) -> None:
    layer = make().train()
    layer.momentum = momentum
    generator = torch.Generator().manual_seed(0)
    for _ in range(600):
        with taking_one_photo(layer):
            layer(3 + 2 * torch.randn(1, *shape, generator=generator))
    assert layer.running_mean is not None
    assert layer.running_var is not None
    torch.testing.assert_close(layer.running_mean, torch.full((4,), 3.0), rtol=0, atol=0.7)
    torch.testing.assert_close(layer.running_var, torch.full((4,), 4.0), rtol=0, atol=1.8)
    assert layer.num_batches_tracked == 600


def test_a_pass_that_fails_teaches_nothing() -> None:
    layer = nn.BatchNorm1d(4).train()

    def fail() -> None:
        with taking_one_photo(layer):
            layer(torch.randn(1, 4))
            raise MemoryError

    with pytest.raises(MemoryError):
        fail()
    assert torch.equal(layer.running_mean, torch.zeros(4))
    assert layer.training
    assert not layer._forward_pre_hooks


def test_held_norms_learn_nothing_from_one_photo_either() -> None:
    layer = nn.BatchNorm1d(4)
    make_trainable(layer, "frozen")
    layer.train()
    with taking_one_photo(layer):
        layer(torch.randn(1, 4))
    assert torch.equal(layer.running_mean, torch.zeros(4))
