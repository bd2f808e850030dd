"""What a type checker says of the public calls: mypy checks this file, and an ignore that is not needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack, assert_type

import numpy as np

import headstart as hs


class Mine(hs.Watcher):
    def progressed(self, count: hs.PhotoCount) -> None:
        print(count.rate)

    def run_begun(self, start: hs.RunStart) -> None:
        print(start.config.seed)

    def epoch_done(self, record: hs.EpochRecord, is_best: bool) -> None:
        print(record.val["loss"], is_best)


def train_on_leaves(**settings: Unpack[hs.TrainSettings]) -> hs.TrainResult:
    return hs.train("leaves", **settings)


def uses(data: Path) -> None:
    assert_type(hs.train(data, "run", recipe=Path("mine.toml"), val=0.3, epochs=5, lr=1e-3), hs.TrainResult)
    hs.train(config=hs.TrainConfig("leaves", seed=1), verbose=False)
    hs.train(data, phases=[hs.PhaseConfig("head"), {"name": "all", "unfreeze": "all"}], mean=[0.5, 0.5, 0.5])
    hs.train(data, watch=["tensorboard", Mine()])
    hs.train(data, phase_settings={"finetune": {"epochs": 20}})
    assert_type(hs.lr_find(data, seed=1), hs.LrRange)
    assert_type(hs.plan(data, seed=1), hs.Plan)
    assert_type(hs.resume("runs/leaves", verbose=False), hs.TrainResult)
    train_on_leaves(seed=3)


def uses_a_model(data: Path) -> None:
    model = hs.load("runs/leaves")
    assert_type(model.predict([data, b"..."]), list[hs.Prediction])
    assert_type(model.predict_proba(data), np.ndarray)
    assert_type(hs.evaluate(model, data, boxes="skip"), hs.Evaluation)
    assert_type(hs.evaluate("runs/leaves", data, "test").metrics, dict[str, Any])
    assert_type(hs.report("runs/leaves", "report.html", photos=False), hs.Report)
    assert_type(hs.export("runs/leaves", "pth").path, Path)
    assert_type(hs.features(data, backbone="resnet18", size_px=64)["vector"], np.ndarray)
    assert_type(hs.augment(data, augment="light", seed=1), hs.Preview)
    assert_type(hs.inspect("vgg16"), hs.Inspection)
    assert_type([each.name for each in hs.backbones(installed=True)], list[str])


def mistakes(data: Path) -> None:
    hs.train(data, batchsize=8)  # type: ignore[call-arg]
    hs.train(data, batch_size="8")  # type: ignore[arg-type]
    hs.train(data, epochs=1.5)  # type: ignore[arg-type]
    hs.lr_find(data, seed=None)  # type: ignore[arg-type]
    hs.export("runs/leaves", "pht")  # type: ignore[arg-type]
    hs.evaluate("runs/leaves", data, seed=1)  # type: ignore[call-arg]
    hs.features(data, epochs=3)  # type: ignore[call-arg]
    train_on_leaves(sed=3)  # type: ignore[call-arg]
