"""Networks of every kind: each head and recipe trains, exports, agrees with its file, and can be resumed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.labelled import in_metrics
from torch import nn

import headstart as hs
from headstart.training.run.run_dir import RunDir

NETWORKS = {
    "timm/test_resnet": 64,
    "resnet18": 64,
    "vgg11": 64,
    "timm/test_vit": 160,
}
CHEAP = "timm/test_resnet"
LARGE = "vgg11"  # its hidden layers are made narrow; the real ones are 500 MB, written again and again
SOLVED: dict[str, Any] = {"name": "head", "optimizer": "exact"}


class Killed(BaseException):
    """Ends a run as SIGKILL does: nothing is saved on the way out."""


def settings_of(backbone: str, **more: Any) -> dict[str, Any]:
    return {
        "backbone": backbone,
        "weights": "random",
        "size_px": NETWORKS[backbone],
        "device": "cpu",
        "verbose": False,
        **more,
    }


def assert_agrees(run: hs.TrainResult, photos: Path, head: str) -> None:
    assert run.metrics["head"]["kind"] == head
    assert in_metrics(hs.evaluate(run.path, photos / "test")) == run.metrics["test"]


HEADS = [
    pytest.param(backbone, head, marks=() if (backbone, head) == (CHEAP, "stages") else pytest.mark.slow)
    for backbone in NETWORKS
    for head in (("auto", "linear", "stages") if backbone == CHEAP else ("auto",))
    if backbone != LARGE
]


@pytest.mark.parametrize(("backbone", "head"), HEADS)
def test_a_run_killed_behind_every_head_ends_in_the_same_bits_and_agrees_with_its_file(
    backbone: str, head: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases = [SOLVED, {"name": "steps", "unfreeze": 1, "epochs": 2}]
    settings = settings_of(backbone, head=head, phases=phases, batch_size=8)
    whole = hs.train(photos, tmp_path / "whole", checkpoint_seconds=1e6, **settings)
    assert_agrees(whole, photos, whole.metrics["head"]["kind"] if head == "auto" else head)

    steps = 0

    def is_due(self: RunDir) -> bool:
        nonlocal steps
        steps += 1
        if steps == 6:  # in the second epoch of the last phase
            raise Killed
        return steps % 2 == 0

    with monkeypatch.context() as patch:
        patch.setattr(RunDir, "is_checkpoint_due", is_due)
        with pytest.raises(Killed):
            hs.train(photos, tmp_path / "run", **settings)
    assert hs.resume(tmp_path / "run").metrics["head"] == whole.metrics["head"]
    for name in ("model.safetensors", "model.onnx", "answers.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (whole.path / name).read_bytes(), name


RECIPES = [
    (backbone, recipe)
    for backbone in NETWORKS
    for recipe in ("probe", "finetune", "full", "classic")
    if recipe == "finetune" or backbone not in (LARGE, "resnet18")
]


class NarrowLinear(nn.Linear):
    """A linear layer with 16 values in place of 4,096."""

    def __init__(self, num_inputs: int, num_outputs: int) -> None:
        super().__init__(*(16 if width == 4096 else width for width in (num_inputs, num_outputs)))


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "recipe"), RECIPES)
def test_every_recipe_agrees_with_its_file(
    backbone: str, recipe: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = SimpleNamespace(**{**vars(nn), "Linear": NarrowLinear})
    monkeypatch.setattr("torchvision.models.vgg.nn", narrow)
    more = {} if recipe == "probe" else {"epochs": 1}
    run = hs.train(photos, tmp_path / "run", recipe=recipe, **settings_of(backbone, **more))
    assert_agrees(run, photos, "linear" if recipe == "classic" else run.metrics["head"]["kind"])


STEPS: dict[str, dict[str, Any]] = {
    "head only": {"unfreeze": 0},
    "two stages": {"unfreeze": 2, "layer_decay": 0.7},
    "everything": {"unfreeze": "all", "ema": 0.9},
    "mixed rows": {"unfreeze": 1, "mixup": 0.4, "wise_ft": True},
}


@pytest.mark.parametrize(
    "phase",
    [
        pytest.param(phase, id=name, marks=() if name == "mixed rows" else pytest.mark.slow)
        for name, phase in STEPS.items()
    ],
)
def test_steps_of_every_depth_behind_several_stages_agree_with_the_file(
    phase: dict[str, Any], photos: Path, tmp_path: Path
) -> None:
    phases = [SOLVED, {"name": "steps", "epochs": 1, **phase}]
    run = hs.train(photos, tmp_path / "run", **settings_of(CHEAP, head="stages", phases=phases))
    assert_agrees(run, photos, "stages")


@pytest.mark.parametrize("task", ["numbers", pytest.param("labels", marks=pytest.mark.slow)])
def test_labels_and_numbers_are_trained_in_steps_behind_several_stages(
    task: str, photos: Path, tmp_path: Path
) -> None:
    files = sorted((photos / "train").rglob("*.jpg"))
    answers = [
        f"{number % 7 + ord(file.parent.name[0])}" if task == "numbers" else f"{file.parent.name};photo"
        for number, file in enumerate(files)
    ]
    rows = [f"{file},{answer}" for file, answer in zip(files, answers, strict=True)]
    table = tmp_path / "table.csv"
    table.write_text("\n".join([f"image,{'weight' if task == 'numbers' else 'labels'}", *rows]))
    more = {"target": "weight"} if task == "numbers" else {}
    phases = [SOLVED, {"name": "steps", "unfreeze": 1, "epochs": 1}]
    run = hs.train(table, tmp_path / "run", **settings_of(CHEAP, head="stages", phases=phases, **more))
    assert run.metrics["head"]["kind"] == "stages"
    assert run.metrics["parity"]["max_difference"] < 1e-3
