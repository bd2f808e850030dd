"""Splits: given ones stay; a made one is stratified, leak-free and the same everywhere."""

import dataclasses
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.data.split import Splits, likely_counts, split_dataset
from headstart.errors import DataError
from headstart.images.photo import Photo
from headstart.records import Candidate, Dataset, Record


def dataset_of(records: list[Record]) -> Dataset:
    num_classes = 1 + max(record.label for record in records)
    names = tuple(f"class {label:03}" for label in range(num_classes))
    return Dataset("photos", tuple(records), names, (), (), len(records))


def distinct(counts: list[int], split: str | None = None, prefix: str = "photos") -> list[Record]:
    """As many different photos per class as ``counts`` says."""
    return [
        Record(Photo(f"{prefix}/{label}/{number}.jpg"), label, split, f"{label:08x}{number:056x}")
        for label, count in enumerate(counts)
        for number in range(count)
    ]


def digests(records) -> set[str]:
    return {record.sha256 for record in records}


def per_class(records) -> Counter:
    return Counter(record.label for record in records)


@pytest.mark.parametrize(
    ("fraction", "counts", "expected"),
    [
        (0.2, [100, 10, 5], [20, 2, 1]),
        (0.2, [7, 8, 13], [1, 2, 3]),  # 1.4, 1.6, 2.6
        (0.2, [1, 2, 3], [0, 1, 1]),  # one stays in train; two or more give one
        (0.5, [3, 4], [2, 2]),
        (0.99, [10, 2], [9, 1]),  # train keeps one
        (0.001, [50, 20], [1, 1]),
    ],
)
def test_each_class_gives_its_fraction_exactly(fraction, counts, expected):
    splits = split_dataset(dataset_of(distinct(counts)), val_fraction=fraction, seed=3)
    assert [per_class(splits.val)[label] for label in range(len(counts))] == expected
    assert len(splits.train) + len(splits.val) == sum(counts)
    assert splits.test == ()
    assert splits.shared == ()
    listed = [Candidate(record.photo, str(record.label), None) for record in distinct(counts)]
    assert likely_counts(listed, fraction) == (len(splits.train), len(splits.val), 0)
    assert likely_counts([*listed[1:], Candidate(Photo("v.jpg"), "0", "val")], fraction) == (
        len(listed) - 1,
        1,
        0,
    )


def test_a_test_split_is_held_out_first_and_validation_photos_come_from_the_rest():
    dataset = dataset_of(distinct([100, 40]))
    splits = split_dataset(dataset, val_fraction=0.2, test_fraction=0.3, seed=1)
    assert (per_class(splits.test), per_class(splits.val)) == ({0: 30, 1: 12}, {0: 20, 1: 8})
    assert Counter(splits.train + splits.val + splits.test) == Counter(dataset.records)
    listed = [Candidate(record.photo, str(record.label), None) for record in dataset.records]
    assert likely_counts(listed, 0.2, 0.3) == (70, 28, 42)
    given = split_dataset(
        dataset_of([*distinct([100, 40]), *distinct([3, 3], "test", "t")]),
        val_fraction=0.2,
        test_fraction=0.3,
        seed=1,
    )
    assert (len(given.test), len(given.val)) == (6, 28)


def test_near_duplicates_stay_on_one_side_and_are_ordered_by_their_smallest_hash():
    records = distinct([60])
    alike = [
        dataclasses.replace(record, alike=records[number // 3 * 3].sha256)
        for number, record in enumerate(records)
    ]
    splits = split_dataset(dataset_of(alike), val_fraction=0.2, seed=0)
    assert not {record.alike for record in splits.train} & {record.alike for record in splits.val}
    assert len(splits.val) == 12
    fewer = split_dataset(dataset_of(alike[:-1]), val_fraction=0.2, seed=0)
    assert len(digests(fewer.val) ^ digests(splits.val)) <= 4


@st.composite
def photo_lists(draw) -> list[Record]:
    """Photos with copies, some of them in two classes."""
    contents = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 15)), min_size=4, max_size=60))
    return [
        Record(Photo(f"{n}.jpg"), label, None, f"{content:064x}")
        for n, (label, content) in enumerate(contents)
    ]


@settings(max_examples=300, deadline=None)
@given(records=photo_lists(), fraction=st.floats(0.01, 0.99), seed=st.integers(0, 5))
def test_identical_photos_never_straddle_the_split_and_every_class_can_be_learned(records, fraction, seed):
    labels_of: dict[str, set[int]] = {}
    for record in records:
        labels_of.setdefault(record.sha256, set()).add(record.label)
    try:
        splits = split_dataset(dataset_of(records), val_fraction=fraction, seed=seed)
    except DataError:
        splits = Splits(tuple(records), (), ())
    assert Counter(splits.train + splits.val) == Counter(records)
    assert not digests(splits.train) & digests(splits.val)
    assert splits.shared == ()
    for label in {record.label for record in records}:
        of_class = [record for record in records if record.label == label]
        assert per_class(splits.train)[label] >= 1
        one_class = {r.sha256 for r in of_class if len(labels_of[r.sha256]) == 1}
        in_val = per_class(splits.val)[label]
        if one_class and len(digests(of_class)) >= 2:
            copies = Counter(record.sha256 for record in of_class)
            most_wanted = max(int(fraction * len(of_class) + 0.5), 1)
            assert 1 <= in_val <= max(most_wanted, min(copies[digest] for digest in one_class))
        else:
            assert in_val == 0
    assert all(len(labels_of[record.sha256]) == 1 for record in splits.val)


def test_copies_count_towards_the_fraction():
    copies = [
        Record(Photo(f"{n}.jpg"), 0, None, f"{n // 5:064x}") for n in range(50)
    ]  # ten photos, five times each
    others = [Record(Photo(f"b{n}.jpg"), 1, None, f"{1000 + n:064x}") for n in range(10)]
    splits = split_dataset(dataset_of(copies + others), val_fraction=0.2, seed=0)
    assert per_class(splits.val) == {0: 10, 1: 2}


def test_the_choice_depends_on_bytes_and_seed_not_on_order_or_place():
    here = distinct([40, 30, 20])
    there = distinct([40, 30, 20], prefix="elsewhere/on another disk")
    random.Random(0).shuffle(there)
    val_here = split_dataset(dataset_of(here), val_fraction=0.2, seed=0).val
    val_there = split_dataset(dataset_of(there), val_fraction=0.2, seed=0).val
    assert digests(val_here) == digests(val_there)
    assert digests(val_here) != digests(split_dataset(dataset_of(here), val_fraction=0.2, seed=1).val)


def test_the_choice_is_the_same_in_every_version():
    splits = split_dataset(dataset_of(distinct([10, 10])), val_fraction=0.2, seed=0)
    assert [record.path for record in splits.val] == [
        "photos/0/2.jpg",
        "photos/0/6.jpg",
        "photos/1/2.jpg",
        "photos/1/7.jpg",
    ]


def test_records_keep_the_datasets_order():
    records = distinct([30, 30])
    splits = split_dataset(dataset_of(records), val_fraction=0.3, seed=0)
    for part in (splits.train, splits.val):
        assert list(part) == sorted(part, key=records.index)


def test_adding_photos_moves_few_others():
    before = split_dataset(dataset_of(distinct([100, 100])), val_fraction=0.2, seed=0)
    after = split_dataset(dataset_of(distinct([103, 100])), val_fraction=0.2, seed=0)
    assert len(digests(before.val) ^ digests(after.val)) <= 4


def test_given_splits_stay_and_their_shared_photos_are_counted():
    train = distinct([5, 5], "train")
    val = [Record(Photo("v1.jpg"), 0, "val", train[0].sha256), Record(Photo("v2.jpg"), 1, "val", "f" * 64)]
    test = [
        Record(Photo("t1.jpg"), 1, "test", train[7].sha256),
        Record(Photo("t2.jpg"), 1, "test", train[7].sha256),
    ]
    splits = split_dataset(dataset_of(train + val + test), val_fraction=0.0, seed=0)
    assert (splits.train, splits.val, splits.test) == (tuple(train), tuple(val), tuple(test))
    assert [photo.path for photo in splits.shared] == ["v1.jpg", "t1.jpg", "t2.jpg"]


def test_a_missing_val_split_is_made_from_train_and_the_test_split_stays():
    train, test = distinct([10, 10], "train"), [Record(Photo("t.jpg"), 0, "test", "e" * 64)]
    splits = split_dataset(dataset_of(train + test), val_fraction=0.2, seed=0)
    assert splits.test == tuple(test)
    assert per_class(splits.val) == {0: 2, 1: 2}
    assert set(splits.train) | set(splits.val) == set(train)


def test_where_every_photo_is_in_two_classes_that_is_what_is_told():
    photos = distinct([8])
    copies = [dataclasses.replace(each, photo=Photo(f"copy/{each.path}"), label=1) for each in photos]
    with pytest.raises(DataError, match=r"16 of 16 photos .* different labels.*photos/0/0.jpg'.*Remove"):
        split_dataset(dataset_of(photos + copies), val_fraction=0.2, seed=0)


def test_photos_of_two_classes_stay_in_train():
    records = [
        *distinct([10, 10]),
        Record(Photo("x.jpg"), 0, None, "a" * 64),
        Record(Photo("y.jpg"), 1, None, "a" * 64),
    ]
    for seed in range(20):
        splits = split_dataset(dataset_of(records), val_fraction=0.5, seed=seed)
        assert "a" * 64 in digests(splits.train)


def test_nothing_to_hold_back_is_an_error():
    copies = [Record(Photo(f"{n}.jpg"), n % 2, None, str(n % 2) * 64) for n in range(10)]
    with pytest.raises(DataError, match="--val FOLDER"):
        split_dataset(dataset_of(copies), val_fraction=0.2, seed=0)


def dataset_for(task: str, records: list[Record]) -> Dataset:
    names = tuple(f"label {number}" for number in range(6))
    targets = ("t",) * len(records[0].numbers)
    return Dataset("photos", tuple(records), names, (), (), len(records), task, targets)


def answer(task: str, number: int, draw: random.Random) -> dict:
    match task:
        case "classification":
            return {"label": draw.randrange(4)}
        case "multilabel":
            return {
                "label": 0,
                "labels": tuple(label for label in range(6) if draw.random() < (label + 1) / 12),
            }
        case "regression":
            return {"label": 0, "numbers": (draw.gauss(0, 1) ** 3, draw.random())}
        case _:
            return {"label": draw.randrange(2), "box": (0.0, 0.0, 1.0 + number, 2.0)}


def records_for(task: str, num: int, *, group_size: int = 0, seed: int = 0) -> list[Record]:
    draw = random.Random(seed)
    return [
        Record(
            Photo(f"{number}.jpg"),
            split=None,
            sha256=f"{number:064x}",
            group=f"plant {number // group_size}" if group_size else None,
            **answer(task, number, draw),
        )
        for number in range(num)
    ]


TASKS = ("classification", "multilabel", "regression", "box")


@pytest.mark.parametrize("group_size", [0, 1, 8])
@pytest.mark.parametrize("task", TASKS)
def test_every_task_keeps_its_fraction_whatever_the_order(task, group_size):
    records = records_for(task, 800, group_size=group_size)
    splits = split_dataset(dataset_for(task, records), val_fraction=0.2, seed=0)
    assert len(splits.val) == pytest.approx(160, abs=16)
    mixed = random.Random(1).sample(records, len(records))
    assert digests(split_dataset(dataset_for(task, mixed), val_fraction=0.2, seed=0).val) == digests(
        splits.val
    )
    assert digests(split_dataset(dataset_for(task, records), val_fraction=0.2, seed=1).val) != digests(
        splits.val
    )


@pytest.mark.parametrize("task", TASKS)
def test_groups_stay_on_one_side(task):
    records = records_for(task, 300, group_size=7)
    records += [
        dataclasses.replace(records[0], group="plant 40", photo=Photo("copy.jpg"))
    ]  # ties two groups together
    splits = split_dataset(dataset_for(task, records), val_fraction=0.25, seed=2)
    groups = [{record.group for record in part} for part in (splits.train, splits.val)]
    assert not groups[0] & groups[1]
    assert any({"plant 0", "plant 40"} <= each for each in groups)
    assert (splits.shared, splits.straddling) == ((), 0)
    assert len(splits.val) == pytest.approx(75, abs=10)


def test_photos_of_one_class_and_one_group_stay_in_train():
    records = [dataclasses.replace(record, group="all") for record in distinct([20, 20])]
    with pytest.raises(DataError, match=r"two different groups.*--val FOLDER"):
        split_dataset(dataset_of(records), val_fraction=0.2, seed=0)


def test_a_group_that_straddles_given_splits_is_counted():
    train = [dataclasses.replace(r, group=f"plant {n % 3}") for n, r in enumerate(distinct([5, 5], "train"))]
    val = [
        Record(Photo("v.jpg"), 0, "val", "f" * 64, group="plant 1"),
        Record(Photo("w.jpg"), 1, "val", "e" * 64, group="new"),
    ]
    splits = split_dataset(dataset_of([*train, *val]), val_fraction=0.0, seed=0)
    assert splits.straddling == 1
    assert len(splits.val) == 2


def test_each_label_of_several_keeps_its_fraction():
    records = records_for("multilabel", 600)
    splits = split_dataset(dataset_for("multilabel", records), val_fraction=0.2, seed=0)
    for label in range(6):
        num = sum(label in record.labels for record in records)
        assert sum(label in record.labels for record in splits.val) == pytest.approx(
            0.2 * num, abs=0.04 * num
        )
    none = sum(not record.labels for record in records)
    assert sum(not record.labels for record in splits.val) == pytest.approx(0.2 * none, abs=2)


def test_numbers_of_every_size_are_validated():
    records = records_for("regression", 500)
    splits = split_dataset(dataset_for("regression", records), val_fraction=0.2, seed=0)
    ordered = sorted(record.numbers[0] for record in records)
    for tenth in range(10):
        low, high = ordered[tenth * 50], ordered[tenth * 50 + 49]
        assert 8 <= sum(low <= record.numbers[0] <= high for record in splits.val) <= 11


@pytest.mark.parametrize("group_size", [0, 5])
@pytest.mark.parametrize("task", TASKS)
def test_adding_photos_moves_few_others_in_every_task(task, group_size):
    before = records_for(task, 500, group_size=group_size)
    after = records_for(task, 510, group_size=group_size)  # which begins with the same photos
    assert after[:500] == before
    vals = [
        digests(split_dataset(dataset_for(task, each), val_fraction=0.2, seed=0).val)
        for each in (before, after)
    ]
    assert len((vals[0] ^ vals[1]) & digests(before)) <= 30  # of 100 that are held back, and 400


@pytest.mark.parametrize("task", TASKS)
def test_photos_with_two_answers_are_counted_and_stay_in_train(task):
    records = records_for(task, 60)
    other = {
        "classification": {"label": (records[0].label + 1) % 4},
        "multilabel": {"labels": (0, 1, 2, 3, 4, 5)},
        "regression": {"numbers": (9.0, 9.0)},
        "box": {"box": (0.0, 0.0, 9.0, 9.0)},
    }[task]
    records.append(dataclasses.replace(records[0], photo=Photo("other.jpg"), **other))
    for seed in range(10):
        splits = split_dataset(dataset_for(task, records), val_fraction=0.5, seed=seed)
        assert records[0].sha256 in digests(splits.train)


@settings(max_examples=300, deadline=None)
@given(
    task=st.sampled_from(TASKS),
    photos=st.lists(st.tuples(st.integers(0, 30), st.integers(-1, 6)), min_size=1, max_size=60),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 3),
)
def test_no_split_loses_a_photo_parts_a_group_or_takes_a_label_from_training(task, photos, fraction, seed):
    records = [
        Record(
            Photo(f"{number}.jpg"),
            split=None,
            sha256=f"{content:064x}",
            group=None if group < 0 else str(group),
            **answer(task, content, random.Random(content)),
        )
        for number, (content, group) in enumerate(photos)
    ]
    try:
        splits = split_dataset(dataset_for(task, records), val_fraction=fraction, seed=seed)
    except DataError:
        return
    assert Counter(splits.train + splits.val) == Counter(records)
    assert splits.val
    assert not digests(splits.train) & digests(splits.val)
    groups = [{r.group for r in part if r.group is not None} for part in (splits.train, splits.val)]
    assert not groups[0] & groups[1]
    assert (splits.shared, splits.straddling) == ((), 0)
    for of_photo in (lambda r: (r.label,), lambda r: r.labels):
        assert {label for r in records for label in of_photo(r)} == {
            label for r in splits.train for label in of_photo(r)
        }
