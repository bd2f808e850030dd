"""What a type checker says of the public calls: mypy checks this file, and an ignore that is not needed."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack, assert_type

import headstart as hs


class Mine(hs.Watcher):
    def progressed(self, count: object) -> None:
        print(count)


def train_on_leaves(**settings: Unpack[hs.TrainSettings]) -> hs.TrainResult:
    return hs.train("leaves", **settings)


def uses(data: Path) -> None:
    assert_type(hs.train(data, "run", recipe=Path("mine.toml"), val=0.3, epochs=5, lr=1e-3), hs.TrainResult)
    hs.train(config=hs.TrainConfig("leaves", seed=1), verbose=False)
    hs.train(data, phases=[hs.PhaseConfig("head"), {"name": "all", "unfreeze": "all"}], mean=[0.5, 0.5, 0.5])
    hs.train(data, watch=["tensorboard", Mine()])
    hs.train(data, phase_settings={"finetune": {"epochs": 20}})
    assert_type(hs.lr_find(data, seed=1), hs.LrRange)
    assert_type(hs.resume("runs/leaves", verbose=False), hs.TrainResult)
    train_on_leaves(seed=3)


def mistakes(data: Path) -> None:
    hs.train(data, batchsize=8)  # type: ignore[call-arg]
    hs.train(data, batch_size="8")  # type: ignore[arg-type]
    hs.train(data, epochs=1.5)  # type: ignore[arg-type]
    hs.lr_find(data, seed=None)  # type: ignore[arg-type]
    train_on_leaves(sed=3)  # type: ignore[call-arg]
