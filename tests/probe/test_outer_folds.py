"""Folds by which photos are scored: dealt by label, with units together, and by the photos alone."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from headstart.config import TrainConfig
from headstart.data.split import unit_names
from headstart.errors import DataError
from headstart.images.photo import Photo
from headstart.probe.outer_folds import folds_of, likely_val, pooled, split_photos
from headstart.records import Candidate, Dataset, Listing, Record


def records_of(classes: Sequence[int], **differing: Sequence[Any]) -> list[Record]:
    found = [Record(Photo(f"{row}.jpg"), label, None, f"{row:064x}") for row, label in enumerate(classes)]
    for name, values in differing.items():
        found = [
            dataclasses.replace(record, **{name: value}) for record, value in zip(found, values, strict=True)
        ]
    return found


def dataset_of(records: Sequence[Record], task: str = "classification") -> Dataset:
    names = ("cat", "dog") if task in ("classification", "multilabel") else ()
    return Dataset("", tuple(records), names, (), (), len(records), task, () if names else ("weight",))


PHOTOS = records_of(
    [0] * 20 + [1] * 40,
    group=[f"plant {row // 4}" if row < 12 else None for row in range(60)],
    alike=[f"{20:064x}" if row in (20, 21, 22) else None for row in range(60)],
)


def test_units_stay_in_one_fold_and_each_fold_has_its_share_of_each_class() -> None:
    fold = folds_of(PHOTOS, dataset_of(PHOTOS), 5, seed=0)
    names = unit_names(PHOTOS)
    assert len(set(names)) == 60 - 9 - 2
    assert len(set(zip(names, fold.tolist(), strict=True))) == len(set(names))
    for label, number in ((0, 20), (1, 40)):
        counts = Counter(fold[[record.label == label for record in PHOTOS]].tolist())
        assert sorted(counts) == [*range(5)]
        assert max(counts.values()) - min(counts.values()) <= (3 if number == 20 else 1)


def test_folds_depend_on_the_photos_and_the_seed_but_not_on_names_or_order() -> None:
    fold = folds_of(PHOTOS, dataset_of(PHOTOS), 5, seed=0)
    order = np.random.default_rng(0).permutation(len(PHOTOS))
    shuffled = [dataclasses.replace(PHOTOS[row], photo=Photo(f"other {row}.png")) for row in order]
    assert folds_of(shuffled, dataset_of(shuffled), 5, seed=0).tolist() == fold[order].tolist()
    assert folds_of(PHOTOS, dataset_of(PHOTOS), 5, seed=1).tolist() != fold.tolist()


def test_labels_and_numbers_are_dealt_evenly() -> None:
    sets = [(0,)] * 10 + [(0, 1)] * 10 + [()] * 10
    several = records_of([0] * 30, labels=sets)
    fold = folds_of(several, dataset_of(several, "multilabel"), 5, seed=0)
    assert all(Counter(fold[first : first + 10].tolist()) == dict.fromkeys(range(5), 2) for first in (0, 20))
    numbers = np.linspace(0, 1, 100)
    photos = records_of([0] * 100, numbers=[(each,) for each in numbers.tolist()])
    fold = folds_of(photos, dataset_of(photos, "regression"), 5, seed=0)
    means = [numbers[fold == each].mean() for each in range(5)]
    assert max(means) - min(means) < 0.06


@pytest.mark.parametrize(
    ("records", "task", "told"),
    [
        (records_of([0] * 9 + [1] * 3), "classification", "the class 'dog' has only 3 photos. Use --folds 3"),
        (records_of([0] * 9 + [1]), "classification", r"the class 'dog' has only 1 photo. Add photos."),
        (
            records_of([0] * 20, group=[None] * 10 + ["a"] * 5 + ["b"] * 5),
            "regression",
            None,
        ),
        (
            records_of([0] * 9 + [1] * 6, group=[None] * 9 + ["a", "b"] * 3),
            "classification",
            "'dog' has only 6 photos in 2 groups of photos that stay in one fold. Use --folds 2",
        ),
        (
            records_of([0] * 3, numbers=[(1.0,)] * 3),
            "regression",
            "there are only 3 photos. Use --folds 3",
        ),
    ],
)
def test_more_folds_than_units_are_refused_with_the_class(
    records: list[Record], task: str, told: str | None
) -> None:
    if told is None:
        records = [dataclasses.replace(record, numbers=(1.0,)) for record in records]
        assert len(set(folds_of(records, dataset_of(records, task), 5, seed=0).tolist())) == 5
        return
    with pytest.raises(DataError, match=told):
        folds_of(records, dataset_of(records, task), 5, seed=0)


def test_each_photo_but_the_test_photos_is_scored_in_one_fold_and_trained_on_in_no_run_of_it() -> None:
    dataset = dataset_of(PHOTOS)
    config = TrainConfig("data", folds=4, test=0.2)
    whole = split_photos(dataset, config, is_solved=True)
    assert not whole.val
    assert len(whole.train) + len(whole.test) == 60
    assert len(whole.fold) == len(whole.train)
    scored: list[str] = []
    for number in range(1, 5):
        splits = split_photos(dataset, dataclasses.replace(config, fold=number), is_solved=False)
        scored += [record.path for record in splits.test]
        names = [set(unit_names(each)) for each in (splits.train, splits.val, splits.test, whole.test)]
        assert all(names)
        assert len(set.union(*names)) == sum(map(len, names))
        in_fold = {
            record.path for record, fold in zip(whole.train, whole.fold, strict=True) if fold + 1 == number
        }
        assert {record.path for record in splits.test} == in_fold
    assert sorted(scored) == sorted(record.path for record in whole.train)
    last = split_photos(dataset, config, is_solved=False)  # whose validation photos choose its weights
    assert last.val
    assert last.test == whole.test
    assert not last.fold


def test_given_validation_photos_are_dealt_with_the_others_and_given_test_photos_are_kept() -> None:
    splits = ("train", "train", "val", "test")
    candidates = tuple(Candidate(Photo(f"{row}.jpg"), "cat", split) for row, split in enumerate(splits))
    listing = Listing("", candidates, ("cat",), (), (), 4)
    config = TrainConfig("data", folds=2)
    found = pooled(listing, config)
    assert [each.split for each in found.candidates] == [None, None, None, "test"]
    assert "1 validation photo of the data are dealt to the 2 folds" in found.notes[0]
    assert pooled(listing, TrainConfig("data")) is listing
    assert likely_val(config, is_solved=True) == 0
    assert likely_val(config, is_solved=False) == config.val_fraction
