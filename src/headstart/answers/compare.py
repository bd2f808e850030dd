"""Compares finished runs on the photos that all of them answered as new ones."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headstart import tasks
from headstart.answers.comparison import ComparedRun, Comparison
from headstart.answers.estimates import FEWEST_ERRORS, TOO_FEW, Estimate, estimates_of
from headstart.answers.intervals import mcnemar, of_influences, of_paired_proportions
from headstart.answers.runs import Run, on_common_photos, read_run, refuse_other_task
from headstart.answers.scores import measures_of
from headstart.errors import ConfigError
from headstart.files import given_path
from headstart.tasks.measures import Measure, Measures


def compare(*runs: str | os.PathLike[str]) -> Comparison:
    """Compare finished runs side by side on the same photos, on which none of them was trained.

    Photos are matched by path and content in ``answers.csv``. Test photos are compared if the runs have some
    in common, otherwise validation photos. Differences are to the first run.

    Args:
        runs: At least two run folders.

    Raises:
        ConfigError: There are fewer than two, one is given twice, or one is not a path.
        RunFolderError: A folder does not contain a finished run.
        UsageError: The runs have different tasks or classes, or no such photos in common.
        DamagedFileError: A file of a run is damaged.
    """
    folders = [given_path(run, "runs", "a run folder") for run in runs]
    if len({folder.resolve() for folder in folders}) < max(len(folders), 2):
        given = ", ".join(map(str, folders)) or "none"
        raise ConfigError(f"runs are {given}. Name at least two different run folders.")
    read = [read_run(folder, name) for folder, name in zip(folders, _names(folders), strict=True)]
    for run in read[1:]:
        refuse_other_task(run, read[0])
    photos, read, notes = on_common_photos(read)
    first = read[0]
    measures = [measures_of(run.answers, run.info) for run in read]
    rows = [_compared(run, of_run, first, measures[0]) for run, of_run in zip(read, measures, strict=True)]
    main = tasks.of(first.info.task).score_names(first.info)[0]
    return Comparison(tuple(rows), main, photos, len(first.answers), tuple(notes))


def _names(folders: Sequence[Path]) -> list[str]:
    """Return the names of the folders; their paths if two have the same name."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else list(map(str, folders))


def _compared(run: Run, measures: Measures, first: Run, of_first: Measures) -> ComparedRun:
    units, p_value, differences = first.answers.units, None, {}
    if run is not first:
        is_wrong = measures.is_wrong | of_first.is_wrong
        num_errors = len(np.unique(units[is_wrong]))
        differences = {
            name: difference(each, of_first.overall[name], units, num_errors)
            for name, each in measures.overall.items()
        }
        if tasks.of(run.info.task).has_class:
            p_value = mcnemar(run.answers.is_right - first.answers.is_right, units)
    return ComparedRun(
        name=run.name,
        path=run.path,
        recipe=run.recipe,
        backbone=run.info.backbone,
        scores=estimates_of(run.answers, run.info).overall,
        differences=differences,
        p_value=p_value,
    )


def difference(new: Measure, old: Measure, units: np.ndarray, num_errors: int) -> Estimate:
    """Return how much higher a score is than another on the same photos, with the paired interval.

    Args:
        new: The score of one model on N photos.
        old: The same score of the other model.
        units: (N,), numbers of independent units.
        num_errors: Number of units with an error of one model or both; of shares of photos, any number is
            enough.
    """
    value = new.value - old.value
    if math.isnan(value):
        return Estimate(value, None, "undefined for these photos", len(units))
    changes = new.per_photo - old.per_photo
    if new.kind == "share" and changes.ndim == 1:
        return Estimate(value, of_paired_proportions(changes, units), "", len(units))
    if not changes.any():
        return Estimate(value, None, "the same for every photo", len(units))
    if changes.ndim == 2:  # decisions about several labels of one photo
        changes = changes.mean(1) - value
    interval = of_influences(value, changes, units) if num_errors >= FEWEST_ERRORS else None
    return Estimate(value, interval, "" if interval else TOO_FEW, len(units))
