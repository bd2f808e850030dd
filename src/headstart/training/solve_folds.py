"""Solves a head without each fold, and answers the fold with it, on features that are stored already."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from headstart import tasks
from headstart.answers.table import Answers
from headstart.data.split import Splits
from headstart.data.targets import Scale, Targets
from headstart.inference.model_file import ModelInfo
from headstart.probe.assemble import describe
from headstart.probe.photos import SolvedPhotos, solve_photos
from headstart.probe.unknown import FEWEST, fit_unknown, rows_to_fit
from headstart.products.calibration import temperatures_out_of_fold
from headstart.products.unknown import is_wanted
from headstart.records import Dataset, Record
from headstart.training.by_folds import ByFolds
from headstart.training.probe_setup import ProbeFeatures, ProbeSetup
from headstart.training.watch.watchers import Watchers


@dataclass(frozen=True, eq=False)
class SolvedFolds:
    """Outputs for N training photos, each by the head that was solved without its fold.

    Attributes:
        raw: (N, D) float32, in the form of a model file, before calibration.
        calibrated: (N, D) float32, with the temperatures of the same head.
        rejected: (N,), 1 if the same head rejects the photo as unknown, else 0; NaN if it cannot tell.
    """

    raw: np.ndarray
    calibrated: np.ndarray
    rejected: np.ndarray

    def by_folds(self, splits: Splits, info: ModelInfo, root: str) -> ByFolds:
        """Return the answers.

        Args:
            splits: The photos.
            info: Description of the model that is handed over.
            root: The data folder.
        """
        answers = Answers.from_outputs(
            splits.train, self.calibrated, info, "folds", root=root, folds=splits.fold
        )
        return ByFolds(max(splits.fold) + 1, answers, self.raw)


def solve_folds(
    setup: ProbeSetup, features: ProbeFeatures, dataset: Dataset, splits: Splits, watchers: Watchers
) -> SolvedFolds:
    """Solve a head without each fold, and answer the fold.

    Penalty, stages, adjustment, temperatures and scale are chosen anew without the fold, so its labels have
    no effect on its answers.

    Args:
        setup: What the run has begun with.
        features: Of all training photos, computed already.
        dataset: Task and classes.
        splits: The photos, with their folds.
        watchers: See the progress.

    Raises:
        TrainingError: There is not enough memory.
        DataError: The features of some photos are not finite.
    """
    fold = np.array(splits.fold)
    num_outputs = tasks.of(dataset.task).num_outputs(len(dataset.class_names), len(dataset.targets))
    raw, calibrated = (np.empty((len(fold), num_outputs), np.float32) for _ in range(2))
    rejected = np.full(len(fold), np.nan)
    with watchers.counting("Photos scored by folds", len(fold)) as counter:
        for each in range(int(fold.max()) + 1):
            rows = np.flatnonzero(fold == each)
            photos, scored = _photos(splits, fold != each), _photos(splits, fold == each)
            raw[rows], calibrated[rows], rejected[rows] = _answer(setup, features, dataset, photos, scored)
            counter.advance(len(rows))
    return SolvedFolds(raw, calibrated, rejected)


def _photos(splits: Splits, is_chosen: np.ndarray) -> list[Record]:
    return [splits.train[row] for row in np.flatnonzero(is_chosen).tolist()]


def _answer(
    setup: ProbeSetup, features: ProbeFeatures, dataset: Dataset, photos: list[Record], scored: list[Record]
) -> tuple[np.ndarray, np.ndarray, np.ndarray | float]:
    """Solve a head on photos and answer others; return what ``SolvedFolds`` has of these."""
    task, scale = tasks.of(dataset.task), Scale.of(photos, dataset.targets)
    solved = solve_photos(
        photos,
        setup.views,
        functools.partial(features.training.rows, stages=[block.name for block in setup.blocks[:-1]]),
        setup.blocks,
        Targets(dataset.task, dataset.class_names, setup.backbone.preprocessing, scale),
        min_blocks=2 if setup.config.head == "stages" else 1,
        select=setup.config.select,
    )
    info = describe(setup.backbone, dataset, solved.reading, scale)
    rows = np.stack([*features.plain.rows(((photo, 0) for photo in scored), info.stages)])
    raw = task.to_file((rows @ solved.head.weight.T + solved.head.bias).astype(np.float32), info)
    if not task.num_logits(len(info.class_names)):
        return raw, raw, np.nan
    tau = solved.adjustment.tau if solved.adjustment else 0.0
    temperatures, _ = temperatures_out_of_fold(info, photos, solved.out_of_fold, tau)
    factors = (1 / np.array(temperatures)).astype(np.float32)
    calibrated = raw * factors
    return raw, calibrated, _rejected(setup, features, photos, scored, solved, factors, calibrated)


def _rejected(
    setup: ProbeSetup,
    features: ProbeFeatures,
    photos: list[Record],
    scored: list[Record],
    solved: SolvedPhotos,
    factors: np.ndarray,
    logits: np.ndarray,
) -> np.ndarray | float:
    is_plain = features.training is features.plain  # otherwise these photos have no features as they are
    if solved.out_of_fold is None or not is_plain or not is_wanted(setup.config, setup.listing.task):
        return np.nan
    answers = solved.out_of_fold.multiplied(factors)
    labels = np.array([photo.label for photo in photos])
    chosen = rows_to_fit(answers.fold, labels)
    if len(chosen) < FEWEST:
        return np.nan
    photos = [photos[row] for row in chosen.tolist()]
    known, others = (
        np.stack([*features.plain.rows(((photo, 0) for photo in each), ())]) for each in (photos, scored)
    )
    score = fit_unknown(known, labels[chosen], answers.outputs[chosen], answers.fold[chosen])
    return np.nan if score is None else (score(others, logits) > score.threshold).astype(float)
