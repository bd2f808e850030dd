"""Facts about many photos, whose thumbnails are read when they are needed."""

from __future__ import annotations

import hashlib
import io
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from headstart.findings import kept_facts
from headstart.findings.kept_facts import KeptFacts
from headstart.frozen.cache import Room
from headstart.frozen.photos import photo_facts
from headstart.images.photo import Photo
from headstart.records import Record


def records_of(contents: dict[str, bytes]) -> list[Record]:
    return [
        Record(Photo(name, contents.__getitem__), 0, None, hashlib.sha256(content).hexdigest())
        for name, content in contents.items()
    ]


def photo(level: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((20 + level, 30, 3), level, np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("is_stored", [True, False])
def test_facts_are_those_of_the_photos_that_can_be_decoded(
    is_stored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_facts, "_MOST_IN_MEMORY", 1)
    room = Room(print) if is_stored else None
    records = records_of({"a": photo(1), "b": b"no photo", "c": photo(2), "d": photo(3)})
    expected = [
        next(iter(photo_facts([(records[row].photo, records[row].sha256)], None))) for row in (0, 2, 3)
    ]
    with closing(KeptFacts(records, room, decode=True)) as facts:
        assert facts.rows.tolist() == [0, 2, 3]
        assert len(facts._thumbnails) == (1 if is_stored else 3)
        for found in (list(facts), facts[:], [facts[-3], facts[1], facts[2]]):
            for one, other in zip(found, expected, strict=True):
                assert np.array_equal(one.thumbnail, other.thumbnail)
                names = [name for name in vars(other) if name != "thumbnail"]
                assert [getattr(one, name) for name in names] == [getattr(other, name) for name in names]
    with closing(KeptFacts(records, room, decode=False)) as facts:
        assert facts.rows.tolist() == ([0, 2, 3] if is_stored else [])
