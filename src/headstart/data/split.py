"""Train, validation and test photos: given splits stay, a missing validation split is made."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from headstart.data.records import Dataset, Record
from headstart.errors import DataError


@dataclass(frozen=True, slots=True)
class Splits:
    """Which photos are for what, each in the order of the dataset.

    Attributes:
        train: To learn from.
        val: To choose the best weights with.
        test: To be scored once, at the end; empty where the data have none.
        shared: How many val and test photos are, byte for byte, train photos too. Only given splits can
            share photos.
        contradictory: How many photos stand, byte for byte, under another class too.
    """

    train: tuple[Record, ...]
    val: tuple[Record, ...]
    test: tuple[Record, ...]
    shared: int
    contradictory: int


def split_dataset(dataset: Dataset, *, val_fraction: float, seed: int) -> Splits:
    """Return the dataset's own splits; without a val split, hold back a fraction of each class.

    The validation photos are the same whatever the files are called and in whatever order they come, and
    few of them change when photos are added.

    Args:
        dataset: The photos.
        val_fraction: Fraction of each class's training photos to hold back, above 0 and below 1; without
            effect where the data have a val split. Each class keeps a photo in train, and has one in val if
            it has two different ones (those that stand under another class too do not count).
        seed: Another seed, another choice.

    Raises:
        DataError: No class has two different photos, so there is nothing to hold back.
    """
    records = dataset.records
    train = tuple(record for record in records if record.split in (None, "train"))
    val = tuple(record for record in records if record.split == "val")
    test = tuple(record for record in records if record.split == "test")
    if not val:
        assert 0 < val_fraction < 1  # TrainConfig has checked it
        held_back = _hold_back(train, val_fraction, seed)
        if not held_back:
            raise DataError(
                "No class has two different photos, so none can be held back for validation. Add photos, or "
                "name a folder of validation photos: --val FOLDER"
            )
        val = tuple(record for record in train if record.sha256 in held_back)
        train = tuple(record for record in train if record.sha256 not in held_back)
    in_train = {record.sha256 for record in train}
    labels_of = _labels_of(records)
    return Splits(
        train=train,
        val=val,
        test=test,
        shared=sum(record.sha256 in in_train for record in val + test),
        contradictory=sum(len(labels_of[record.sha256]) > 1 for record in records),
    )


# scikit-learn's StratifiedGroupKFold makes equal folds only, keeps the fractions roughly, deals all photos
# anew when one is added, and costs 1.3 s of import.
def _hold_back(records: Sequence[Record], fraction: float, seed: int) -> set[str]:
    """Choose photos for validation by their bytes, so that identical files stay together."""
    labels_of = _labels_of(records)
    copies = Counter(record.sha256 for record in records)
    num_photos = Counter(record.label for record in records)
    photos_of: dict[int, list[str]] = defaultdict(list)
    for digest in sorted(labels_of, key=lambda digest: hashlib.sha256(f"{seed}:{digest}".encode()).digest()):
        for label in labels_of[digest]:
            photos_of[label].append(digest)

    held_back: set[str] = set()
    for label, digests in photos_of.items():
        if len(digests) < 2:
            continue
        # Photos of two classes have no right answer: they stay in train, where they cannot spoil a score.
        candidates = [digest for digest in digests if len(labels_of[digest]) == 1]
        wanted = min(max(int(fraction * num_photos[label] + 0.5), 1), num_photos[label] - 1)
        chosen: list[str] = []
        for digest in candidates:
            if copies[digest] <= wanted:
                chosen.append(digest)
                wanted -= copies[digest]
        if candidates and not chosen:  # every photo has more copies than are wanted
            chosen.append(min(candidates, key=copies.__getitem__))
        held_back.update(chosen)
    return held_back


def _labels_of(records: Sequence[Record]) -> dict[str, set[int]]:
    labels_of: dict[str, set[int]] = defaultdict(set)
    for record in records:
        labels_of[record.sha256].add(record.label)
    return labels_of
