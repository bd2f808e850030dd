from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from headstart.errors import RunFolderError
from headstart.training.steps.average import WeightAverage


def module() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))


def move(net: nn.Module, step: int) -> None:
    """What a step of training does: new parameters, new statistics, one batch more."""
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for tensor in net.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
            else:
                tensor.add_(1)


def bits(net: nn.Module) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in net.state_dict().items()}


def test_the_average_is_that_of_the_formula() -> None:
    net = module()
    average = WeightAverage(net, 0.8)
    expected = {name: tensor.double() for name, tensor in net.state_dict().items()}
    for step in range(60):
        move(net, step)
        average.update()
        decay = min(0.8, (1 + step) / (10 + step))
        for name, tensor in net.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * tensor.double()
    tensors = average.tensors()
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensors[name].double(), expected[name], rtol=1e-4, atol=1e-6)
        else:
            assert torch.equal(tensors[name], tensor)
    assert tensors["num_updates"] == 60


def test_a_short_phase_is_not_dominated_by_what_it_began_with() -> None:
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, 1000.0)
    average = WeightAverage(net, 0.9999)
    nn.init.constant_(net.weight, 1.0)
    for _ in range(10):
        average.update()
    assert average.tensors()["weight"].item() == pytest.approx(1, abs=0.02)  # 0.9999 alone: 999


def test_inside_the_block_the_module_has_the_averages_and_after_it_its_own_bits() -> None:
    net = module()
    average = WeightAverage(net, 0.5)
    for step in range(3):
        move(net, step)
        average.update()
    with torch.no_grad():
        net[0].weight[0, 0, 0] = torch.tensor([-0.0, torch.nan, 1e-42])
    before = bits(net)
    with average.applied():
        assert bits(net) != before
        for name, tensor in net.state_dict().items():
            assert torch.equal(tensor, average.tensors()[name])
    assert bits(net) == before


def test_the_weights_come_back_when_the_block_fails() -> None:
    net = module()
    average = WeightAverage(net, 0.5)
    move(net, 1)
    before, of_average = bits(net), average.tensors()["0.weight"].clone()

    def fail() -> None:
        with average.applied():
            move(net, 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert bits(net) == before
    assert torch.equal(average.tensors()["0.weight"], of_average)  # the module never held it


def test_gradients_and_the_optimiser_know_nothing_of_it() -> None:
    net = nn.Linear(2, 1)
    average = WeightAverage(net, 0.5)
    weight = net.weight
    output = net(torch.ones(1, 2)).sum()
    average.update()
    output.backward()
    with average.applied():
        pass
    assert net.weight is weight
    assert weight.requires_grad
    assert weight.grad is not None
    assert not any(tensor.requires_grad for tensor in average.tensors().values())


def test_the_average_follows_weights_that_were_laid_out_anew() -> None:
    net = module()
    average = WeightAverage(net, 0.5)
    net.to(memory_format=torch.channels_last)
    move(net, 1)
    for _ in range(100):
        average.update()
    torch.testing.assert_close(average.tensors()["0.weight"], net[0].weight.detach())


def test_going_on_from_what_was_saved_gives_the_same_bits() -> None:
    net = module()
    average = WeightAverage(net, 0.99)
    for step in range(4):
        move(net, step)
        average.update()
    other = copy.deepcopy(net)
    saved = {name: tensor.clone() for name, tensor in average.tensors().items()}
    resumed = WeightAverage(other, 0.99)
    resumed.load(saved)
    for step in range(4, 9):
        for each, of_each in ((net, average), (other, resumed)):
            move(each, step)
            of_each.update()
    tensors = resumed.tensors()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in average.tensors().items())
    assert tensors["num_updates"] == 9


def test_a_shared_weight_is_averaged_once_and_what_no_state_dict_holds_too() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    net.register_buffer("scale", torch.ones(1), persistent=False)
    average = WeightAverage(net, 0.5)
    assert set(average.tensors()) == {"0.weight", "0.bias", "1.bias", "scale", "num_updates"}
    nn.init.zeros_(net[0].weight)
    before = average.tensors()["0.weight"].clone()
    average.update()
    torch.testing.assert_close(average.tensors()["0.weight"], before * 0.1)
    assert average.tensors()["scale"] == 1  # a constant stays what it is, to the bit


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"weight": torch.zeros(2, 2)}, r"weight is \(2, 2\) float32 where \(1, 2\)"),
        ({"norm": torch.zeros(1)}, "norm is unknown"),
        ({"num_updates": torch.tensor(1.5)}, "num_updates is .* float32 where .* int64"),
    ],
)
def test_another_modules_averages_are_refused(change: dict[str, Tensor], told: str) -> None:
    average = WeightAverage(nn.Linear(2, 1), 0.5)
    average.update()
    before = {name: tensor.clone() for name, tensor in average.tensors().items()}
    with pytest.raises(RunFolderError, match=told):
        average.load({**average.tensors(), **change})
    assert all(torch.equal(before[name], tensor) for name, tensor in average.tensors().items())
