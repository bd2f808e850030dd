"""What is known about photos without a trained head: facts about each, and which show nearly the same.

The split and the folds keep near-duplicates together, so this comes before both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from headstart.errors import ImageError
from headstart.findings.duplicates import copies_of
from headstart.findings.near import groups_of, near_duplicates
from headstart.frozen.cache import Room
from headstart.frozen.photos import PhotoFacts, PhotoStore, photo_facts
from headstart.records import Dataset, Record


def near_pairs(records: Sequence[Record], vectors: np.ndarray, room: Room) -> list[tuple[int, int]]:
    """Return the pairs of rows whose photos are different files that show nearly the same.

    Args:
        records: N photos.
        vectors: (N, D) float32, their pooled features.
        room: Opens the store of facts; photos without stored facts are decoded.
    """
    is_copy = {copy for _, copy in copies_of(records)}
    rows, thumbnails = [], []
    found = photo_facts(((record.photo, record.sha256) for record in records), room)
    for row, facts in enumerate(found):
        if row not in is_copy and not isinstance(facts, ImageError):
            rows.append(row)
            thumbnails.append(facts.thumbnail)
    if len(rows) < 2:
        return []
    return [
        (rows[one], rows[other]) for one, other, _ in near_duplicates(vectors[rows], np.stack(thumbnails))
    ]


def with_near_duplicates(dataset: Dataset, near: Sequence[tuple[int, int]] | None) -> Dataset:
    """Return a data set whose photos know their near-duplicates: see ``Record.alike``."""
    if not near:
        return dataset
    records = list(dataset.records)
    groups = groups_of(near, len(records)).tolist()
    smallest: dict[int, str] = {}
    for record, group in zip(records, groups, strict=True):
        smallest[group] = min(smallest.get(group, record.sha256), record.sha256)
    for row in sorted({row for pair in near for row in pair}):
        records[row] = dataclasses.replace(records[row], alike=smallest[groups[row]])
    return dataclasses.replace(dataset, records=tuple(records))


def mostly_leaks(dataset: Dataset, near: Sequence[tuple[int, int]] | None) -> bool:
    """Return whether most of the given validation photos are near-duplicates of training photos.

    With such a split, its owner says that the model will be used on photos that it has nearly seen, for
    example further exposures of the same parts. Folds should then be like the split.
    """
    splits = [record.split for record in dataset.records]
    pairs = [(one, other) for pair in near or () for one, other in (pair, pair[::-1])]
    leaking = {one for one, other in pairs if splits[one] == "val" and splits[other] in ("train", None)}
    return 2 * len(leaking) > splits.count("val")


def stored_facts(records: Sequence[Record], room: Room) -> list[PhotoFacts | None]:
    """Return the facts of photos that are stored, without decoding any photo."""
    store = PhotoStore(room)
    try:
        return [store.get(record.sha256) for record in records]
    finally:
        store.close()
