"""Networks of somebody's own that cannot be trained or deployed as they are, and those that can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import headstart as hs
from headstart.errors import HeadstartError, NetworkError
from headstart.model.check import check_export, check_stages, check_tensors
from headstart.model.check_training import check_training
from headstart.model.freeze import digest, freeze, is_frozen
from headstart.model.stages import cut
from headstart.model.tensors import named_tensors


class Net(nn.Module):
    """A convolution, pooling and a linear head; what is special comes between or after them."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, stride=2)
        for name, part in parts.items():
            self.add_module(name, part)
        self.fc = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu()
        if hasattr(self, "norm"):
            x = self.norm(x)
        return self.after(self.fc(self.pooled(x)))

    def pooled(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))

    def after(self, logits: Tensor) -> Tensor:
        return logits


class InAList(Net):
    def __init__(self) -> None:
        super().__init__()
        self.scales = [nn.Parameter(torch.ones(8))]

    def pooled(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) * self.scales[0]


class InADict(Net):
    def __init__(self) -> None:
        super().__init__()
        self.layers = {"first": nn.Linear(8, 8)}

    def pooled(self, x: Tensor) -> Tensor:
        return self.layers["first"](x.mean((2, 3)))


class SharedWithHead(Net):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.extra = nn.Linear(8, 2)
        self.extra.weight = self.fc.weight

    def pooled(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) + self.extra(x.mean((2, 3))).sum(1, keepdim=True)


class ScaledAfterwards(Net):
    """Its scale of one changes nothing at first, and would never be trained."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))

    def after(self, logits: Tensor) -> Tensor:
        return logits * self.scale


class TwoHeads(Net):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(8, 2)
        nn.init.zeros_(self.other.weight)
        nn.init.zeros_(self.other.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu().mean((2, 3))
        return self.other(x) + self.fc(x)


class OverTheBatch(Net):
    def pooled(self, x: Tensor) -> Tensor:
        x = x.mean((2, 3))
        return x - x.mean(0)


class Random(Net):
    def pooled(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x.mean((2, 3)), 0.5)


class WithExtraState(Net):
    def get_extra_state(self) -> dict[str, int]:
        return {"calls": 3}

    def set_extra_state(self, state: dict[str, int]) -> None:
        pass


class OneOfTwoWays(Net):
    def pooled(self, x: Tensor) -> Tensor:
        x = x.mean((2, 3))
        return x if float(x.mean()) > 0.5 else x * 3


class ByANumber(Net):
    def pooled(self, x: Tensor) -> Tensor:
        x = x.mean((2, 3))
        return x * x.max().item()


class BySize(Net):
    """What it adds is a number that is computed from how many images there are."""

    def pooled(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) + (len(x) > 2)


class WithoutOperator(Net):
    def pooled(self, x: Tensor) -> Tensor:
        return torch.linalg.svdvals(x.flatten(2))


class CountsCalls(Net):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.tensor(0))

    def pooled(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x.mean((2, 3))


class BufferOfAParameter(Net):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("prototypes", self.fc.weight.data)

    def pooled(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) * self.prototypes.mean()


class ExpandedBuffer(Net):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.tensor(0.3).expand(8))

    def pooled(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) + self.shift


class TransposedInOneMemory(Net):
    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Linear(8, 4), nn.Linear(4, 8)
        self.decode.weight = nn.Parameter(self.encode.weight.data.t())

    def pooled(self, x: Tensor) -> Tensor:
        return self.decode(self.encode(x.mean((2, 3))))


@pytest.fixture(autouse=True)
def _one_exporter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the newer exporter, which stands behind the older one, fail at once: it takes seconds to."""
    if request.node.get_closest_marker("slow"):
        return
    real = torch.onnx.export

    def export(*arguments: Any, dynamo: bool, **options: Any) -> Any:
        if dynamo:
            raise RuntimeError("not tried")
        return real(*arguments, dynamo=False, **options)

    monkeypatch.setattr(torch.onnx, "export", export)


def head_last(net: nn.Module) -> nn.Module:
    """Register the head last, as the last layer that is registered is taken for it."""
    net._modules["fc"] = net._modules.pop("fc")
    return net.eval()


def check(net: nn.Module) -> None:
    check_stages(net, 16)
    check_tensors(net)
    check_export(net, 16)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "what"),
    [
        (InAList, "scales, which PyTorch does not see"),
        (InADict, "layers, which PyTorch does not see"),
        (SharedWithHead, "is shared by the stages"),
        (ScaledAfterwards, "beside or after its head"),
        (TwoHeads, "beside or after its head"),
        (OverTheBatch, "beside other images"),
        (Random, "cut|beside other images"),
        (lambda: Net(norm=nn.BatchNorm2d(8, track_running_stats=False)), "beside other images"),
        (WithExtraState, "extra state"),
        (CountsCalls, "changes calls in evaluation mode"),
        (BufferOfAParameter, "fc.weight and prototypes are two tensors in the same memory"),
        (TransposedInOneMemory, "in the same memory"),
        (ExpandedBuffer, r"shift is expanded.*clone"),
        (OneOfTwoWays, "becomes a constant|beside other images"),
        (ByANumber, "becomes a constant|beside other images"),
        pytest.param(
            BySize, "becomes a constant|cannot run it", marks=pytest.mark.slow
        ),  # by the newer exporter alone
        (WithoutOperator, "cannot be exported to ONNX.*svd"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_what_would_go_wrong_silently_is_refused_by_name(make: Callable[[], nn.Module], what: str) -> None:
    with pytest.raises(HeadstartError, match=what):
        check(head_last(make()))


class Container(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(8))
        self.register_buffer("shift", torch.zeros(8), persistent=False)
        self.fc = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x * self.scale + self.shift)


class Tied(Net):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.second = self.first

    def pooled(self, x: Tensor) -> Tensor:
        return self.second(self.first(x.mean((2, 3))).relu())


class ParametersOfItsOwn(Net):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(8))
        self.shifts = nn.ParameterList([torch.zeros(8)])
        self.register_buffer("threshold", torch.full((8,), 0.1))

    def pooled(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) * self.scale + self.shifts[0] - self.threshold


@pytest.mark.parametrize(
    "make",
    [
        Net,
        lambda: Net(fc=Container()),
        Tied,
        ParametersOfItsOwn,
        lambda: Net(norm=nn.BatchNorm2d(8)),
        lambda: Net(norm=nn.GroupNorm(2, 8)),
    ],
    ids=["plain", "container", "tied", "own parameters", "batch norm", "group norm"],
)
def test_every_tensor_belongs_to_one_stage_and_checks_leave_everything_as_it_was(
    make: Callable[[], nn.Module],
) -> None:
    net = head_last(make()).train()
    before = digest(net)
    check(net)
    assert digest(net) == before
    assert net.training
    prefix, suffix = cut(net, "head")
    held = {id(each) for part in (prefix, suffix) for each in named_tensors(part).values()}
    assert held == {id(each) for each in named_tensors(net).values()}


class WithoutGradients(Net):
    def pooled(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return x.mean((2, 3))


class InInferenceMode(Net):
    def forward(self, x: Tensor) -> Tensor:
        with torch.inference_mode():
            x = self.conv(x)
        return self.fc(x.mean((2, 3)))


class TwoOutputsInTraining(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.base = hs.feature_extractor(Net().eval())
        self.first, self.second = nn.Linear(8, 2), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.base(x)
        return (self.first(x), self.second(x)) if self.training else self.first(x)


class Complex(Net):
    def __init__(self) -> None:
        super().__init__()
        self.phases = nn.Parameter(torch.ones(8, dtype=torch.complex64))

    def pooled(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) * torch.view_as_real(self.phases)[:, 0]


class FailsInTraining(Net):
    def pooled(self, x: Tensor) -> Tensor:
        if self.training:
            raise ValueError("no labels")
        return x.mean((2, 3))


class ReplacesABuffer(Net):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(8))

    def pooled(self, x: Tensor) -> Tensor:
        x = x.mean((2, 3))
        if self.training:
            self.centre = 0.9 * self.centre + 0.1 * x.detach().mean(0)
        return x - self.centre


class KeepsANumber(Net):
    temperature = 1.0

    def pooled(self, x: Tensor) -> Tensor:
        if self.training:
            self.temperature *= 0.9
        return x.mean((2, 3)) * self.temperature


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (WithoutGradients, r"conv.weight, conv.bias would not be trained.*no_grad"),
        (InInferenceMode, r"conv.weight, conv.bias would not be trained"),
        (TwoOutputsInTraining, "a tuple in training mode"),
        (Complex, "complex parameters, phases, "),
        (FailsInTraining, "in training mode it fails.*no labels"),
        (ReplacesABuffer, r"new tensor in the place of centre.*centre.copy_"),
        (KeepsANumber, "neither, so it would not be saved"),
    ],
)
def test_what_training_would_not_train_or_not_save_is_refused_by_name(
    make: Callable[[], nn.Module], what: str
) -> None:
    net = make()
    check_stages(net.eval(), 16)
    with pytest.raises(NetworkError, match=what):
        check_training(net, "all", 16)
    if make is not TwoOutputsInTraining:  # whose head is what is wrong
        check_training(net, "head", 16)


class Counts(Net):
    """It keeps a number that changes nothing, a layer that is not used, and statistics."""

    def __init__(self) -> None:
        super().__init__(norm=nn.BatchNorm2d(8))
        self.calls, self.fc = 0, nn.Linear(8, 2)
        self.unused = nn.Parameter(torch.ones(3))
        self.order = nn.Parameter(torch.arange(8), requires_grad=False)

    def pooled(self, x: Tensor) -> Tensor:
        self.calls += 1
        return nn.functional.dropout(x.mean((2, 3)), 0.5, self.training)[:, self.order]


def test_a_trial_of_training_leaves_everything_as_it_was() -> None:
    net = Counts().eval()
    freeze(net.conv)
    net.fc.bias.grad = torch.ones(2)
    before, random = digest(net), torch.get_rng_state()
    check_training(net, "all", 16)
    assert digest(net) == before
    assert torch.equal(torch.get_rng_state(), random)
    assert [name for name, each in net.named_parameters() if each.grad is not None] == ["fc.bias"]
    assert is_frozen(net.conv)
    assert not any(module.training for module in net.modules())


def test_dropout_in_a_networks_own_forward_pass_follows_the_mode_of_what_is_trained() -> None:
    net = Counts().eval()
    images = torch.randn(2, 3, 16, 16)
    _, suffix = cut(net, "all")
    assert torch.equal(suffix(images), suffix(images))
    suffix.train()
    assert not torch.equal(suffix(images), suffix(images))
    assert not net.training


def test_a_network_that_is_too_large_for_one_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.model.to_onnx.LIMIT_BYTES", 500)
    with pytest.raises(NetworkError, match="smaller backbone"):
        check_export(Net().eval(), 16)
