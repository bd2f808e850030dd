"""Evaluates a model file on labelled photos, by the same path as prediction: from bytes to outputs."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from headstart import tasks
from headstart.answers.estimates import estimates_of
from headstart.answers.evaluation import Evaluation
from headstart.answers.groups import note_on_groups
from headstart.answers.scores import scores_of
from headstart.answers.seen import notes_on_seen
from headstart.answers.table import Answers, Source
from headstart.columns import listed
from headstart.config import TrainConfig
from headstart.config.checking import checked
from headstart.data.check import record_of, refuse_missing_classes
from headstart.data.place import place_boxes
from headstart.data.sources.source import read_source
from headstart.data.sources.split_names import SPLIT_OF_WORD
from headstart.errors import ConfigError, DataError, ImageError, did_you_mean
from headstart.images.decode import image_size
from headstart.images.photo import Photo
from headstart.inference.model_file import ModelInfo
from headstart.inference.predictor import Predictor, load
from headstart.inference.runtime import map_in_order
from headstart.records import Candidate, Listing, Quarantined, Record
from headstart.tasks.prediction import Prediction

_MOST_NAMED: Final = 20  # classes, in one message
_NO_GROUPS: Final = "The model file names no groups of training photos, so group_by has no effect."


def evaluate(
    model: Predictor | str | os.PathLike[str],
    data: str | os.PathLike[str],
    split: str | None = None,
    *,
    target: str | None = None,
    image_column: str = "image",
    label_column: str | None = None,
    split_column: str | None = None,
    group_by: str | None = None,
    boxes: str = "refuse",
    images: str | os.PathLike[str] | None = None,
    label_from: str | None = None,
    allow_quarantined: float | None = None,
    decisions: str | os.PathLike[str] | None = None,
    views: int | None = None,
) -> Evaluation:
    """Score a model on labelled photos. Classes are matched by name; not every class needs photos.

    Args:
        model: What ``load`` returned, or what it takes: a run folder, or a ``model.onnx``.
        data: Labelled photos as for training: a folder of class folders, a table, Pascal VOC or COCO.
        split: Split to score; by default test, else val, else all photos.
        target: Columns of the model's numbers, separated by commas; by default those with its targets' names.
        image_column: As for training, like all that follow.
        label_column: The column of labels.
        split_column: The column of splits.
        group_by: As for training; photos from groups that were not in training are scored apart, in a note.
        boxes: What becomes of photos that have not exactly one box: ``"refuse"``, ``"largest"``, ``"skip"``.
        images: Folder in which the photos of a label file are found by name.
        label_from: Regular expression that finds the label in the path of a photo.
        allow_quarantined: Fraction of the photos that may have unusable labels; by default 1 %, or five.
        decisions: A ``findings.csv`` with photos to drop or relabel.
        views: Number of views of each photo, as for ``load``; by default 1, or those of a loaded model.

    Raises:
        RunFolderError: There is no such model.
        DataError: The data cannot be used, do not have the split, or have a class unknown to the model.
        ConfigError: ``target`` does not match the model, or a path is not one.
    """
    predictor = _opened(model, views)
    _refuse_other_targets(target, predictor.info)
    listing = read_source(
        data,
        task=predictor.info.task,
        target=target or ",".join(predictor.info.targets) or None,
        image_column=image_column,
        label_column=label_column,
        split_column=split_column,
        group_by=group_by,
        boxes=boxes,
        images=images,
        label_from=label_from,
        allow_quarantined=_fraction(allow_quarantined),
        decisions=decisions,
        for_training=False,
    )
    notes = [] if decisions else _notes_on_decisions(predictor, data)
    found = _of_listing(predictor, listing, split, data, has_groups=group_by is not None)
    return dataclasses.replace(found, notes=(*found.notes, *notes))


def _fraction(allow_quarantined: float | str | None) -> float | None:
    """Return the fraction as a number; on the command line it is text.

    Raises:
        ConfigError: It is not a fraction.
    """
    if allow_quarantined is None:
        return None
    problems: list[str] = []
    found = checked(TrainConfig, {"allow_quarantined": allow_quarantined}, "", problems)
    if problems:
        raise ConfigError(problems)
    return float(found["allow_quarantined"])


def _notes_on_decisions(predictor: Predictor, data: str | os.PathLike[str]) -> list[str]:
    """Say that a run was trained on these data with decisions that are not applied now; or return nothing."""
    if predictor.path is None:
        return []
    try:
        config = Path(predictor.path).with_name("config.toml").read_text("utf-8", errors="surrogateescape")
        settings = tomllib.loads(config)
        file = settings.get("decisions")
        if not file or Path(settings["data"]).resolve() != Path(data).resolve():
            return []
    except (OSError, ValueError, KeyError, TypeError):  # no run folder, or not a readable one
        return []
    return [
        f"The run was trained with the decisions of {file}, which are not applied to these photos. To apply "
        "them: --decisions FILE"
    ]


def _of_listing(
    predictor: Predictor,
    listing: Listing,
    split: str | None,
    data: str | os.PathLike[str],
    *,
    has_groups: bool,
) -> Evaluation:
    info = predictor.info
    split = _split_of(listing, split, data)
    photos = [c for c in listing.candidates if split is None or c.split == split]
    records, quarantined, notes = _labelled(photos, listing, info, data)
    found = _scored(predictor, records)
    if has_groups and not info.num_groups:
        notes = [_NO_GROUPS, *notes]
    return dataclasses.replace(
        found, split=split, quarantined=tuple(quarantined), notes=(*found.notes, *notes)
    )


def _scored(predictor: Predictor, records: Sequence[Record]) -> Evaluation:
    """Score labelled photos. The notes are about photos and groups that the model was trained on."""
    answers, unreadable = answer_photos(predictor, records, "test")
    if not len(answers):
        raise DataError(f"None of the {len(records)} photos can be read; the first: {unreadable[0].error}.")
    failed = {prediction.path for prediction in unreadable}
    answers, sizes = _with_sha256(answers, [each.photo for each in records if each.path not in failed])
    notes = [note_on_groups(answers, predictor.info)]
    if predictor.path is not None:
        notes = [*notes_on_seen(Path(predictor.path).parent, answers.sha256), *notes]
    scores = scores_of(answers, predictor.info)
    return Evaluation(
        split=None,
        photos=tuple(record.photo for record in records),
        scores=scores,
        estimates=estimates_of(answers, predictor.info, sizes, scores),
        unreadable=tuple(unreadable),
        notes=tuple(filter(None, notes)),
    )


def _with_sha256(answers: Answers, photos: Sequence[Photo]) -> tuple[Answers, list[tuple[int, int] | None]]:
    """Add SHA-256s, so that identical photos count once; return the sizes of the photos, too."""
    facts = list(map_in_order(_sha256_and_size, photos))
    digests, sizes = [digest for digest, _ in facts], [size for _, size in facts]
    return dataclasses.replace(answers, sha256=digests), sizes


def _sha256_and_size(photo: Photo) -> tuple[str, tuple[int, int] | None]:
    try:
        content = photo.content()
        return hashlib.sha256(content).hexdigest(), image_size(content)
    except ImageError:  # it could be read a moment ago
        return "", None


def _opened(model: Predictor | str | os.PathLike[str], views: int | None) -> Predictor:
    if not isinstance(model, Predictor):
        return load(model, views=1 if views is None else views)
    if views not in (None, model.views):
        raise ConfigError(
            f"views is {views!r}, but the model was loaded with views={model.views}. Leave it out here, or "
            "load the model with it."
        )
    return model


def _refuse_other_targets(target: str | None, info: ModelInfo) -> None:
    """Refuse a number of columns that differs from the number of targets."""
    if target is not None and len(target.split(",")) != len(info.targets):
        numbers = f"predicts {', '.join(info.targets)}" if info.targets else f"is for the task {info.task}"
        advice = "Name one column for each number" if info.targets else "Leave target out"
        raise ConfigError(f"target is {target!r}, but the model {numbers}. {advice}.")


def _split_of(listing: Listing, split: str | None, data: str | os.PathLike[str]) -> str | None:
    """Return the split to score: the named one, else test, else val, else None for all photos."""
    there = {candidate.split for candidate in listing.candidates} - {None}
    if split is None:
        return next((name for name in ("test", "val") if name in there), None)
    if split not in there:
        has = ", ".join(sorted(name for name in there if name))
        word = SPLIT_OF_WORD.get(split.lower())
        meant = f": {word}" if word in there else ""
        has = (
            f"{has}. Name one of these{meant}"
            if has
            else "no splits. Leave out --split (split=) to score all photos"
        )
        raise DataError(f"{os.fsdecode(data)!r} has no {split!r} photos; it has {has}.")
    return split


def _labelled(
    photos: Sequence[Candidate], listing: Listing, info: ModelInfo, data: str | os.PathLike[str]
) -> tuple[list[Record], list[Quarantined], list[str]]:
    """Return the photos with the model's labels, those whose labels are wrong, and notes for the user."""
    if tasks.of(info.task).has_box and not info.num_box_classes:  # the model does not tell them
        photos = [dataclasses.replace(photo, class_name="") for photo in photos]
    else:
        refuse_missing_classes(listing, info.class_names)
    records = _records(photos, info.class_names, data)
    quarantined, notes = list(listing.quarantined), list(listing.notes)
    if tasks.of(info.task).has_box:
        records, done_to_boxes = place_boxes(records, {photo.path: photo for photo in photos}, quarantined)
        notes += done_to_boxes
    return records, quarantined, notes


def _records(
    photos: Sequence[Candidate], class_names: Sequence[str], data: str | os.PathLike[str]
) -> list[Record]:
    """Return the photos with the model's classes.

    Raises:
        DataError: The model does not know one.
    """
    index = {name: i for i, name in enumerate(class_names)}
    named = {name for photo in photos for name in (photo.class_name, *photo.labels) if name}
    if unknown := sorted(named - index.keys()):
        classes = "a class" if len(unknown) == 1 else f"{len(unknown):,} classes"
        raise DataError(
            f"{os.fsdecode(data)!r} has {classes} that the model does not know: "
            f"{listed(list(map(repr, unknown)), _MOST_NAMED)}.{did_you_mean(unknown[0], index)} "
            f"It knows {listed(list(index), _MOST_NAMED)}. Leave these photos out, or train with them."
        )
    return [record_of(photo, index, sha256="") for photo in photos]  # which nothing here asks for


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
