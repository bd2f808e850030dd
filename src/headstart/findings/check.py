"""Everything that can be found about the photos and labels of a data set."""

from __future__ import annotations

from collections.abc import Sequence

from headstart.data.decisions import Decisions
from headstart.data.text import label_text, path_below
from headstart.findings.duplicates import LabelledPhoto, copies_of, duplicates
from headstart.findings.finding import Findings
from headstart.frozen.photos import PhotoFacts
from headstart.probe.photos import OutOfFold
from headstart.records import Dataset


def find_all(
    dataset: Dataset,
    splits: Sequence[str],
    near: Sequence[tuple[int, int]] | None,
    facts: Sequence[PhotoFacts | None],
    out_of_fold: OutOfFold | None,
    decisions: Decisions,
    unchecked: Sequence[str] = (),
) -> Findings:
    """Return everything that can be found about photos and labels.

    Args:
        dataset: N photos.
        splits: ``"train"``, ``"val"`` or ``"test"`` for each photo; empty if it has not been split.
        near: Pairs of rows that show nearly the same; None if they were not looked for.
        facts: Of each photo; None where they are not known.
        out_of_fold: Answers for the N photos by heads that were solved without them; None if there are none.
        decisions: Those of the owner; findings that they keep are counted only.
        unchecked: What is not checked, and why, in sentences.
    """
    root, labelling = dataset.root, (dataset.task, dataset.class_names)
    photos = [
        LabelledPhoto(path_below(record.path, root), label_text(record, *labelling), split)
        for record, split in zip(dataset.records, splits, strict=True)
    ]
    found = list(duplicates(photos, copies_of(dataset.records), near or ()))
    unreadable = [(path_below(each.path, root), each.reason) for each in dataset.quarantined]
    return Findings(found, len(photos), decisions=decisions, unchecked=unchecked, unreadable=unreadable)
