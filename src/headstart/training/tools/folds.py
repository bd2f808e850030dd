"""Scoring by folds where heads are not only solved: one run without each fold, and one on all photos."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Final

from headstart.config import TrainConfig
from headstart.training.run.copied import copy_run, locked
from headstart.training.run.dealt import begin_dealing
from headstart.training.run.result import TrainResult
from headstart.training.run.run_folder import FOLDS

Train = Callable[[TrainConfig, Path, str], TrainResult]
"""Makes a run with these settings in a folder, or resumes the one that is there; says the text before."""

MODEL: Final = "model"
"""Name of the folder of the run that is handed over, beside those of the folds."""


def train_folds(config: TrainConfig, folder: Path, train: Train) -> TrainResult:
    """Make one run without each fold in ``folder/folds``, then the one that is handed over; copy its files.

    Each run holds out validation photos of its own, which choose its best weights; the run that is handed
    over does so as if there were no folds. Runs that are finished are not repeated.

    Args:
        config: With ``folds``.
        folder: The run folder.
        train: Makes a run, or returns it if it is finished.

    Raises:
        RunFolderError: Another process is training in the folder.
        HeadstartError: A run failed. The series can be resumed.
    """
    assert config.folds is not None
    (folder / FOLDS).mkdir(exist_ok=True)
    num_folds, num_runs, heading = config.folds, config.folds + 1, ""
    if config.max_minutes is not None:
        config = dataclasses.replace(config, max_minutes=max(round(config.max_minutes / num_runs, 2), 0.01))
        heading = (
            f"Each of the {num_runs} runs has the same share of the time: {config.max_minutes:g} minutes\n"
        )
    with locked(folder / FOLDS):
        begin_dealing(folder / FOLDS)
        for fold in range(1, num_folds + 1):
            heading += f"Fold {fold} of {num_folds}: training without it"
            train(dataclasses.replace(config, fold=fold), folder / FOLDS / str(fold), heading)
            heading = ""
        train(config, folder / FOLDS / MODEL, "Training the model that is handed over")
        return TrainResult(folder, copy_run(folder / FOLDS / MODEL, folder, {}))
