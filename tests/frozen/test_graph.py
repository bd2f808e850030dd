"""What an ONNX graph computes, told by a hash."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from headstart.frozen.graph import function_hash, function_hashes, part_of
from headstart.images.machine import processor
from headstart.inference.runtime import open_session
from headstart.model.to_onnx import to_onnx

EXAMPLE = torch.zeros(2, 3, 16, 16)


class Net(nn.Module):
    """Two parts and a head, so that what leads to the middle is a part of the whole."""

    def __init__(self, seed: int = 0, stride: int = 2, threshold: float | None = None) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.base = nn.Sequential(nn.Conv2d(3, 8, 3, stride=stride), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(8, 2)
        self.scale = 1.0
        if threshold is not None:
            self.register_buffer("threshold", torch.full((1, 8, 1, 1), threshold))

    def features(self, x: Tensor) -> Tensor:
        x = self.base(x) * self.scale
        x = x - self.threshold if hasattr(self, "threshold") else x
        return x.relu().mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class Base(nn.Module):
    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net.features(x)


class Both(nn.Module):
    def __init__(self, net: Net) -> None:
        super().__init__()
        self.another_name = net

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.another_name.features(x)
        return self.another_name.head(features), features


def of_features(net: Net) -> str:
    return function_hash(to_onnx(Base(net), EXAMPLE, output_names=["features"]), "features")


def edited(net: Net) -> Net:
    net.scale = 2.0
    return net


def with_statistics(net: Net) -> Net:
    net.base[1].running_mean += 0.5
    return net


@pytest.mark.parametrize(
    "other",
    [
        lambda: Net(seed=1),
        lambda: Net(stride=1),
        lambda: Net(threshold=0.5),
        lambda: edited(Net()),
        lambda: with_statistics(Net()),
    ],
    ids=["weights", "stride", "buffer", "number in the code", "statistics"],
)
def test_another_function_has_another_hash(other: Callable[[], Net]) -> None:
    assert of_features(other()) != of_features(Net())
    assert of_features(other()) == of_features(other())


def test_two_buffers_of_the_same_shape_have_other_hashes() -> None:
    assert of_features(Net(threshold=0.5)) != of_features(Net(threshold=0.25))


def test_names_and_further_outputs_do_not_count() -> None:
    net = Net()
    both = to_onnx(Both(net), EXAMPLE, output_names=["logits", "halfway"])
    assert function_hash(both, "halfway") == of_features(net)
    whole = function_hashes(onnx.load_from_string(to_onnx(net, EXAMPLE, output_names=["logits"])))
    assert of_features(net) in whole.values()
    assert of_features(Net(seed=1)) not in whole.values()


def test_a_part_gives_what_the_whole_gives() -> None:
    net = Net().eval()
    images = np.random.default_rng(0).normal(size=(3, 3, 16, 16)).astype(np.float32)
    model = onnx.load_from_string(to_onnx(Both(net), EXAMPLE, output_names=["logits", "halfway"]))
    logits, features = open_session(model.SerializeToString()).run(None, {"images": images})
    base = open_session(part_of(model, "images", ["halfway"]))
    assert np.array_equal(base.run(None, {"images": images})[0], features)
    head = open_session(part_of(model, "halfway", ["logits"]))
    assert [each.name for each in head.get_inputs()] == ["halfway"]
    np.testing.assert_allclose(head.run(None, {"halfway": features})[0], logits, rtol=1e-6)


def test_a_part_that_needs_more_than_its_input_is_refused() -> None:
    class Reshaped(Net):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.base(images) + images.mean()

    model = onnx.load_from_string(to_onnx(Reshaped(), EXAMPLE, output_names=["outputs"]))
    convolved = next(node.output[0] for node in model.graph.node if node.op_type == "Conv")
    with pytest.raises(ValueError, match=f"outputs need images beside {convolved}"):
        part_of(model, convolved, ["outputs"])


def test_processors_that_may_add_in_another_order_have_other_names() -> None:
    one = "processor : 0\nmodel name : Some CPU\ncpu MHz : {mhz}\nflags : fpu sse2 avx2{more}\n"
    slow, fast = (processor("x86_64", one.format(mhz=mhz, more="")) for mhz in (800, 3000))
    assert slow == fast  # the clock does not count
    assert processor("x86_64", one.format(mhz=800, more=" avx512f")) != slow
    assert processor("x86_64", one.format(mhz=800, more="").replace("Some", "Other")) != slow
    assert processor("arm64 Apple", "") == "arm64 Apple"
