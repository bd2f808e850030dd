"""Everything that can be found about the photos and labels of a data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from headstart import tasks
from headstart.columns import counted
from headstart.data.decisions import NONE, Decisions
from headstart.data.split import unit_numbers
from headstart.data.text import label_text, path_below
from headstart.findings.classes import find_class_problems, photos_per_class
from headstart.findings.duplicates import LabelledPhoto, copies_of, duplicates
from headstart.findings.faults import faulty_photos
from headstart.findings.finding import Finding, Findings
from headstart.findings.kept_facts import KeptFacts
from headstart.findings.near import groups_of
from headstart.findings.shortcuts import find_shortcuts
from headstart.findings.wrong_labels import (
    NOT_OFFERED,
    WrongLabel,
    wrong_classes,
    wrong_label_sets,
    wrong_numbers,
)
from headstart.packed import Packed, Some, values_of
from headstart.records import Dataset, Record


@dataclass(frozen=True, eq=False)
class Known:
    """What is known about the N photos of a data set.

    Attributes:
        splits: ``"train"``, ``"val"`` or ``"test"`` for each photo; empty if it has not been split.
        near: Pairs of rows that show nearly the same; None if they were not looked for.
        facts: Of those photos whose facts are known.
        outputs: (N, K), outputs of models that were trained without the photo: logits, or numbers in their
            own units; None if there are none.
        has_answer: (N,) bool, the photos with outputs; None as above.
        unchecked: What is not checked, and why, in sentences.
    """

    splits: Sequence[str]
    near: Sequence[tuple[int, int]] | None
    facts: KeptFacts
    outputs: np.ndarray | None = None
    has_answer: np.ndarray | None = None
    unchecked: Sequence[str] = ()


def find_all(dataset: Dataset, known: Known, decisions: Decisions = NONE) -> Findings:
    """Return everything that can be found about photos and labels.

    Args:
        dataset: N photos.
        known: What is known about them.
        decisions: Those of the owner; findings that they keep are counted only.
    """
    root, task = dataset.root, tasks.of(dataset.task)
    photos = _labelled_photos(dataset, known.splits)
    found = [
        *duplicates(photos, copies_of(dataset.records), known.near or ()),
        *_wrong_labels(dataset, known, photos),
        *_faulty_photos(known, photos),
        *_class_problems(dataset, known),
        *_shortcuts(dataset, known),
    ]
    unchecked = [*known.unchecked, *([f"wrong labels: {NOT_OFFERED}"] if task.has_box else [])]
    if num_unknown := len(photos) - len(known.facts):
        photos_without = counted(num_unknown, "photo")
        unchecked.append(f"faults and shortcuts of {photos_without}: their facts are not stored")
    found += (
        Finding(path_below(each.path, root), "faulty-photo", "error", f"It cannot be used: {each.reason}")
        for each in dataset.quarantined
    )
    return Findings(found, len(photos) + len(dataset.quarantined), decisions=decisions, unchecked=unchecked)


def find_leaks(
    dataset: Dataset,
    splits: Sequence[str],
    near: Sequence[tuple[int, int]] | None,
    decisions: Decisions = NONE,
) -> Findings:
    """Return the validation and test photos that repeat training photos.

    Args:
        dataset: N photos.
        splits: ``"train"``, ``"val"`` or ``"test"`` for each photo.
        near: Pairs of rows that show nearly the same; None if they were not looked for.
        decisions: Those of the owner; leaks that they keep are counted only.
    """
    photos = _labelled_photos(dataset, splits)
    found = duplicates(photos, copies_of(dataset.records), near or ())
    return Findings([each for each in found if each.kind == "leak"], len(photos), decisions=decisions)


def _labelled_photos(dataset: Dataset, splits: Sequence[str]) -> Sequence[LabelledPhoto]:
    has_numbers = tasks.of(dataset.task).has_numbers
    return Packed(
        LabelledPhoto,
        (
            LabelledPhoto(path_below(record.path, dataset.root), _label(record, dataset), split, has_numbers)
            for record, split in zip(dataset.records, splits, strict=True)
        ),
    )


def _label(record: Record, dataset: Dataset) -> str:
    """Return the label of a photo as text; of a box only its class, because boxes always differ."""
    if not dataset.class_names and not dataset.targets:
        return ""
    if tasks.of(dataset.task).has_box:
        return dataset.class_names[record.label]
    return label_text(record, dataset.task, dataset.class_names)


def _wrong_labels(dataset: Dataset, known: Known, photos: Sequence[LabelledPhoto]) -> Iterator[Finding]:
    if known.outputs is None or known.has_answer is None:
        return
    found: list[WrongLabel] = []
    records, names = dataset.records, dataset.class_names
    solver = tasks.of(dataset.task).solver
    match solver:
        case "classes":
            labels = np.array([record.label for record in records], int)
            found = wrong_classes(known.outputs, labels, names, known.has_answer)
        case "labels":
            sets = np.zeros((len(records), len(names)), bool)
            for row, record in enumerate(records):
                sets[row, list(record.labels)] = True
            found = wrong_label_sets(known.outputs, sets, names, known.has_answer)
        case "numbers":
            numbers = np.array([record.numbers for record in records], float)
            found = wrong_numbers(known.outputs, numbers, dataset.targets, known.has_answer)
    for each in found:
        path, suggestion = photos[each.row].path, f"label {each.suggestion}"
        yield Finding(path, "wrong-label", each.severity, each.sentence, "", suggestion)


def _faulty_photos(known: Known, photos: Sequence[LabelledPhoto]) -> Iterator[Finding]:
    """Yield photos that show nothing, too little, or something else."""
    rows = known.facts.rows
    if not rows:
        return
    groups = None if known.near is None else groups_of(known.near, len(photos))[rows]
    labels = list(values_of(photos, "label"))
    for each in faulty_photos(known.facts, [labels[row] for row in rows], groups):
        suggestion = "drop" if each.severity == "error" else ""
        yield Finding(
            photos[rows[each.row]].path, "faulty-photo", each.severity, each.sentence, "", suggestion
        )


def _class_problems(dataset: Dataset, known: Known) -> Iterator[Finding]:
    counts: dict[str, list[int]] = {}
    for side in ("train", "val"):
        rows = [row for row, split in enumerate(known.splits) if (split or "train") == side]
        of_side: Sequence[Record] = Some(dataset.records, rows)
        counts[side] = photos_per_class(of_side, dataset.task, len(dataset.class_names))
    for each in find_class_problems(dataset.class_names, counts["train"], counts["val"]):
        yield Finding(each.name, each.kind, each.severity, each.sentence)


def _shortcuts(dataset: Dataset, known: Known) -> Iterator[Finding]:
    """Yield properties of files that predict the class, for tasks with one class per photo."""
    rows = known.facts.rows
    if not tasks.of(dataset.task).has_class or not rows:
        return
    records = Some(dataset.records, rows)
    labels = np.array([record.label for record in records], int)
    for each in find_shortcuts(known.facts, labels, dataset.class_names, unit_numbers(records)):
        yield Finding(each.name, each.kind, each.severity, each.sentence)
