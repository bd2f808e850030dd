"""Inputs of the trained stages, mirrored at random: pixels, maps, and maps behind pooled outputs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from tests.labelled import in_metrics
from torch import Tensor, nn

import headstart as hs
from headstart.config import PhaseConfig
from headstart.errors import ConfigError
from headstart.model.carrying import Carrying, pooled
from headstart.model.stage import Stage, StageSequence
from headstart.training.steps.mirror import Layout, check_mirror, mirror

TINY = {"backbone": "timm/test_resnet", "weights": "random", "size_px": 64, "device": "cpu", "verbose": False}


def values(*shape: int) -> Tensor:
    return torch.arange(torch.Size(shape).numel()).reshape(shape)


@pytest.mark.parametrize(
    ("shape", "width"), [((40, 8, 8, 3), 2), ((40, 5, 4, 4), 3), ((40, 4, 4, 5), 2)], ids=str
)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_half_of_the_rows_are_mirrored_from_left_to_right(
    shape: tuple[int, ...], width: int, dtype: torch.dtype
) -> None:
    inputs = values(*shape).to(dtype)
    before = inputs.clone()
    outputs = mirror(inputs, Layout(), 1)
    assert torch.equal(inputs, before)
    assert outputs.dtype == dtype
    is_same = [torch.equal(new, old) for new, old in zip(outputs, inputs, strict=True)]
    assert 8 < sum(is_same) < 32
    for new, old, same in zip(outputs, inputs, is_same, strict=True):
        assert same or torch.equal(new, old.flip(width - 1))
    assert torch.equal(outputs, mirror(inputs, Layout(), 1))
    assert not torch.equal(outputs, mirror(inputs, Layout(), 2))


def test_a_map_behind_pooled_outputs_is_mirrored_and_they_stay() -> None:
    maps = torch.rand(40, 5, 4, 4)
    packed = torch.cat([pooled(maps), maps.flatten(1)], 1)
    outputs = mirror(packed, Layout(10, (5, 4, 4)), 3)
    assert torch.equal(outputs[:, :10], packed[:, :10])
    assert not torch.equal(outputs, packed)
    assert torch.equal(outputs[:, 10:].unflatten(1, (5, 4, 4)), mirror(maps, Layout(), 3))
    torch.testing.assert_close(pooled(outputs[:, 10:].unflatten(1, (5, 4, 4))), outputs[:, :10])


def test_the_layout_is_that_of_the_first_trained_stage() -> None:
    carrying = Carrying(Stage("last", [nn.Identity()]), (5, 4, 4), 10, False)
    assert Layout.of(StageSequence([Stage("last", [carrying])])) == Layout(10, (5, 4, 4))
    assert Layout.of(StageSequence([Stage("last", [nn.Identity()]), Stage("head", [carrying])])) == Layout()
    assert Layout.of(StageSequence([])) == Layout()


def test_inputs_without_height_and_width_are_refused() -> None:
    phase = PhaseConfig(unfreeze=1, mirror=True)
    check_mirror(phase, (90,), Layout(10, (5, 4, 4)))
    check_mirror(phase, (5, 4, 4), Layout())
    check_mirror(PhaseConfig(unfreeze=1), (90,), Layout())
    with pytest.raises(ConfigError, match=r"\(17, 90\), which have no height and width. Leave mirror out"):
        check_mirror(phase, (17, 90), Layout())


@pytest.mark.parametrize("head", ["linear", pytest.param("stages", marks=pytest.mark.slow)])
def test_a_phase_learns_from_mirrored_maps_without_further_passes(
    head: str, photos: Path, tmp_path: Path
) -> None:
    runs = []
    for mirrored in (False, True, True):
        phases = [
            {"name": "head", "optimizer": "exact"},
            # The residual branch of new weights is 0, so only the second step shows what the first has seen.
            {
                "name": "steps",
                "unfreeze": 1,
                "epochs": 2,
                "head_lr": 0.1,
                "label_smoothing": 0.2,
                "mirror": mirrored,
            },
        ]
        runs.append(hs.train(photos, tmp_path / str(len(runs)), phases=phases, head=head, **TINY))
    plain, one, two = (run.history[-1]["train_loss"] for run in runs)
    assert abs(plain - one) > 1e-3 * plain  # more than rounding
    assert one == two
    assert in_metrics(hs.evaluate(runs[1].path, photos / "test")) == runs[1].metrics["test"]


def test_phases_and_tasks_that_cannot_be_mirrored_are_refused(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mirror is True, which mirrors the feature maps that other stages"):
        hs.train(photos, tmp_path / "run", phases=[{"unfreeze": "head", "mirror": True}], **TINY)
    vit = {**TINY, "backbone": "timm/test_vit", "size_px": 160}
    with pytest.raises(ConfigError, match="mirror is on, but with unfreeze = 1"):
        hs.train(photos, tmp_path / "run", phases=[{"unfreeze": 1, "mirror": True}], **vit)


def test_photos_are_mirrored_by_default_unless_their_classes_have_a_direction(
    photos: Path, tmp_path: Path
) -> None:
    for number, names in enumerate((("cat", "dog"), ("left", "right"))):
        data = tmp_path / f"data{number}"
        for name, folder in zip(names, sorted((photos / "train").iterdir()), strict=False):
            shutil.copytree(folder, data / name)
        run = hs.train(data, tmp_path / f"run{number}", recipe="finetune", epochs=1, **TINY)
        config = hs.TrainConfig.from_toml(run.path / "config.toml")
        assert [phase.mirror for phase in config.phases] == [False, names[0] == "cat"]


def test_a_network_with_nothing_before_its_head_is_trained_all_the_same(photos: Path, tmp_path: Path) -> None:
    class OneStage(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.AvgPool2d(16), nn.Flatten(), nn.Linear(48, 3))

        def forward(self, images: Tensor) -> Tensor:
            return self.layers(images)  # type: ignore[no-any-return]

        def headstart_stages(self) -> dict[str, list[nn.Module]]:
            return {"head": [self.layers]}

    own = {name: value for name, value in TINY.items() if name != "weights"}
    run = hs.train(photos, tmp_path / "run", network=OneStage(), recipe="classic", epochs=1, **own)
    assert run.metrics["head"]["kind"] == "own"


def test_a_vector_behind_pooled_outputs_is_not_mirrored() -> None:
    phase = PhaseConfig(unfreeze=1, mirror=True)
    for shape in ((25088,), (576, 1, 1)):
        with pytest.raises(ConfigError, match="which have no height and width"):
            check_mirror(phase, (25098,), Layout(10, shape))
