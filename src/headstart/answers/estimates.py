"""Scores with their 95 % intervals, from the answers of a model alone."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final

import numpy as np

from headstart import tasks
from headstart.answers.intervals import Interval, of_influences, of_mean_of_shares, of_proportion
from headstart.answers.scores import measures_of, scores_of, summary_of
from headstart.answers.table import SPLIT_OF, Answers
from headstart.inference.model_file import ModelInfo
from headstart.tasks.calibration_error import calibration_error, error_by_chance
from headstart.tasks.class_scores import without_nan
from headstart.tasks.measures import Measure, f1_from_share
from headstart.tasks.task import Scores

FEWEST_ERRORS: Final = 20
"""Photos with an error, identical ones and those of a group counted once, below which only shares have an
interval: the others' would be too narrow.
"""

TOO_FEW: Final = "too few errors for an interval"

_SIZE_FACTORS: Final = (1, 2, 4)  # of the model's input: limits of the ranges of photo sizes


@dataclass(frozen=True)
class Estimate:
    """A score with its interval.

    Attributes:
        value: The score; NaN if it is undefined.
        interval: Its 95 % interval; None if there is none.
        reason: Why there is none; empty if there is one.
        num_photos: Number of photos that the score is about.
    """

    value: float
    interval: Interval | None
    reason: str
    num_photos: int


@dataclass(frozen=True)
class Estimates:
    """Scores of a model on some photos, with intervals.

    Attributes:
        overall: Scores by name, the main score first.
        parts: Scores by name for each class or target.
        folders: The main score by folder of the photos, if there are several beside those of the classes.
        sizes: The main score by size of the photos, where it is known.
        num_photos: Number of photos.
        num_units: Number of independent photos, groups, or sets of near-duplicates.
        num_errors: Number of these with an error.
        calibration_error: Mean difference between probability and frequency (ECE); None for tasks without
            probabilities.
        calibration_error_by_chance: The error that a perfectly calibrated model would show on these photos;
            as above.
    """

    overall: Mapping[str, Estimate]
    parts: Mapping[str, Mapping[str, Estimate]]
    num_photos: int
    num_units: int
    num_errors: int
    folders: Mapping[str, Estimate] = field(default_factory=dict)
    sizes: Mapping[str, Estimate] = field(default_factory=dict)
    calibration_error: float | None = None
    calibration_error_by_chance: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the overall scores for JSON: ``NAME`` and ``NAME_interval``; undefined ones are null."""
        found = _to_dict(self.overall)
        if self.calibration_error is not None:
            found["calibration_error"] = self.calibration_error
            found["calibration_error_by_chance"] = self.calibration_error_by_chance
        return found


def names_of(info: ModelInfo) -> tuple[str, ...]:
    """Return the names of the scores that ``estimates_of`` gives for a model, the main score first."""
    task = tasks.of(info.task)
    return task.score_names(info)


def estimates_of(
    answers: Answers,
    info: ModelInfo,
    sizes: Sequence[tuple[int, int] | None] | None = None,
    scores: Scores | None = None,
) -> Estimates:
    """Return all scores with intervals.

    Args:
        answers: At least one row, for example ``answers.of_source("test")``.
        info: Description of the model.
        sizes: Width and height of each photo in pixels; None where they are unknown.
        scores: All scores, if they are known already.

    Raises:
        UsageError: There are no answers, or they belong to another model.
    """
    measures, units = measures_of(answers, info), answers.units
    num_errors = len(np.unique(units[measures.is_wrong]))
    # As elsewhere, to the last bit: the order of additions differs.
    known = (scores or scores_of(answers, info)).summary
    overall = {
        name: estimate(each, units, num_errors, known.get(name)) for name, each in measures.overall.items()
    }
    parts = {
        part: {name: estimate(each, units, num_errors) for name, each in of_part.items()}
        for part, of_part in measures.parts.items()
    }
    main = next(iter(measures.overall.values()))

    def by(names: Sequence[str], order: Sequence[str]) -> dict[str, Estimate]:
        places = np.array(names)
        found = {}
        for name in order:
            if (rows := places == name).any():
                errors = len(np.unique(units[measures.is_wrong & rows]))
                found[name] = estimate(main.of(rows), units[rows], errors)
        return found

    folders, input_px = _folders(answers), info.preprocessing.size_px
    probability = measures.probability
    return Estimates(
        overall,
        parts,
        len(answers),
        len(np.unique(units)),
        num_errors,
        by(folders, sorted(set(folders))),
        by([_size_name(size, input_px) for size in sizes], _size_ranges(input_px)) if sizes else {},
        None if probability is None else calibration_error(probability, measures.is_true),
        None if probability is None else error_by_chance(probability),
    )


def estimate(measure: Measure, units: np.ndarray, num_errors: int, value: float | None = None) -> Estimate:
    """Return a score with its interval.

    Args:
        measure: The score, over N photos.
        units: (N,), numbers of independent units.
        num_errors: Number of units with an error; of shares, any number is enough.
        value: The score, if it is known to the last bit.
    """
    value = measure.value if value is None else value
    num_photos = len(units) if measure.rows is None else len(measure.rows)
    if math.isnan(measure.value):
        return Estimate(math.nan, None, "undefined for these photos", num_photos)
    if measure.kind in ("share", "f1"):
        low, high = _of_share(measure, units)
        ends = (f1_from_share(low), f1_from_share(high)) if measure.kind == "f1" else (low, high)
        return Estimate(value, ends, "", num_photos)
    if measure.shares:
        intervals = [(each, _of_share(each, units)) for each in measure.shares if each.per_photo.size]
        of_shares = [(each.per_photo.mean(), interval) for each, interval in intervals]
        return Estimate(value, of_mean_of_shares(of_shares, measure.per_photo, units), "", num_photos)
    if num_errors < FEWEST_ERRORS:
        return Estimate(value, None, TOO_FEW, num_photos)
    interval = of_influences(value, measure.per_photo, units, measure.kind)
    return Estimate(value, interval, "" if interval else TOO_FEW, num_photos)


def headline_of(answers: Answers, info: ModelInfo) -> dict[str, Any]:
    """Return ``summary_of`` with ``NAME_interval`` for each score: two ends, or None without an interval.

    Arguments and errors are those of ``estimates_of``.
    """
    scores = scores_of(answers, info)
    overall = estimates_of(answers, info, scores=scores).overall
    found: dict[str, Any] = {}
    for name, value in summary_of(answers, info, scores).items():
        found[name] = value
        if name in overall:
            interval = overall[name].interval
            found[f"{name}_interval"] = None if interval is None else list(interval)
    return found


def _of_share(measure: Measure, units: np.ndarray) -> Interval:
    units = units if measure.rows is None else units[measure.rows]
    if measure.per_photo.ndim == 2:  # decisions about several labels of one photo
        units = np.repeat(units, measure.per_photo.shape[1])
    return of_proportion(measure.per_photo.ravel(), units)


def metrics_of(scores: Scores, estimates: Estimates) -> dict[str, Any]:
    """Return all scores for JSON, each beside its interval: ``NAME`` and ``NAME_interval``.

    Undefined scores and missing intervals are null.

    Args:
        scores: Scores on some photos.
        estimates: Estimates on the same photos.
    """
    found = estimates.to_dict()
    for name, value in scores.to_dict().items():
        if name in ("classes", "targets"):
            of_parts = zip(value, estimates.parts.values(), strict=True)
            found[name] = [{**row, **_to_dict(part, known=row)} for row, part in of_parts]
        else:
            found.setdefault(name, value)
    return found


def _to_dict(estimates: Mapping[str, Estimate], known: Mapping[str, Any] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, each in estimates.items():
        value = (known or {}).get(name, each.value)
        found |= {name: value, f"{name}_interval": None if each.interval is None else list(each.interval)}
    return without_nan(found)


_MOST_FOLDERS: Final = 20


def _folders(answers: Answers) -> list[str]:
    """Return the folder of each photo without classes and splits; empty unless there are several."""
    left_out = {*answers.label, *SPLIT_OF.values()}
    parts = [
        [part for part in PurePosixPath(path).parent.parts if part not in left_out] for path in answers.path
    ]
    shared = len(list(itertools.takewhile(lambda level: len(set(level)) == 1, zip(*parts, strict=False))))
    found = ["/".join(each[shared:]) or "." for each in parts]
    return found if 2 <= len(set(found)) <= _MOST_FOLDERS else []


def _size_ranges(input_px: int) -> list[str]:
    limits = [input_px * factor for factor in _SIZE_FACTORS]
    return [f"below {limits[0]} px", *(f"from {limit} px" for limit in limits), "unknown"]


def _size_name(size: tuple[int, int] | None, input_px: int) -> str:
    """Return the range that contains the shorter side of a photo."""
    if size is None:
        return "unknown"
    limits = [input_px * factor for factor in _SIZE_FACTORS]
    return _size_ranges(input_px)[bisect.bisect_right(limits, min(size))]
