"""What is known about photos without a trained head: facts about each, and which show nearly the same.

The split and the folds keep near-duplicates together, so this comes before both.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from headstart import tasks
from headstart.errors import ImageError
from headstart.findings.compared import ComparedPairs
from headstart.findings.duplicates import copies_of
from headstart.findings.near import groups_of, near_duplicates
from headstart.frozen.cache import Room
from headstart.frozen.photos import THUMBNAIL_PX, PhotoFacts, PhotoStore, photo_facts
from headstart.records import Dataset, Record

MOST_PHOTOS: Final = 50_000
"""With more photos, near-duplicates are not looked for: the time grows with the square of their number."""


def near_pairs(
    records: Sequence[Record], vectors: Callable[[], np.ndarray | None], room: Room | None
) -> list[tuple[int, int]] | None:
    """Return the pairs of rows whose photos are different files that show nearly the same.

    Args:
        records: N photos.
        vectors: Returns (N, D) float32, their pooled features; None if they have none.
        room: Opens the store of facts; photos without stored facts are decoded. None if nothing is stored.

    Returns:
        None if they were not looked for.
    """
    if len(records) > MOST_PHOTOS or (of_photos := vectors()) is None:
        return None
    is_copy = {copy for _, copy in copies_of(records)}
    thumbnails = np.empty((len(records), THUMBNAIL_PX, THUMBNAIL_PX), np.uint8)
    rows: list[int] = []
    found = photo_facts(((record.photo, record.sha256) for record in records), room)
    for row, facts in enumerate(found):
        if row not in is_copy and not isinstance(facts, ImageError):
            thumbnails[len(rows)] = facts.thumbnail
            rows.append(row)
    if len(rows) < 2:
        return []
    if len(rows) < len(records):
        of_photos = of_photos[rows]
    thumbnails = thumbnails[: len(rows)]
    compared = ComparedPairs([records[row].sha256 for row in rows], thumbnails, room)
    try:
        pairs = near_duplicates(of_photos, thumbnails, compare=compared)
    finally:
        compared.close()
    return [(rows[one], rows[other]) for one, other, _ in pairs]


def with_near_duplicates(dataset: Dataset, near: Sequence[tuple[int, int]] | None) -> Dataset:
    """Return a data set whose photos know their near-duplicates, which splits and folds keep together.

    There are two exceptions. A group with more than half of the photos of a class cannot be kept together
    without losing the class on one side: the photos of a fixed camera, for example. And if most of the
    given validation photos are near-duplicates of training photos, the owner's split says that the model
    will be used on photos that it has nearly seen, such as further exposures of the same parts; folds are
    then like the split.

    Args:
        dataset: The photos; ``Record.alike`` is set, and notes say which groups are divided.
        near: Pairs of rows that show nearly the same; None if they are not known.
    """
    if not near or _mostly_leaks(dataset, near):
        return dataset
    records = list(dataset.records)
    rows_of: dict[int, list[int]] = defaultdict(list)
    for row, group in enumerate(groups_of(near, len(records)).tolist()):
        rows_of[group].append(row)
    sizes = Counter(record.label for record in records)
    notes = []
    for rows in rows_of.values():
        label, number = Counter(records[row].label for row in rows).most_common(1)[0]
        if len(rows) == 1:
            continue
        if 2 * number > sizes[label]:
            of = f" of {dataset.class_names[label]!r}" if tasks.of(dataset.task).has_class else ""
            notes.append(
                f"Warning: {number:,} of {sizes[label]:,} photos{of} look nearly the same, so they are not "
                f"kept on one side of splits and folds. Scores of such photos are optimistic."
            )
            continue
        smallest = min(records[row].sha256 for row in rows)
        for row in rows:
            records[row] = dataclasses.replace(records[row], alike=smallest)
    return dataclasses.replace(dataset, records=tuple(records), notes=(*dataset.notes, *notes))


def _mostly_leaks(dataset: Dataset, near: Sequence[tuple[int, int]]) -> bool:
    """Return whether most of the given validation photos are near-duplicates of training photos."""
    splits = [record.split for record in dataset.records]
    groups = groups_of(near, len(splits)).tolist()
    trained = {group for group, split in zip(groups, splits, strict=True) if split in ("train", None)}
    leaking = sum(split == "val" and group in trained for group, split in zip(groups, splits, strict=True))
    return 2 * leaking > splits.count("val")


def stored_facts(records: Sequence[Record]) -> list[PhotoFacts | None]:
    """Return the facts of photos that are stored, without decoding any photo."""
    store = PhotoStore(Room(lambda _: None))  # if it cannot be opened, this has been said before
    try:
        return [store.get(record.sha256) for record in records]
    finally:
        store.close()
