"""What models that were trained without each fold have answered for its photos."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart import tasks
from headstart.answers import by_folds
from headstart.answers.estimates import estimates_of, metrics_of
from headstart.answers.file import read_answers
from headstart.answers.scores import scores_of, summary_of
from headstart.answers.table import Answers, number_texts
from headstart.data.split import Splits
from headstart.data.text import path_below
from headstart.errors import RunFolderError
from headstart.inference.model_file import ModelInfo
from headstart.training.run.run_folder import RunFolder


@dataclass(frozen=True, eq=False)
class ByFolds:
    """Answers for all photos but the test photos, each by the model that was trained without its fold.

    Attributes:
        num_folds: Number of folds.
        answers: N rows with the source ``folds``, with outputs as calibrated by each model.
        raw: (N, D) float32, outputs before calibration, in the form of the outputs of ``answers``.
    """

    num_folds: int
    answers: Answers
    raw: np.ndarray

    def summary(self, info: ModelInfo) -> dict[str, Any]:
        """Return the entries for ``metrics.json``.

        Args:
            info: Description of the model that is handed over.
        """
        each = (self.answers[self.answers.fold == fold] for fold in range(self.num_folds))
        return {
            "num_folds": self.num_folds,
            "scores_of": by_folds.scores_of(
                self.answers.split.count("train"), self.answers.split.count("val")
            ),
            "by_fold": [{"num_photos": len(of_fold), **summary_of(of_fold, info)} for of_fold in each],
            **metrics_of(scores_of(self.answers, info), estimates_of(self.answers, info)),
        }


def read_folds(folder: Path, num_folds: int, info: ModelInfo, splits: Splits, root: str) -> ByFolds:
    """Gather the answers of runs that have each held out one fold.

    Args:
        folder: Contains their folders: ``1``, ``2`` and so on.
        num_folds: Their number.
        info: Description of the model that is handed over.
        splits: The photos of its run.
        root: The data folder.

    Raises:
        RunFolderError: They have not answered each training and validation photo once.
    """
    parts, raw = [], []
    for fold in range(num_folds):
        run = folder / str(fold + 1)
        answers = read_answers(run / "answers.csv").of_source("test")
        factors = 1 / _temperatures(RunFolder.read_metrics(run) or {}, info)
        parts.append(dataclasses.replace(answers, fold=np.full(len(answers), fold, np.int32)))
        raw.append(answers.outputs / factors)
    whole, outputs = Answers.concatenate(parts), np.concatenate(raw).astype(np.float32)
    split_of = {
        path_below(record.path, root): split
        for split, records in (("train", splits.train), ("val", splits.val))
        for record in records
    }
    row_of = {path: row for row, path in enumerate(whole.path)}
    if len(row_of) != len(whole) or row_of.keys() != split_of.keys():
        num_without = len(split_of.keys() - row_of.keys())
        raise RunFolderError(
            f"The runs in {folder} must have answered each of the {len(split_of):,} training and validation "
            f"photos of this run once. They have {len(whole):,} answers, and {num_without:,} of these photos "
            f"have none. Start a new run."
        )
    rows = np.array([row_of[path] for path in split_of])
    whole = whole[rows]
    answers = dataclasses.replace(
        whole,
        split=list(split_of.values()),
        source=["folds"] * len(whole),
        prediction=tasks.of(info.task).said(whole.outputs, info, number_texts),
    )
    return ByFolds(num_folds, answers, outputs[rows])


def _temperatures(metrics: Mapping[str, Any], info: ModelInfo) -> np.ndarray:
    """Return what each output of a run's model was divided by, (D,)."""
    found = np.ones(info.num_outputs)
    if calibration := metrics.get("calibration"):
        num_logits = tasks.of(info.task).num_logits(len(info.class_names))
        found[-num_logits:] = calibration["temperatures"]
    return found
