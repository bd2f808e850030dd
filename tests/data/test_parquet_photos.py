"""Photos in Parquet files: the right one, from any thread, also after the file was written again."""

from __future__ import annotations

import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data.conftest import photo

from headstart.data.sources.source import read_source
from headstart.errors import ImageError
from headstart.images.photo import Photo


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
        assert [Photo(each.path).content() for each in candidates] == list(map(photo, numbers))


@pytest.mark.parametrize("column", ["image", "b 100%"])
def test_the_key_of_a_photo_names_its_column_if_there_are_several(tmp_path: Path, column: str) -> None:
    path = tmp_path / "in.parquet" / "t.PARQUET"
    path.parent.mkdir()
    write(path, **{"mask": [4, 5, 6, 7], column: [0, 1, 2, 3]})
    candidates = pickle.loads(pickle.dumps(read_source(path, image_column=column))).candidates
    assert len({each.path for each in candidates}) == 4
    for separator in "/\\":  # joined to a folder on Windows, keys have backslashes
        inner = [each.path.removeprefix(str(path)).replace("/", separator) for each in candidates]
        keys = [f"{path}{each}" for each in inner]
        assert [Photo(each).content() for each in keys] == list(map(photo, range(4)))
    with pytest.raises(ImageError):  # either column could be meant
        Photo(f"{path}/row 1").content()
