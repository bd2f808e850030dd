"""What training returns."""

from __future__ import annotations

import csv
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.answers.table import Answers, read_answers
from headstart.predictor import Predictor, load


@dataclass(frozen=True)
class TrainResult:
    """What a training run leaves behind. Its files are read when they are first asked for.

    Attributes:
        path: The run folder.
        metrics: The content of its ``metrics.json``.
    """

    path: Path
    metrics: dict[str, Any]

    @functools.cached_property
    def answers(self) -> Answers:
        """One row per photo: the content of ``answers.csv``.

        Raises:
            UsageError: The file cannot be read.
            DamagedFileError: A row is not as it was written.
        """
        return read_answers(self.path / "answers.csv")

    @functools.cached_property
    def history(self) -> list[dict[str, str]]:
        """The rows of ``history.csv``, one per epoch."""
        with open(self.path / "history.csv", encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    @functools.cached_property
    def predictor(self) -> Predictor:
        """The trained model, ready to predict.

        Raises:
            DamagedFileError: ``model.onnx`` is not as it was written.
        """
        return load(self.path)
