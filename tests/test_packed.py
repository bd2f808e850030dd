"""Many photos in columns."""

from __future__ import annotations

import dataclasses
import pickle
import tracemalloc

import numpy as np
import pytest

from headstart import packed_columns
from headstart.data.split import unit_names, unit_numbers
from headstart.images.photo import Photo
from headstart.packed import Packed, Some, same_names
from headstart.packed_columns import BLOCK
from headstart.records import Candidate, Record


class Reader(dict):  # type: ignore[type-arg]
    """A function that cannot be hashed."""

    def __call__(self, key: str) -> bytes:
        return b""


CANDIDATES = [
    Candidate(Photo("a/shard-0.tar/cat/1.jpg"), "cat", "train"),
    Candidate(Photo("a/shard-0.tar/cat/2.jpg"), "cat", None, source="labels.csv, line 17"),
    Candidate(Photo("C:\\photos\\\udce4\n.jpg"), "", "val", ("a", "b"), (0.0, -0.0), group="g"),
    Candidate(Photo("", bytes.fromhex), "", "val", (), (0.0, 1.5), (1.0, 2.0, 3.0, 4.0)),
    Candidate(Photo("é.jpg", Reader()), "dog", "test", declared_size=(1.0, 1.0), source="12"),
]


@pytest.mark.parametrize("number", [5, BLOCK, BLOCK + 7])
def test_objects_are_as_they_were_appended(number: int) -> None:
    given = [CANDIDATES[row % 5] for row in range(number)]
    rows = Packed(Candidate, given)
    for each in (rows, pickle.loads(pickle.dumps(rows))):
        assert list(each) == given == [each[row] for row in range(number)]
    assert rows == tuple(given)
    assert rows != given[:-1]
    assert str(rows[2].numbers) == "(0.0, -0.0)"
    assert [rows[-1], *rows[1:3]] == [given[-1], *given[1:3]]
    assert list(rows.column("split")) == [each.split for each in given]
    assert list(Some(rows, np.array([3, 0]))) == [given[3], given[0]]
    with pytest.raises(IndexError):
        rows[number]


def test_objects_can_be_appended_after_others_have_shared_their_photos() -> None:
    candidates = Packed(Candidate, CANDIDATES[:3])
    records = Packed(Record, photos_of=candidates)
    for row in range(3 * BLOCK):
        candidates.append(CANDIDATES[row % 5])
        records.append(Record(CANDIDATES[row % 3 if row < 3 else (row - 3) % 5].photo, row, None, ""))
    assert [each.photo for each in records] == [each.photo for each in candidates[: 3 * BLOCK]]


def test_columns_with_many_different_values_are_kept_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for most in (2**16, 7):
        monkeypatch.setattr(packed_columns, "_MOST_DISTINCT", most)
        groups = [None, None, *(f"group {number % 300}" for number in range(600)), None]
        rows = [dataclasses.replace(CANDIDATES[0], group=group) for group in groups * 4]
        assert list(Packed(Candidate, rows)) == rows


def test_a_listed_and_checked_photo_takes_little_memory() -> None:
    number = 20_000
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    candidates = Packed(
        Candidate,
        (Candidate(Photo(f"shards/{n // 500:04}.tar/{n:08}.jpg"), "ab"[n % 2], None) for n in range(number)),
    )
    listed = tracemalloc.get_traced_memory()[0] - before
    records = Packed(
        Record, (Record(each.photo, 0, None, "ab" * 32) for each in candidates), photos_of=candidates
    )
    checked = tracemalloc.get_traced_memory()[0] - before - listed
    tracemalloc.stop()
    assert len(records) == number
    assert listed / number < 30
    assert checked / number < 50


def test_records_have_the_photos_of_the_candidates_that_are_left() -> None:
    candidates = Packed(Candidate, CANDIDATES)
    rows = [Record(CANDIDATES[row].photo, row, None, f"{row:064x}") for row in (1, 2, 4)]
    assert list(Packed(Record, rows, photos_of=candidates)) == rows
    assert list(Packed(Record, rows, photos_of=tuple(candidates))) == rows


def test_hashes_may_be_missing_or_zero() -> None:
    rows = [Record(Photo("a"), 0, None, each) for each in ("", "0" * 64, "ab" * 32)]
    assert list(Packed(Record, rows)) == rows


def test_rows_with_one_name_are_found_in_the_order_of_the_first() -> None:
    names = ["b", "a", "c", "a", "b", "a"]
    assert list(same_names(names, names.__getitem__)) == [[0, 4], [1, 3, 5], [2]]
    assert list(same_names([], names.__getitem__)) == []


@pytest.mark.parametrize("group", [None, "g"])
def test_units_are_numbered_in_the_order_of_their_names(group: str | None) -> None:
    hashes = [f"{number % 7 * 37 % 11:x}".zfill(64) for number in range(20)]
    hashes += [each[::-1] for each in hashes]
    records = [Record(Photo(str(row)), 0, None, each) for row, each in enumerate(hashes)]
    records[3] = dataclasses.replace(records[3], group=group)
    expected = np.unique(unit_names(records), return_inverse=True)[1]
    assert unit_numbers(records).tolist() == expected.tolist()
    assert unit_numbers([]).tolist() == []
