"""Splits photos into train, val and test. Given splits are kept; a missing validation split is made."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from headstart import tasks
from headstart.config import Need
from headstart.errors import DataError
from headstart.records import Candidate, Dataset, Listing, Record, TaskName


@dataclass(frozen=True, slots=True)
class Splits:
    """The photos of each split, in the order of the dataset.

    Attributes:
        train: Training photos.
        val: Validation photos, by which the best weights are chosen.
        test: Test photos, scored once at the end; empty if the data have none.
        shared: Val and test photos that are exact copies of train photos; only given splits can have any.
        straddling: Number of groups with photos in more than one split; only given splits can have any.
        fold: The fold of each training photo, counted from 0, if this run scores them by folds; it has no
            validation photos then. Otherwise empty.
    """

    train: tuple[Record, ...]
    val: tuple[Record, ...]
    test: tuple[Record, ...]
    shared: tuple[Record, ...] = ()
    straddling: int = 0
    fold: tuple[int, ...] = ()


def split_dataset(dataset: Dataset, *, val_fraction: float, seed: int, test_fraction: float = 0.0) -> Splits:
    """Return the splits of the dataset; missing ones are fractions of the training photos.

    The split is stratified: the fraction applies to each class, to the photos of each label, or to each
    range of a number; for boxes without classes, to all photos. Identical photos, near-duplicates and photos
    of one group stay on one side, so the fractions are approximate. The choice does not depend on file names
    or order, and adding photos moves few others.

    Args:
        dataset: The photos.
        val_fraction: Fraction to hold out, above 0 and below 1; ignored if the data have a val split. Each
            class keeps a photo in train, and gets one in val if it has two different photos in two groups
            (photos that also occur under another class do not count). The same holds for each label, unless
            photos shared with other labels prevent it.
        seed: Random seed of the choice.
        test_fraction: Fraction to hold out as a test split, likewise; 0 for none. Ignored if the data have a
            test split. Together with ``val_fraction``, it is below 1.

    Raises:
        DataError: No class has two different photos or groups, so nothing can be held out.
    """
    records = dataset.records
    train = tuple(record for record in records if record.split in (None, "train"))
    val = tuple(record for record in records if record.split == "val")
    test = tuple(record for record in records if record.split == "test")
    if test_fraction and not test:
        train, test = hold_out(train, dataset, test_fraction, f"test {seed}", "testing")
        val_fraction /= 1 - test_fraction  # of the rest
    if not val:
        train, val = hold_out(train, dataset, val_fraction, f"{seed}", "validation")
    return splits_of(train, val, test)


def splits_of(train: tuple[Record, ...], val: tuple[Record, ...], test: tuple[Record, ...]) -> Splits:
    """Return splits with what they share: copies and groups."""
    in_train = {record.sha256 for record in train}
    sides: dict[str, set[int]] = defaultdict(set)
    for side, of_side in enumerate((train, val, test)):
        for record in of_side:
            if record.group is not None:
                sides[record.group].add(side)
    return Splits(
        train=train,
        val=val,
        test=test,
        shared=tuple(record for record in val + test if record.sha256 in in_train),
        straddling=sum(len(each) > 1 for each in sides.values()),
    )


def hold_out(
    train: tuple[Record, ...], dataset: Dataset, fraction: float, seed: str, purpose: str
) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
    """Return the photos that stay, and those that are held out: see ``split_dataset``.

    Args:
        train: N photos.
        dataset: Their task and classes.
        fraction: Fraction to hold out, above 0 and below 1.
        seed: Random seed of the choice, as text.
        purpose: What they are held out for, for messages.

    Raises:
        DataError: Nothing can be held out.
    """
    assert 0 < fraction < 1  # TrainConfig has checked it
    held_back = _hold_back(train, dataset.task, fraction, seed)
    if not held_back:
        answers = _answers(train, dataset.task)
        if twice := [record.path for record in train if len(answers[record.sha256]) > 1]:
            raise DataError(
                f"{len(twice)} of {len(train)} photos occur twice, byte for byte, with different "
                f"labels, so none can be held back for {purpose}: {twice[0]!r}, for example. Remove the "
                "wrong ones."
            )
        what = "No class has" if dataset.class_names else "There are no"
        which = "photos of two different groups" if any(r.group for r in train) else "two different photos"
        raise DataError(
            f"{what} {which}, so none can be held back for {purpose}. Add photos, or name a folder of "
            "validation photos: --val FOLDER"
        )
    held_out = tuple(record for record in train if record.sha256 in held_back)
    return tuple(record for record in train if record.sha256 not in held_back), held_out


def given_splits(listing: Listing) -> set[Need]:
    """Return what ``unused_settings`` calls the splits that the data bring, so that none is made."""
    given = {candidate.split for candidate in listing.candidates}
    needs: dict[str, Need] = {"val": "split", "test": "test"}
    return {need for split, need in needs.items() if split in given}


def likely_counts(
    photos: Sequence[Candidate], val_fraction: float, test_fraction: float = 0.0
) -> tuple[int, int, int]:
    """Estimate the numbers of training, validation and test photos, before any photo has been read.

    Args:
        photos: The listed photos; copies, groups and unreadable photos are not known yet.
        val_fraction: As for ``split_dataset``; 0 if no validation photos are held out.
        test_fraction: As for ``split_dataset``.
    """
    splits = Counter(photo.split for photo in photos)
    per_class = Counter(photo.class_name for photo in photos if photo.split in (None, "train"))
    num_train, num_val, num_test = per_class.total(), splits["val"], splits["test"]
    if test_fraction and not num_test:
        num_test = sum(_share(test_fraction, num) for num in per_class.values())
    if val_fraction and not splits["val"]:
        num_val = sum(_share(val_fraction, num) for num in per_class.values())
    held_out = (num_val - splits["val"]) + (num_test - splits["test"])
    return num_train - held_out, num_val, num_test


def _share(fraction: float, num_photos: int) -> int:
    """Return how many photos of a stratum are held out: at least one, and at least one stays."""
    return min(max(int(fraction * num_photos + 0.5), 1), num_photos - 1)


@dataclass(slots=True)
class _Unit:
    """Photos that stay on one side of the split: identical ones, near-duplicates, or those of one group.

    Attributes:
        photos: The SHA-256 of each of its photos.
        counts: Number of its photos in each stratum.
        may_leave: Whether it may be held out. Identical photos with contradictory labels stay in train,
            where they cannot distort a score.
        has_group: Whether it is a group that the data name.
    """

    photos: set[str]
    counts: Counter[int]
    may_leave: bool
    has_group: bool

    @property
    def is_group(self) -> bool:
        """Whether it may contain different photos."""
        return self.has_group or len(self.photos) > 1


# Libraries deal all photos anew when one is added: scikit-learn's StratifiedGroupKFold, which makes equal
# folds only, keeps fractions roughly and costs 1.3 s of import, and iterative-stratification, which follows a
# shuffled order and knows no groups.
def _hold_back(records: Sequence[Record], task: TaskName, fraction: float, seed: str) -> set[str]:
    """Choose photos for validation by their bytes and groups.

    Strata are processed one by one, beginning with the smallest, until the fraction of each is reached; each
    unit is chosen at most once. If each photo belongs to one stratum, this is a stratified split; if photos
    belong to several, it is iterative stratification (Sechidis, Tsoumakas and Vlahavas 2011). The order is
    that of the hashes, so that an added photo moves few others.
    """
    names = unit_names(records)
    strata = tasks.of(task).strata(records, names, fraction)
    units = _units(records, names, strata, task, seed)
    num_photos: Counter[int] = Counter(stratum for each in strata for stratum in each)
    units_of: dict[int, list[_Unit]] = defaultdict(list)
    for unit in units:
        for stratum in unit.counts:
            units_of[stratum].append(unit)
    wanted = {stratum: _share(fraction, num) for stratum, num in num_photos.items()}
    in_val: Counter[int] = Counter()
    held_back: set[str] = set()

    def over(unit: _Unit) -> int:
        """Return by how many photos a unit would exceed the number still wanted."""
        return sum(max(in_val[each] + num - wanted[each], 0) for each, num in unit.counts.items())

    def leaves_some(unit: _Unit) -> bool:
        return all(in_val[each] + num < num_photos[each] for each, num in unit.counts.items())

    def hold(unit: _Unit) -> None:
        unit.may_leave = False
        in_val.update(unit.counts)
        held_back.update(unit.photos)

    for stratum in sorted(units_of, key=lambda stratum: (num_photos[stratum], stratum)):
        if len(units_of[stratum]) < 2:
            continue
        candidates = [unit for unit in units_of[stratum] if unit.may_leave]
        for unit in candidates:
            if in_val[stratum] < wanted[stratum] and over(unit) == 0 and leaves_some(unit):
                hold(unit)
        # No unit is small enough, or, where units are large, one more comes nearer to the fraction.
        rest = [unit for unit in candidates if unit.may_leave and leaves_some(unit)]
        if rest and in_val[stratum] < wanted[stratum]:
            nearest = min(rest, key=over)
            missing = wanted[stratum] - in_val[stratum]
            if in_val[stratum] == 0 or (nearest.is_group and over(nearest) < missing):
                hold(nearest)
        for unit in candidates:
            unit.may_leave = False  # the rest stays in train
    return held_back


def unit_names(records: Sequence[Record]) -> list[str]:
    """Return the unit of each photo, which stays on one side of a split.

    It is named after the photo's hash or its group; of photos and groups that are connected by copies or
    near-duplicates, after the first.
    """
    return connected(
        (record.sha256, record.group, None if record.is_divided else record.alike) for record in records
    )


def unit_numbers(records: Sequence[Record]) -> np.ndarray:
    """Return the unit of each photo as a number, (N,) int, in the order of the names that they would have."""
    if any(record.group is not None or record.alike is not None for record in records):
        return np.unique(unit_names(records), return_inverse=True)[1]
    hashes = b"".join(bytes.fromhex(record.sha256) for record in records)
    parts = np.frombuffer(hashes, ">u8").reshape(-1, 4)
    order = np.lexsort(parts.T[::-1])
    is_other = (parts[order[1:]] != parts[order[:-1]]).any(1)
    numbers = np.zeros(len(records), np.intp)
    numbers[order[1:]] = np.cumsum(is_other)
    return numbers


def connected(photos: Iterable[tuple[str, str | None, str | None]]) -> list[str]:
    """Return the name of the unit of each photo: see ``unit_names``.

    Args:
        photos: Hash, group and smallest hash of the near-duplicates of each photo; None or empty if unknown.
    """
    photos = list(photos)
    name_of: dict[str, str] = {}

    def first(name: str) -> str:
        while name_of.setdefault(name, name) != name:
            name_of[name] = name = name_of[name_of[name]]
        return name

    def connect(one: str, other: str) -> None:
        low, high = sorted((first(one), first(other)))  # "group" before "photo": no new photo renames a group
        name_of[high] = low

    for sha256, group, alike in photos:
        if group:
            connect(f"group {group}", f"photo {sha256}")
        if alike:
            connect(f"photo {alike}", f"photo {sha256}")
    return [first(f"photo {sha256}") for sha256, _, _ in photos]


def _units(
    records: Sequence[Record],
    names: Sequence[str],
    strata: Sequence[tuple[int, ...]],
    task: TaskName,
    seed: str,
) -> list[_Unit]:
    """Return the units of the photos, in the order of their hashes."""
    answers = _answers(records, task)
    units: dict[str, _Unit] = {}
    for name, record, of_record in zip(names, records, strata, strict=True):
        unit = units.setdefault(name, _Unit(set(), Counter(), True, name.startswith("group ")))
        unit.photos.add(record.sha256)
        unit.counts.update(of_record)
        unit.may_leave &= len(answers[record.sha256]) == 1

    def order(name: str) -> bytes:
        return hashlib.sha256(
            f"{seed}:{name.removeprefix('photo ')}".encode(errors="surrogateescape")
        ).digest()

    return [units[name] for name in sorted(units, key=order)]


def _answers(records: Sequence[Record], task: TaskName) -> dict[str, set[object]]:
    """Return all labels of each photo, by its hash; identical photos may have different labels."""
    answers: dict[str, set[object]] = defaultdict(set)
    for record in records:
        answers[record.sha256].add(tasks.of(task).answer(record))
    return answers
