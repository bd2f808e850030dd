from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from headstart.config import PhaseConfig
from headstart.errors import ConfigError
from headstart.training.steps.mix import check_mix, mix
from headstart.training.steps.sampler import shards

MIXUP = PhaseConfig(mixup=0.4)
CUTMIX = PhaseConfig(cutmix=1.0)
BOTH = PhaseConfig(mixup=0.4, cutmix=1.0)


def pixels(batch: int = 6, side: int = 16) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), np.uint8))


def activations(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def numbered(*shape: int) -> Tensor:
    """Each photo all of its own number, so that it shows where each value came from."""
    return torch.arange(shape[0]).float().reshape(-1, *[1] * (len(shape) - 1)).expand(shape).clone()


@pytest.mark.parametrize(
    "inputs", [pixels(), activations(6, 5, 4, 4), activations(6, 7, 5), activations(6, 9)]
)
def test_mixup_gives_each_photo_its_share_of_itself_and_the_rest_of_the_other(inputs: Tensor) -> None:
    before = inputs.clone()
    mixed = mix(inputs, MIXUP, 0)
    share = mixed.share.reshape(-1, *[1] * (inputs.ndim - 1))
    expected = share * inputs.float() + (1 - share) * inputs[mixed.other].float()
    torch.testing.assert_close(mixed.inputs, expected, rtol=1e-5, atol=1e-4)
    assert torch.equal(inputs, before)
    assert mixed.inputs.dtype == mixed.share.dtype == torch.float32
    assert mixed.inputs.shape == inputs.shape
    assert sorted(mixed.other.tolist()) == list(range(6))
    assert 0 < mixed.share[0] < 1


@pytest.mark.parametrize(
    ("shape", "sides"),
    [((6, 16, 16, 3), (1, 2)), ((6, 5, 7, 7), (2, 3)), ((6, 7, 7, 12), (1, 2)), ((6, 7, 7, 7), (2, 3))],
)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_cutmix_replaces_a_box_and_counts_what_it_replaced(
    shape: tuple[int, ...], sides: tuple[int, int], dtype: torch.dtype
) -> None:
    inputs = numbered(*shape).to(dtype)
    seen = set()
    for step in range(60):
        mixed = mix(inputs, CUTMIX, step)
        assert mixed.inputs.dtype == torch.float32
        other = mixed.other.float()
        for photo in range(6):
            values = mixed.inputs[photo]
            is_other = values == other[photo]
            if other[photo] == photo:
                assert is_other.all()
                continue
            assert torch.equal(is_other, values != photo)
            assert is_other.float().mean() == pytest.approx(1 - mixed.share[photo].item(), abs=1e-6)
            (channels,) = {1, 2, 3} - set(sides)
            box = is_other.any(channels - 1)
            assert torch.equal(box, is_other.all(channels - 1))
            assert box.sum() == box.any(0).sum() * box.any(1).sum()
        seen.add(round(mixed.share[0].item(), 4))
    assert len(seen) > 5


def test_without_either_nothing_is_touched() -> None:
    inputs = pixels()
    mixed = mix(inputs, PhaseConfig(), 0)
    assert mixed.inputs is inputs
    assert mixed.other is None
    assert mixed.share is None


def test_a_cut_leaves_what_it_is_to_leave_on_average_but_for_what_falls_outside() -> None:
    inputs = activations(2, 1, 32, 32)
    shares = [mix(inputs, CUTMIX, step).share[0].item() for step in range(400)]
    # A side of s covers s - s²/4 on average; the area leaves 1 - E[(√u - u/4)²], u uniform in 0..1.
    assert np.mean(shares) == pytest.approx(1 - (1 / 2 - 1 / 5 + 1 / 48), abs=0.03)
    assert min(shares) < 0.1
    assert max(shares) > 0.95


def test_with_both_a_coin_decides_in_each_step() -> None:
    inputs = numbered(8, 3, 12, 12)
    cut = [bool((mix(inputs, BOTH, step).inputs % 1 == 0).all()) for step in range(200)]
    assert 70 < sum(cut) < 130


@given(st.floats(1e-9, 1e3), st.integers(0, 10**6), st.booleans())
def test_shares_are_between_0_and_1_whatever_alpha(alpha: float, step: int, cuts: bool) -> None:
    phase = PhaseConfig(cutmix=alpha) if cuts else PhaseConfig(mixup=alpha)
    mixed = mix(activations(3, 2, 5, 5), phase, step)
    assert ((mixed.share >= 0) & (mixed.share <= 1)).all()
    assert mixed.inputs.isfinite().all()


@pytest.mark.parametrize("phase", [MIXUP, CUTMIX, BOTH], ids=["mixup", "cutmix", "both"])
def test_a_mixture_depends_on_its_seed_alone(phase: PhaseConfig) -> None:
    inputs = activations(6, 3, 8, 8)
    torch.manual_seed(1)
    first = mix(inputs, phase, 0)
    np.random.seed(2)  # noqa: NPY002  the global generators must not matter
    torch.manual_seed(2)
    random_state = torch.get_rng_state()
    again = mix(inputs, phase, 0)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(first.other, again.other)
    assert not torch.equal(first.inputs, mix(inputs, phase, 1).inputs)


@pytest.mark.parametrize("phase", [MIXUP, CUTMIX], ids=["mixup", "cutmix"])
def test_a_photo_alone_stays_as_it_is_bit_for_bit(phase: PhaseConfig) -> None:
    inputs = activations(1, 3, 8, 8)
    for step in range(20):
        mixed = mix(inputs, phase, step)
        assert torch.equal(mixed.inputs, inputs)
        assert mixed.other.tolist() == [0]


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 6))
def test_a_stand_in_is_always_alone_and_so_in_no_mixture(
    photos: int, batch_size: int, processes: int
) -> None:
    for rank in range(processes):
        for part in shards(range(photos), batch_size, rank, processes):
            assert part.weights.all() or len(part.weights) == 1


@pytest.mark.parametrize("shape", [(224, 224, 3), (64, 7, 7), (7, 7, 768), (7, 7, 7), (1, 2, 2)], ids=str)
def test_cutmix_is_for_pixels_and_maps(shape: tuple[int, ...]) -> None:
    check_mix(BOTH, shape)
    mix(activations(2, *shape), CUTMIX, 0)


@pytest.mark.parametrize("shape", [(512,), (197, 192), (1280, 1, 1), (64, 7, 5)], ids=str)
def test_cutmix_is_refused_where_there_is_no_map_to_cut_in(shape: tuple[int, ...]) -> None:
    phase = PhaseConfig("last", unfreeze="pool", cutmix=1.0)
    with pytest.raises(ConfigError) as caught:
        check_mix(phase, shape)
    for words in ("Phase last", "cutmix is 1", "'pool'", str(shape), "Allowed is 0", "use mixup"):
        assert words in str(caught.value)
    check_mix(PhaseConfig(mixup=0.2), shape)
    check_mix(PhaseConfig(), shape)
    with pytest.raises(ValueError, match="cannot cut"):
        mix(activations(2, *shape), CUTMIX, 0)
