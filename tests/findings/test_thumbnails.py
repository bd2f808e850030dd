"""Thumbnails beyond the limit of memory are read from the store, or from the photos if they are gone."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.findings import survey
from headstart.findings import thumbnails as module
from headstart.findings.survey import near_pairs
from headstart.findings.thumbnails import Thumbnails
from headstart.frozen.cache import Room
from headstart.images.photo import Photo
from headstart.records import Record


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    made = []
    for number in range(5):
        path = tmp_path / f"{number}.png"
        levels = np.random.default_rng(number).integers(0, 255, (30, 40, 3), np.uint8)
        Image.fromarray(levels).save(path)
        made.append(Record(Photo(str(path)), 0, None, hashlib.sha256(path.read_bytes()).hexdigest()))
    return made


def test_memory_is_limited_where_there_is_a_store(
    records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = Thumbnails(records, None)
    assert in_memory.rows == [0, 1, 2, 3, 4]
    rows = np.array([4, 0, 3, 4])
    expected = in_memory(rows)
    monkeypatch.setattr(module, "_MOST_IN_MEMORY", 2)
    stored = Thumbnails(records, Room(print))
    assert len(stored._in_memory) == 2
    np.testing.assert_array_equal(stored(rows), expected)
    monkeypatch.setattr(module.PhotoStore, "get", lambda *_: None)  # the cache has been emptied
    stored._read.cache_clear()
    np.testing.assert_array_equal(stored(rows), expected)
    stored.close()
    alone = Thumbnails(records, None)
    assert len(alone._in_memory) == 5  # without a store, they can be nowhere else


def test_photos_that_cannot_be_decoded_have_none(records: list[Record]) -> None:
    Path(records[1].path).unlink()
    assert Thumbnails(records, None).rows == [0, 2, 3, 4]


def test_the_search_among_many_photos_shows_its_progress(
    records: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []

    class Counter:
        def advance(self, photos: int) -> None:
            counts.append(photos)

    def counting(description: str, total: int) -> AbstractContextManager[Counter]:
        assert (description, total) == ("Near-duplicates", 5)
        return nullcontext(Counter())

    vectors = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
    assert near_pairs(records, lambda: vectors, None, counting) == []
    assert not counts  # few photos take no time
    monkeypatch.setattr(survey, "MANY_PHOTOS", 5)
    assert near_pairs(records, lambda: vectors, None, counting) == []
    assert sum(counts) == 5
    assert len(counts) > 1
