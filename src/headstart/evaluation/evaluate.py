"""A model file on labelled photos: the path that predicting takes, from bytes to probabilities."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headstart.config import read_toml
from headstart.data.folder import read_folder
from headstart.errors import ConfigError, DataError, did_you_mean
from headstart.evaluation.metrics import ClassificationScores, score
from headstart.predictor import Prediction, Predictor


@dataclass(frozen=True)
class Evaluation:
    """What a model file made of a folder of labelled photos.

    Attributes:
        split: ``"train"``, ``"val"`` or ``"test"`` if these photos alone were taken; None for all.
        scores: Over the photos that can be read.
        unreadable: The photos that cannot, with their ``error``.
    """

    split: str | None
    scores: ClassificationScores
    unreadable: tuple[Prediction, ...]


def evaluate_folder(
    predictor: Predictor, data: str | os.PathLike[str], split: str | None = None
) -> Evaluation:
    """Score a model on a folder, by class name. The folder need not have photos of every class.

    Args:
        predictor: The model.
        data: A folder of class folders, or of train, val and test folders above them, or of some of these.
        split: Which of these to take; by default test, or else val, or else everything.

    Raises:
        DataError: The folder cannot be used, has no such split, or has a class that the model does not know.
    """
    listing = read_folder(data, for_training=False)
    there = {candidate.split for candidate in listing.candidates} - {None}
    if split is None:
        split = next((name for name in ("test", "val") if name in there), None)
    elif split not in there:
        has = ", ".join(sorted(name for name in there if name)) or "no splits"
        raise DataError(f"{os.fsdecode(data)!r} has no {split!r} photos; it has {has}.")
    photos = [c for c in listing.candidates if split is None or c.split == split]
    index = {name: i for i, name in enumerate(predictor.class_names)}
    if unknown := sorted({photo.class_name for photo in photos} - index.keys()):
        raise DataError(
            f"{os.fsdecode(data)!r} has a class {unknown[0]!r} that the model does not know."
            f"{did_you_mean(unknown[0], index)} It knows {', '.join(predictor.class_names)}."
        )
    scores, unreadable = score_photos(
        predictor, [photo.path for photo in photos], [index[photo.class_name] for photo in photos]
    )
    return Evaluation(split, scores, tuple(unreadable))


def was_trained_on(run: str | os.PathLike[str], data: str | os.PathLike[str]) -> bool:
    """Tell whether a folder is the one that a run's ``config.toml`` names as its photos.

    False also where that cannot be known: no ``config.toml``, or a relative path from another place.
    """
    try:
        trained_on = read_toml(Path(run, "config.toml")).get("data")
        return bool(trained_on) and Path(str(trained_on)).samefile(data)
    except (ConfigError, OSError):
        return False


def score_photos(
    predictor: Predictor, paths: Sequence[str], labels: Sequence[int]
) -> tuple[ClassificationScores, list[Prediction]]:
    """Predict photos and compare with their labels.

    Returns:
        The scores over what can be read, and the predictions of what cannot.

    Raises:
        DataError: None of the photos can be read.
    """
    predictions = list(predictor.predict_iter(paths))
    names = predictor.class_names
    read = [(label, p) for label, p in zip(labels, predictions, strict=True) if p.error is None]
    if not read:
        raise DataError(f"None of the {len(paths)} photos can be read; the first: {predictions[0].error}.")
    probabilities = np.array([[p.probabilities[name] for name in names] for _, p in read], np.float32)
    scores = score(np.array([label for label, _ in read]), probabilities, names)
    return scores, [p for p in predictions if p.error is not None]
