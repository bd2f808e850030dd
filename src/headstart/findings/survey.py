"""What is known about photos before a head is trained: facts about each photo, and which are nearly the same.

The split and the folds keep near-duplicates together, so this comes before both.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstart.errors import ImageError
from headstart.findings.duplicates import copies_of
from headstart.findings.near import groups_of, near_duplicates
from headstart.frozen.cache import Room
from headstart.frozen.photos import PhotoFacts, photo_facts
from headstart.records import Dataset, Record


@dataclass(frozen=True, eq=False)
class Survey:
    """What is known about the N photos of a data set.

    Attributes:
        facts: Of each photo; None for photos that could not be decoded again.
        copies: Pairs of rows with the same bytes: the first photo and each of its copies.
        near: Pairs of rows of different photos that show nearly the same; None if no features were computed.
    """

    facts: Sequence[PhotoFacts | None]
    copies: Sequence[tuple[int, int]]
    near: Sequence[tuple[int, int]] | None


def survey(records: Sequence[Record], vectors: np.ndarray | None, room: Room) -> Survey:
    """Look at photos that have been read.

    Args:
        records: N photos.
        vectors: (N, D) float32, their pooled features; None if there are none.
        room: Opens the store of facts; photos without stored facts are decoded.
    """
    found = photo_facts(((record.photo, record.sha256) for record in records), room)
    facts = [None if isinstance(each, ImageError) else each for each in found]
    copies = list(copies_of(records))
    near = None if vectors is None else _near(vectors, facts, copies)
    return Survey(facts, copies, near)


def with_near_duplicates(dataset: Dataset, near: Sequence[tuple[int, int]] | None) -> Dataset:
    """Return a data set whose photos know their near-duplicates: see ``Record.alike``."""
    if not near:
        return dataset
    records = list(dataset.records)
    groups = groups_of(near, len(records))
    smallest: dict[int, str] = {}
    for record, group in zip(records, groups.tolist(), strict=True):
        smallest[group] = min(smallest.get(group, record.sha256), record.sha256)
    for row in sorted({row for pair in near for row in pair}):
        records[row] = dataclasses.replace(records[row], alike=smallest[int(groups[row])])
    return dataclasses.replace(dataset, records=tuple(records))


def _near(
    vectors: np.ndarray, facts: Sequence[PhotoFacts | None], copies: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Return the pairs of near-duplicates among the photos without their copies."""
    is_copy = {copy for _, copy in copies}
    rows = [row for row, each in enumerate(facts) if each is not None and row not in is_copy]
    if len(rows) < 2:
        return []
    thumbnails = np.stack([each.thumbnail for row in rows if (each := facts[row]) is not None])
    return [(rows[one], rows[other]) for one, other in near_duplicates(vectors[rows], thumbnails)]
