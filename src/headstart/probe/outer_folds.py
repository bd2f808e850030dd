"""The folds by which photos are scored: each photo by a model that was trained without its fold.

The folds that choose a penalty are others: they divide the photos that a model is trained on.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from headstart import tasks
from headstart.columns import counted
from headstart.config import TrainConfig
from headstart.data.split import Splits, hold_out, split_dataset, splits_of, unit_names
from headstart.errors import DataError
from headstart.packed import Packed
from headstart.probe.folds import deal_folds
from headstart.records import Candidate, Dataset, Listing, Record


def pooled(listing: Listing, config: TrainConfig) -> Listing:
    """Return the listing without its validation split if photos are scored by folds, with a note."""
    num_val = sum(candidate.split == "val" for candidate in listing.candidates)
    if config.folds is None or not num_val:
        return listing
    note = (
        f"The {counted(num_val, 'validation photo')} of the data are dealt to the {config.folds} folds with "
        f"the training photos. To keep them apart, name the folder of the training photos alone."
    )
    candidates = Packed(
        Candidate,
        (
            dataclasses.replace(each, split=None) if each.split in ("train", "val") else each
            for each in listing.candidates
        ),
    )
    return dataclasses.replace(listing, candidates=candidates, notes=(*listing.notes, note))


def likely_val(config: TrainConfig, *, is_solved: bool) -> float:
    """Return the fraction that is held out for validation; 0 if folds score every photo in the run itself."""
    return 0.0 if is_solved and config.is_by_folds else config.val_fraction


def split_photos(
    dataset: Dataset, config: TrainConfig, *, is_solved: bool, dealt: Mapping[str, int] | None = None
) -> Splits:
    """Return the splits of a run.

    Args:
        dataset: The photos.
        config: The settings. With ``fold``, its photos are the test photos, and other test photos are left
            out. With ``folds`` alone, a head that is solved has no validation photos, but a fold for each
            training photo; a network that trains in steps has validation photos that choose its weights, and
            is scored by runs of their own, which have ``fold``.
        is_solved: Whether the run only solves a head.
        dealt: What ``deal`` has returned for these photos, if the runs of a series share it.

    Raises:
        DataError: The photos cannot be split.
    """
    seed, val_fraction = config.seed, config.val_fraction
    if config.folds is None or (config.fold is None and not is_solved and dealt is None):
        return split_dataset(dataset, seed=seed, val_fraction=val_fraction, test_fraction=config.test)
    dealt = deal(dataset, config) if dealt is None else dealt
    fold_of = [0 if record.split == "test" else dealt[record.sha256] for record in dataset.records]
    pairs = [*zip(dataset.records, fold_of, strict=True)]
    rest = tuple(record for record, fold in pairs if fold)
    if config.fold is not None:
        train = tuple(record for record, fold in pairs if fold not in (0, config.fold))
        scored = tuple(record for record, fold in pairs if fold == config.fold)
        return Splits(*hold_out(train, dataset, val_fraction, f"{seed}", "validation"), scored)
    test = tuple(record for record, fold in pairs if not fold)
    if is_solved:
        in_fold = tuple(fold - 1 for fold in fold_of if fold)
        return dataclasses.replace(splits_of(rest, (), test), fold=in_fold)
    if not any(record.split == "test" for record in test):
        val_fraction /= 1 - config.test  # of the rest, as without folds
    return splits_of(*hold_out(rest, dataset, val_fraction, f"{seed}", "validation"), test)


def deal(dataset: Dataset, config: TrainConfig) -> dict[str, int]:
    """Deal the photos to folds.

    Args:
        dataset: The photos.
        config: The settings, with ``folds``.

    Returns:
        The fold of each photo, from 1, by its SHA-256; 0 for those that are held out as test photos. Test
        photos of the data are left out.

    Raises:
        DataError: The photos cannot be dealt.
    """
    assert config.folds is not None
    rest, test = _without_test(dataset, config)
    fold = folds_of(rest, dataset, config.folds, config.seed) + 1
    held_out = {record.sha256: 0 for record in test if record.split != "test"}
    return held_out | {record.sha256: each for record, each in zip(rest, fold.tolist(), strict=True)}


def folds_of(records: Sequence[Record], dataset: Dataset, num_folds: int, seed: int) -> np.ndarray:
    """Deal photos to folds, stratified by their labels.

    Identical photos, near-duplicates and photos of one group stay in one fold. The folds depend on the photos
    and the seed, and not on the names or the order of files.

    Args:
        records: N photos.
        dataset: Their task and classes.
        num_folds: F, number of folds.
        seed: Random seed.

    Returns:
        (N,), the fold of each photo, from 0 to F - 1.

    Raises:
        DataError: There are fewer units than folds, in all or in a class.
    """
    names = unit_names(records)
    _refuse_few(records, names, dataset, num_folds)
    numbers = {
        name: number for number, name in enumerate(sorted(set(names), key=lambda name: _order(name, seed)))
    }
    strata = tasks.of(dataset.task).strata(records, names, 1 / num_folds)
    columns: dict[int, int] = {each: i for i, each in enumerate(sorted({s for of in strata for s in of}))}
    has = np.zeros((len(records), len(columns)), bool)
    for row, of_record in enumerate(strata):
        has[row, [columns[each] for each in of_record]] = True
    return deal_folds(has, np.array([numbers[name] for name in names]), num_folds)


def _without_test(dataset: Dataset, config: TrainConfig) -> tuple[tuple[Record, ...], tuple[Record, ...]]:
    """Return the photos that are dealt to folds, and the test photos."""
    test = tuple(record for record in dataset.records if record.split == "test")
    rest = tuple(record for record in dataset.records if record.split != "test")
    if config.test and not test:
        return hold_out(rest, dataset, config.test, f"test {config.seed}", "testing")
    return rest, test


def _refuse_few(records: Sequence[Record], names: Sequence[str], dataset: Dataset, num_folds: int) -> None:
    """Raise ``DataError`` if there are not enough photos that may be in different folds."""
    units_of: dict[str, set[str]] = defaultdict(set)
    for record, name in zip(records, names, strict=True):
        units_of[dataset.class_names[record.label] if tasks.of(dataset.task).has_class else ""].add(name)
    scarce = min(units_of, key=lambda each: (len(units_of[each]), each))
    num_units = len(units_of[scarce])
    if num_units >= num_folds:
        return
    what = f"the class {scarce!r} has" if scarce else "there are"
    photos = Counter(record.label for record in records)
    num = photos[dataset.class_names.index(scarce)] if scarce else len(records)
    of_units = (
        "" if num == num_units else f" in {counted(num_units, 'group')} of photos that stay in one fold"
    )
    advice = f"Use --folds {num_units} (folds={num_units}), or add" if num_units > 1 else "Add"
    raise DataError(
        f"folds is {num_folds}, but {what} only {counted(num, 'photo')}{of_units}. {advice} photos."
    )


def _order(name: str, seed: int) -> bytes:
    text = f"folds {seed}:{name.removeprefix('photo ')}"
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()
