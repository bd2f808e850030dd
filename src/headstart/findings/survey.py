"""What is known about photos without a trained head: facts about each, and which show nearly the same.

The split and the folds keep near-duplicates together, so this comes before both.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from typing import Final, Protocol

import numpy as np

from headstart import tasks
from headstart.findings.compared import ComparedPairs
from headstart.findings.duplicates import copies_of
from headstart.findings.near import groups_of, near_duplicates
from headstart.findings.thumbnails import Thumbnails
from headstart.frozen.cache import Room
from headstart.packed import Packed
from headstart.records import Dataset, Record

MOST_PHOTOS: Final = 50_000
"""With more photos, near-duplicates are not looked for: the time grows with the square of their number."""

MANY_PHOTOS: Final = 2000
"""From this number of photos on, the search takes seconds and shows its progress."""


def near_pairs(
    records: Sequence[Record],
    vectors: Callable[[], np.ndarray | None],
    room: Room | None,
    counting: Callable[[str, int], AbstractContextManager[Counting]] | None = None,
) -> list[tuple[int, int]] | None:
    """Return the pairs of rows whose photos are different files that show nearly the same.

    Args:
        records: N photos.
        vectors: Returns (N, D) float32, their pooled features; None if they have none.
        room: Opens the store of facts; photos without stored facts are decoded. None if nothing is stored.
        counting: Shows progress, if there are many photos (``Watchers.counting``).

    Returns:
        None if they were not looked for.
    """
    if len(records) > MOST_PHOTOS or (of_photos := vectors()) is None:
        return None
    is_copy = {copy for _, copy in copies_of(records)}
    places = [place for place in range(len(records)) if place not in is_copy]
    originals = [records[place] for place in places]
    is_shown = counting is not None and len(originals) >= MANY_PHOTOS
    with (
        counting("Near-duplicates", len(originals)) if counting and is_shown else nullcontext() as counter,
        closing(Thumbnails(originals, room)) as thumbnails,
    ):
        rows = np.array(thumbnails.rows, np.intp)
        if len(rows) < 2:
            return []
        places = [places[row] for row in thumbnails.rows]
        if len(places) < len(records):
            of_photos = of_photos[places]
        sha256 = [records[place].sha256 for place in places]
        with closing(ComparedPairs(sha256, lambda some: thumbnails(rows[some]), room)) as compared:
            progress = _Progress(counter, len(originals))
            pairs = near_duplicates(of_photos, compared, advance=progress.to)
    return [(places[one], places[other]) for one, other, _ in pairs]


class Counting(Protocol):
    """Counts photos."""

    def advance(self, photos: int) -> object:
        """Count some more."""


class _Progress:
    """Turns fractions of a whole into numbers of photos."""

    def __init__(self, counter: Counting | None, num_photos: int) -> None:
        self._counter, self._num_photos, self._num_done = counter, num_photos, 0

    def to(self, fraction: float) -> None:
        number = int(fraction * self._num_photos) - self._num_done
        if self._counter is not None and number > 0:
            self._num_done += number
            self._counter.advance(number)


def with_near_duplicates(dataset: Dataset, near: Sequence[tuple[int, int]] | None) -> Dataset:
    """Return a data set whose photos know their near-duplicates, which splits and folds keep together.

    There are two exceptions, in which ``Record.is_divided`` is set; intervals still count such photos as
    dependent. A group with more than half of the photos of a class cannot be kept together without losing the
    class on one side: the photos of a fixed camera, for example. And if most of the given validation photos
    are near-duplicates of training photos, the owner's split says that the model will be used on photos that
    it has nearly seen, such as further exposures of the same parts; folds are then like the split.

    Args:
        dataset: The photos; notes say which groups are divided.
        near: Pairs of rows that show nearly the same; None if they are not known.
    """
    if not near:
        return dataset
    is_like_split = _mostly_leaks(dataset, near)
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
        is_divided = is_like_split or 2 * number > sizes[label]
        if is_divided and not is_like_split:
            of = f" of {dataset.class_names[label]!r}" if tasks.of(dataset.task).has_class else ""
            notes.append(
                f"Warning: {number:,} of {sizes[label]:,} photos{of} look nearly the same, so they are not "
                f"kept on one side of splits and folds. Scores of such photos are optimistic."
            )
        smallest = min(records[row].sha256 for row in rows)
        for row in rows:
            records[row] = dataclasses.replace(records[row], alike=smallest, is_divided=is_divided)
    return dataclasses.replace(dataset, records=Packed(Record, records), notes=(*dataset.notes, *notes))


def _mostly_leaks(dataset: Dataset, near: Sequence[tuple[int, int]]) -> bool:
    """Return whether most of the given validation photos are near-duplicates of training photos."""
    splits = [record.split for record in dataset.records]
    groups = groups_of(near, len(splits)).tolist()
    trained = {group for group, split in zip(groups, splits, strict=True) if split in ("train", None)}
    leaking = sum(split == "val" and group in trained for group, split in zip(groups, splits, strict=True))
    return 2 * leaking > splits.count("val")
