"""Photos in Parquet files: the right one, from any thread, also after the file was written again."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data.conftest import photo

from headstart.data.sources import parquet
from headstart.data.sources.parquet import photo_at
from headstart.data.sources.source import read_source
from headstart.errors import ImageError


def write(path: Path, group_rows: int = 100, **columns: list[int]) -> None:
    """Write photos, by number, into columns."""
    content = {name: [photo(number) for number in numbers] for name, numbers in columns.items()}
    labels = ["ab"[row % 2] for row in range(len(next(iter(columns.values()))))]
    pq.write_table(pa.table({**content, "label": labels}), path, row_group_size=group_rows)


def test_a_file_that_is_written_again_gives_its_new_photos(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    for numbers in ([0, 1, 2, 3], [4, 5, 6, 7, 8]):
        write(path, image=numbers)
        candidates = read_source(path).candidates
        assert [each.photo.content() for each in candidates] == list(map(photo, numbers))
        assert [photo_at(each.path).content() for each in candidates] == list(map(photo, numbers))


@pytest.mark.parametrize("column", ["image", "a/b 100%"])
def test_the_key_of_a_photo_names_its_column_if_there_are_several(tmp_path: Path, column: str) -> None:
    path = tmp_path / "in.parquet" / "t.PARQUET"
    path.parent.mkdir()
    write(path, **{"mask": [4, 5, 6, 7], column: [0, 1, 2, 3]})
    candidates = pickle.loads(pickle.dumps(read_source(path, image_column=column))).candidates
    assert len({each.path for each in candidates}) == 4
    for separator in "/\\":  # joined to a folder on Windows, keys have backslashes
        inner = [each.path.removeprefix(str(path)).replace("/", separator) for each in candidates]
        keys = [f"{path}{each}" for each in inner]
        assert [photo_at(each).content() for each in keys] == list(map(photo, range(4)))
    with pytest.raises(ImageError):  # either column could be meant
        photo_at(f"{path}/row 1").content()


def test_threads_read_different_row_groups_at_once_and_each_once(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "t.parquet"
    write(path, group_rows=4, image=list(range(8)))
    both = threading.Barrier(2, timeout=20)  # is not passed if one group waits for the other
    read, num_reads = parquet._Group.read, []

    def counted(group):
        num_reads.append(group)
        both.wait()
        return read(group)

    monkeypatch.setattr(parquet._Group, "read", counted)
    candidates = read_source(path).candidates
    with ThreadPoolExecutor(4) as pool:
        order = [0, 4, 1, 5, 2, 6, 3, 7]
        contents = list(pool.map(lambda row: candidates[row].photo.content(), order))
    assert (contents, len(num_reads)) == (list(map(photo, order)), 2)


def test_more_photos_than_fit_into_memory_are_pointed_out_and_groups_forgotten(
    tmp_path: Path, monkeypatch
) -> None:
    path = tmp_path / "t.parquet"
    write(path, group_rows=2, image=list(range(8)))
    assert not any("random order" in note for note in read_source(path).notes)
    monkeypatch.setattr(parquet, "_MOST_CACHED_BYTES", 300)
    groups = parquet._Groups()
    monkeypatch.setattr(parquet, "_GROUPS", groups)
    listing = read_source(path)
    assert any("0 MB of photos" in note and "random order" in note for note in listing.notes)
    assert [each.photo.content() for each in listing.candidates] == list(map(photo, range(8)))
    assert [group.number for group in groups._read] == [3]
