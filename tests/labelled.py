"""Labelled photos of every task that need not exist, and outputs of a model file for them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

import headstart as hs
from headstart.answers.estimates import metrics_of
from headstart.images.photo import Photo
from headstart.images.settings import Preprocessing
from headstart.inference.model_file import ModelInfo
from headstart.records import Record

# Names that are columns too, or that CSV, a terminal or a spreadsheet takes for something else.
AWKWARD = ("label", "loss", 'a,"b"\nc', "a\rb", " cat ", "xmin", "猫", "0.5", "=1+1", "output:loss")

SQUASH = Preprocessing(size_px=32, resize="squash")
INFO = ModelInfo("classification", "tiny", AWKWARD, SQUASH)
INFOS = {
    "classification": INFO,
    "multilabel": dataclasses.replace(INFO, task="multilabel", thresholds=(0.5,) * 10),
    "one number": dataclasses.replace(
        INFO, task="regression", class_names=(), targets=("loss",), scale=((2.0,), (3.0,))
    ),
    "two numbers": dataclasses.replace(
        INFO, task="regression", class_names=(), targets=("a", "b c"), scale=((2.0, 0.1), (3.0, 1e-3))
    ),
    "box": dataclasses.replace(INFO, task="box", class_names=()),
    "box of one class": dataclasses.replace(INFO, task="box", class_names=("a cat",)),
    "box with classes": dataclasses.replace(INFO, task="box"),
}

# The best value of each score.
PERFECT = {
    "accuracy": 1.0,
    "calibrated_loss": 0.0,
    "balanced_accuracy": 1.0,
    "macro_f1": 1.0,
    "map": 1.0,
    "f1": 1.0,
    "mae": 0.0,
    "rmse": 0.0,
    "r2": 1.0,
    "iou": 1.0,
    "iou50": 1.0,
}


def photos(info: ModelInfo, number: int) -> tuple[list[Record], np.ndarray]:
    """Labelled photos, and outputs of a model file for them."""
    rng = np.random.default_rng(0)
    outputs = rng.normal(0, 4, (number, info.num_outputs)).astype(np.float32)
    if info.task == "box":
        low = rng.random((number, 2), np.float32) / 2
        outputs[:, :4] = np.concatenate([low, low + 0.3], 1)
    records = []
    for row in range(number):
        left, top = rng.uniform(0, 30, 2).tolist()
        record = Record(
            Photo(f"/data/photos/{row}, \udcff.jpg"),
            int(rng.integers(max(1, len(info.class_names)))),
            None,
            f"{row:064x}",
            group="plant 1" if row % 2 else None,
        )
        if info.task == "multilabel":
            record = dataclasses.replace(
                record,
                label=0,
                labels=tuple(np.flatnonzero(rng.random(len(info.class_names)) < 0.3).tolist()),
            )
        elif info.task == "regression":
            record = dataclasses.replace(record, numbers=tuple(rng.normal(2, 3, len(info.targets)).tolist()))
        elif info.task == "box":
            record = dataclasses.replace(record, box=(left, top, left + 20, top + 9), size=(60, 40))
        records.append(record)
    return records, outputs


def in_metrics(found: hs.Evaluation) -> dict[str, Any]:
    """Return what ``metrics.json`` of a run says of the same photos as an evaluation."""
    return metrics_of(found.scores, found.estimates)
