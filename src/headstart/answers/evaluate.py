"""Evaluates a model file on labelled photos, by the same path as prediction: from bytes to outputs."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart import tasks
from headstart.answers.scores import scores_of
from headstart.answers.table import Answers, Source
from headstart.data.check import refuse_missing_classes
from headstart.data.place import place_boxes
from headstart.data.sources.source import read_source
from headstart.errors import ConfigError, DataError, ImageError, did_you_mean
from headstart.images.photo import Photo
from headstart.inference.model_file import ModelInfo
from headstart.inference.predictor import Predictor
from headstart.inference.runtime import map_in_order
from headstart.records import Candidate, Listing, Quarantined, Record
from headstart.tasks.prediction import Prediction
from headstart.tasks.task import Scores


@dataclass(frozen=True)
class Evaluation:
    """The result of evaluating a model file on labelled photos.

    Attributes:
        split: ``"train"``, ``"val"`` or ``"test"`` if only this split was scored; None for all photos.
        photos: These photos.
        scores: Scores over the photos that can be read.
        unreadable: Predictions of the photos that cannot be read, with their ``error``.
        quarantined: Photos that were left out because their labels are wrong.
        notes: Notes for the user.
    """

    split: str | None
    photos: tuple[Photo, ...]
    scores: Scores
    unreadable: tuple[Prediction, ...]
    quarantined: tuple[Quarantined, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def scored(self) -> tuple[Photo, ...]:
        """The photos that could be read."""
        unreadable = {prediction.path for prediction in self.unreadable}
        return tuple(photo for photo in self.photos if photo.key not in unreadable)

    @property
    def num_photos(self) -> int:
        """Number of photos that were scored."""
        return len(self.scored)


def evaluate_folder(
    predictor: Predictor,
    data: str | os.PathLike[str],
    split: str | None = None,
    *,
    target: str | None = None,
    **options: Any,
) -> Evaluation:
    """Score a model on labelled photos. Classes are matched by name; not every class needs photos.

    Args:
        predictor: The model.
        data: Labelled photos as for training: a folder of class folders, a table, Pascal VOC or COCO.
        split: Split to score; by default test, else val, else all photos.
        target: Columns of a table with the model's numbers, in its order, separated by commas; by default the
            columns with the names of the model's targets.
        options: As for ``read_source``: ``boxes``, ``image_column``, ``label_column``, ``split_column``.

    Raises:
        DataError: The data cannot be used, do not have the split, or have a class that is unknown to the
            model.
        ConfigError: ``target`` does not match the model.
    """
    info = predictor.info
    _refuse_other_targets(target, info)
    listing = read_source(
        data, task=info.task, target=target or ",".join(info.targets) or None, for_training=False, **options
    )
    split = _split_of(listing, split, data)
    photos = [c for c in listing.candidates if split is None or c.split == split]
    index = {name: i for i, name in enumerate(predictor.class_names)}
    task = tasks.of(info.task)
    if task.has_box and not info.num_box_classes:  # the model does not tell them
        photos = [dataclasses.replace(photo, class_name="") for photo in photos]
    else:
        refuse_missing_classes(listing, predictor.class_names)
    _refuse_unknown_classes(photos, index, data)
    records = [_record(photo, index) for photo in photos]
    quarantined, notes = list(listing.quarantined), list(listing.notes)
    if task.has_box:
        records, done_to_boxes = place_boxes(records, {photo.path: photo for photo in photos}, quarantined)
        notes += done_to_boxes
    scores, unreadable = score_photos(predictor, records)
    of_records = tuple(record.photo for record in records)
    return Evaluation(split, of_records, scores, tuple(unreadable), tuple(quarantined), tuple(notes))


def _refuse_other_targets(target: str | None, info: ModelInfo) -> None:
    """Refuse a number of columns that differs from the number of targets."""
    if target is not None and len(target.split(",")) != len(info.targets):
        numbers = f"predicts {', '.join(info.targets)}" if info.targets else f"is for the task {info.task}"
        advice = "Name one column for each number" if info.targets else "Leave target out"
        raise ConfigError([f"target is {target!r}, but the model {numbers}. {advice}."])


def _split_of(listing: Listing, split: str | None, data: str | os.PathLike[str]) -> str | None:
    """Return the split to score: the named one, else test, else val, else None for all photos."""
    there = {candidate.split for candidate in listing.candidates} - {None}
    if split is None:
        return next((name for name in ("test", "val") if name in there), None)
    if split not in there:
        has = ", ".join(sorted(name for name in there if name))
        has = f"{has}. Name one of these" if has else "no splits. Leave split out, to score all photos"
        raise DataError(f"{os.fsdecode(data)!r} has no {split!r} photos; it has {has}.")
    return split


def _refuse_unknown_classes(
    photos: Sequence[Candidate], index: Mapping[str, int], data: str | os.PathLike[str]
) -> None:
    named = {name for photo in photos for name in (photo.class_name, *photo.labels) if name}
    if unknown := sorted(named - index.keys()):
        raise DataError(
            f"{os.fsdecode(data)!r} has a class {unknown[0]!r} that the model does not know."
            f"{did_you_mean(unknown[0], index)} It knows {', '.join(index)}. "
            "Leave these photos out, or train with them."
        )


def _record(photo: Candidate, index: Mapping[str, int]) -> Record:
    return Record(
        photo.photo,
        index[photo.class_name] if photo.class_name else 0,
        photo.split,
        sha256="",  # nothing here asks for it
        labels=tuple(index[name] for name in photo.labels),
        numbers=photo.numbers,
        box=photo.box,
    )


def num_seen_by(run: str | os.PathLike[str], photos: Iterable[Photo]) -> dict[str, int]:
    """Count photos that a run has used, by the hash of their bytes, wherever they are now.

    Args:
        run: The run folder.
        photos: Unreadable ones are not counted.

    Returns:
        ``train``: the number of training photos among them; ``val``: the number of validation photos. Both
        are 0 if the run has no readable ``photos.csv``.
    """
    seen: dict[str, set[str]] = {"train": set(), "val": set()}
    try:
        text = Path(run, "photos.csv").read_text("utf-8", errors="surrogateescape")
        for row in csv.DictReader(io.StringIO(text, newline="")):
            if row["split"] in seen:
                seen[row["split"]].add(row["sha256"])
    except (OSError, KeyError, csv.Error):
        return dict.fromkeys(seen, 0)
    seen["val"] -= seen["train"]
    digests = list(map_in_order(Photo.sha256, photos))
    return {split: sum(digest in of_split for digest in digests) for split, of_split in seen.items()}


def chosen_on_validation(run: str | os.PathLike[str]) -> str:
    """Return what was chosen on the validation photos of a run, which makes scores on them too optimistic.

    Args:
        run: The run folder.

    Returns:
        ``"weights"`` if there were several epochs to choose from; ``"thresholds"`` for several labels; both,
        or neither. ``"weights"`` if there is no readable ``metrics.json``.
    """
    try:
        metrics = json.loads(Path(run, "metrics.json").read_text("utf-8"))
        num_epochs = sum(len(phase["epochs"]) for phase in metrics["phases"])
        chosen = {"weights": num_epochs > 1, "thresholds": tasks.of(metrics["task"]).has_labels}
    except (OSError, ValueError, KeyError, TypeError):
        return "weights"
    return " and ".join(name for name, was_chosen in chosen.items() if was_chosen)


def score_photos(predictor: Predictor, photos: Sequence[Record]) -> tuple[Scores, list[Prediction]]:
    """Predict photos and compare the predictions with their labels.

    Args:
        predictor: The model.
        photos: Photos with labels as indices into the model's classes and, for boxes, with their sizes.

    Returns:
        The scores over the readable photos, and the predictions of the unreadable ones.

    Raises:
        DataError: None of the photos can be read.
    """
    answers, unreadable = answer_photos(predictor, photos, "test")
    if not len(answers):
        raise DataError(f"None of the {len(photos)} photos can be read; the first: {unreadable[0].error}.")
    return scores_of(answers, predictor.info), unreadable


def answer_photos(
    predictor: Predictor, photos: Sequence[Record], source: Source, *, root: str = ""
) -> tuple[Answers, list[Prediction]]:
    """Run the model on labelled photos, from their bytes.

    Args:
        predictor: The model.
        photos: Photos with labels as indices into the model's classes and, for boxes, with their sizes.
        source: Split of the photos: ``"val"`` or ``"test"``.
        root: The data folder.

    Returns:
        The rows of readable photos, and the predictions of unreadable ones, with their ``error``.
    """
    records, outputs, unreadable = [], [], []
    for photo, row in zip(photos, predictor.outputs(photo.photo for photo in photos), strict=True):
        if isinstance(row, Exception):
            reason = row.reason if isinstance(row, ImageError) else str(row)
            unreadable.append(Prediction(photo.path, error=reason))
        else:
            records.append(photo)
            outputs.append(row)
    found = np.array(outputs, np.float32).reshape(len(records), predictor.info.num_outputs)
    return Answers.from_outputs(records, found, predictor.info, source, root=root), unreadable
