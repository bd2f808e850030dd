"""The classic five steps on the classic networks: load, replace the head, train it, unfreeze, train on.

At every step, what is said to be frozen stands still to the last bit, buffers included, and the rest moves.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import headstart as hs
from headstart.model.freeze import digest, is_frozen
from headstart.model.stages import stages
from headstart.training import train
from headstart.training.run_dir import RunDir

# Trained norms, so that those of frozen stages have a reason to move. Random networks give huge gradients.
STEPS = {"epochs": 1, "optimizer": "sgd", "momentum": 0.0, "head_lr": 0.05, "clip_norm": 1.0}
PHASES = [
    {"name": "head", "unfreeze": "head", **STEPS},  # which has no norms to train
    {"name": "last", "unfreeze": 1, "norm": "train", **STEPS},
    {"name": "all", "unfreeze": "all", "norm": "train", **STEPS},
]
FROZEN = {
    "resnet101": {
        "head": ["stem", "layer1", "layer2", "layer3", "layer4", "pool"],
        "last": ["stem", "layer1", "layer2", "layer3"],
        "all": [],
    },
    "vgg16": {
        "head": ["block1", "block2", "block3", "block4", "block5", "pool", "fc6", "fc7"],
        "last": ["block1", "block2", "block3", "block4"],
        "all": [],
    },
}


@pytest.mark.parametrize("backbone", FROZEN)
def test_what_is_frozen_stands_still_and_the_rest_moves(
    backbone: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    take_steps = train._take_steps

    def watched(setup: Any, features: Any, *others: Any) -> None:
        parts = stages(setup.network)
        before = {part.name: digest(part) for part in parts}
        take_steps(setup, features, *others)
        after = {part.name: digest(part) for part in parts}
        frozen = FROZEN[backbone][features.phase.name]
        for part in parts:
            if part.name in frozen:
                assert is_frozen(part), part.name
                assert after[part.name] == before[part.name], part.name
            elif list(part.parameters()):
                assert not is_frozen(part), part.name
                assert after[part.name] != before[part.name], part.name
        seen.append(features.phase.name)

    monkeypatch.setattr(train, "_take_steps", watched)
    # VGG16 has 138 million parameters: neither checkpoints nor model files of them, which others test.
    monkeypatch.setattr(RunDir, "checkpoint", lambda self, network, others=None: None)
    monkeypatch.setattr(train, "finish", lambda *arguments: {})
    run = tmp_path / "run"
    hs.train(photos, run, backbone=backbone, weights="random", size_px=32, batch_size=10, phases=PHASES)
    assert seen == ["head", "last", "all"]
    shutil.rmtree(run)  # the best weights of each phase
