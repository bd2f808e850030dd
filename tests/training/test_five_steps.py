"""The classic five steps on the classic networks: load, replace the head, train it, unfreeze, train on.

At every step, what is said to be frozen stands still to the last bit, buffers included, and the rest moves.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

import headstart as hs
from headstart.model.freeze import digest, is_frozen
from headstart.model.stage import Stage
from headstart.model.stages import stages
from headstart.training import upper
from headstart.training.run.run_dir import RunDir

# Trained norms, so that those of frozen stages have a reason to move. Random networks give huge gradients.
STEPS = {"epochs": 1, "optimizer": "sgd", "momentum": 0.0, "head_lr": 0.05, "clip_norm": 1.0}
PHASES = [
    {"name": "head", "unfreeze": "head", **STEPS},  # which has no norms to train
    {"name": "last", "unfreeze": 1, "norm": "train", **STEPS},
    {"name": "all", "unfreeze": "all", "norm": "train", **STEPS},
]
FROZEN = {
    "resnet": {
        "head": ["stem", "layer1", "layer2", "layer3", "layer4", "pool"],
        "last": ["stem", "layer1", "layer2", "layer3"],
        "all": [],
    },
    "vgg": {
        "head": ["block1", "block2", "block3", "block4", "block5", "pool", "fc6", "fc7"],
        "last": ["block1", "block2", "block3", "block4"],
        "all": [],
    },
}


def small_vgg() -> nn.Module:
    """VGG16 with few channels: 138 million parameters show nothing more."""
    widths = [4, 4, "M", 8, 8, "M", 8, 8, 8, "M", 8, 8, 8, "M", 8, 8, 8, "M"]
    with torch.device("meta"):
        network = models.VGG(models.vgg.make_layers(widths), init_weights=False)
    for index, (inputs, outputs) in {0: (8, 16), 3: (16, 16), 6: (16, 3)}.items():
        network.classifier[index] = nn.Linear(inputs, outputs, device="meta")
    network.avgpool = nn.AdaptiveAvgPool2d(1)
    network.to_empty(device="cpu")
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.reset_parameters()
    return network


@pytest.mark.parametrize(
    "backbone", ["vgg16", "timm/test_resnet", pytest.param("resnet101", marks=pytest.mark.slow)]
)
def test_what_is_frozen_stands_still_and_the_rest_moves(
    backbone: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    prepare, train_phase, end_phase = upper.prepare, upper.UpperFloor.train_phase, RunDir.end_phase
    parts: list[Stage] = []
    after: dict[str, str] = {}

    def watched_prepare(*arguments: Any) -> Any:
        setup = prepare(*arguments)
        parts.extend(stages(setup.network))
        return setup

    def watched(self: upper.UpperFloor, phase: hs.PhaseConfig) -> None:
        before = {part.name: digest(part) for part in parts}
        train_phase(self, phase)
        frozen = FROZEN["vgg" if backbone == "vgg16" else "resnet"][phase.name]
        for part in parts:
            if part.name in frozen:
                assert is_frozen(part), part.name
                assert after[part.name] == before[part.name], part.name
            elif list(part.parameters()):
                assert not is_frozen(part), part.name
                assert after[part.name] != before[part.name], part.name
        seen.append(phase.name)

    def watched_end(self: RunDir) -> None:  # after which the network has its best weights
        after.update({part.name: digest(part) for part in parts})
        end_phase(self)

    monkeypatch.setattr(upper, "prepare", watched_prepare)
    monkeypatch.setattr(RunDir, "end_phase", watched_end)
    monkeypatch.setattr(upper.UpperFloor, "train_phase", watched)
    # Neither checkpoints nor model files, which others test.
    monkeypatch.setattr(RunDir, "checkpoint", lambda self, others=None: None)
    monkeypatch.setattr(upper, "finish", lambda *arguments: None)
    run = tmp_path / "run"
    settings: dict[str, Any] = {"size_px": 32, "batch_size": 10, "phases": PHASES}
    if backbone == "vgg16":
        hs.train(photos, run, network=small_vgg(), **settings)
    else:
        hs.train(photos, run, backbone=backbone, weights="random", **settings)
    assert seen == ["head", "last", "all"]
    shutil.rmtree(run)  # the best weights of each phase
