"""Photos in rows of Parquet files, by their addresses."""

from __future__ import annotations

import json
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headstart.data.sources.source import read_source
from headstart.errors import DataError, ImageError
from headstart.images import parquet_rows
from headstart.images.address import exists, is_file
from headstart.images.listed import find_images
from headstart.images.photo import Photo

CONTENTS = [os.urandom(number + 1) for number in range(10)]
MASKS = [b"mask " + content for content in CONTENTS]


def in_parquet(path: Path, contents: list[bytes], **columns: list[object]) -> str:
    """Write photos with their names, as Hugging Face does, in row groups of three."""
    photos = [{"bytes": content, "path": f"p/{row}.png"} for row, content in enumerate(contents)]
    pq.write_table(pa.table({**columns, "image": photos}), path, row_group_size=3)
    return str(path)


def test_rows_are_read_by_their_address_in_threads_and_after_pickling(tmp_path: Path) -> None:
    path = in_parquet(tmp_path / "a.parquet", CONTENTS)
    addresses = list(find_images(path))
    assert addresses == [f"{path}/row {row + 1} {row}.png" for row in range(10)]
    photos = pickle.loads(pickle.dumps([Photo(address) for address in addresses]))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(Photo.content, reversed(photos))) == CONTENTS[::-1]
    with photos[4].open() as file:
        assert file.read() == CONTENTS[4]
    assert not any(map(is_file, addresses))
    assert all(map(exists, [*addresses, f"{path}/row 10"]))


def test_rows_and_columns_that_are_not_there_are_named(tmp_path: Path) -> None:
    path = in_parquet(tmp_path / "a.parquet", CONTENTS)
    for wrong in ("row 0", "row 11", "mask/row 1"):
        assert not exists(f"{path}/{wrong}")
        with pytest.raises(ImageError, match=r"no such photo in a\.parquet"):
            Photo(f"{path}/{wrong}").content()
    Path(path).write_bytes(b"text")
    assert not exists(f"{path}/row 1")
    with pytest.raises(ImageError, match="cannot be read as Parquet"):
        Photo(f"{path}/row 1").content()


def test_a_file_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    path = in_parquet(tmp_path / "a.parquet", CONTENTS)
    assert Photo(f"{path}/row 3").content() == CONTENTS[2]
    in_parquet(tmp_path / "a.parquet", MASKS)
    assert Photo(f"{path}/row 3").content() == MASKS[2]


def test_of_several_columns_the_address_names_the_right_one(tmp_path: Path) -> None:
    labels = ["a", "b"] * 5
    path = in_parquet(tmp_path / "a.parquet", CONTENTS, mask=MASKS, label=labels)
    for options, contents in (({}, CONTENTS), ({"image_column": "mask"}, MASKS)):
        paths = [each.path for each in read_source(path, **options).candidates]
        assert [Photo(each).content() for each in paths] == contents
    assert [Photo(each).content() for each in find_images(path)] == CONTENTS
    pq.write_table(pa.table({"left": CONTENTS, "right": MASKS}), path)
    for read in (read_source, lambda path: next(find_images(path))):
        with pytest.raises(DataError, match="several columns of photos"):
            read(path)
    for column, contents in (("left", CONTENTS), ("right", MASKS)):
        assert [Photo(each).content() for each in find_images(f"{path}/{column}")] == contents
    with pytest.raises(DataError, match=r"no column of photos 'top'\. Columns of photos: 'left', 'right'"):
        next(find_images(f"{path}/top"))
    assert list(find_images(f"{path}/left/row 2")) == [f"{path}/left/row 2"]
    assert list(find_images(f"{path}/row 2")) == [f"{path}/row 2"]


def test_a_folder_that_is_called_like_a_parquet_file_is_a_folder(tmp_path: Path) -> None:
    photo = tmp_path / "a.parquet" / "row 1 a.jpg"
    photo.parent.mkdir()
    photo.write_bytes(b"content")
    assert is_file(str(photo))
    assert Photo(str(photo)).content() == b"content"


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = in_parquet(tmp_path / "a.parquet", [os.urandom(5000)] * 10)
    content = bytearray(Path(path).read_bytes())
    content[4:-2000] = bytes(len(content) - 2004)  # all but the description at the end
    Path(path).write_bytes(content)
    with pytest.raises(DataError, match="is damaged"):
        list(find_images(path))
    with pytest.raises(ImageError, match="cannot be read"):
        Photo(f"{path}/row 1").content()


@pytest.mark.parametrize(
    "kind",
    [
        pa.large_binary(),
        pa.binary_view(),
        pa.dictionary(pa.int32(), pa.binary()),
        pa.struct([("path", pa.null()), ("bytes", pa.large_binary()), ("width", pa.int32())]),
    ],
    ids=str,
)
def test_bytes_of_every_type_are_photos(tmp_path: Path, kind: pa.DataType) -> None:
    is_struct = pa.types.is_struct(kind)
    cells = [{"bytes": content} for content in CONTENTS] if is_struct else CONTENTS
    plain = pa.array(cells, pa.binary() if pa.types.is_dictionary(kind) else kind)
    column = plain.dictionary_encode() if pa.types.is_dictionary(kind) else plain
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"image": column, "label": ["a", "b"] * 5}), path, row_group_size=3)
    assert [each.photo.content() for each in read_source(path).candidates] == CONTENTS
    assert [Photo(each).content() for each in find_images(path)] == CONTENTS


def test_a_damaged_description_of_the_columns_is_named(tmp_path: Path) -> None:
    path = Path(in_parquet(tmp_path / "a.parquet", CONTENTS))
    content = path.read_bytes()
    start = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    path.write_bytes(content[:start] + bytes(len(content) - 8 - start) + content[-8:])
    for read in (read_source, lambda path: list(find_images(path))):
        with pytest.raises(DataError, match=r"a\.parquet' cannot be read as Parquet: .*download it again\.$"):
            read(path)
    with pytest.raises(ImageError, match="cannot be read as Parquet"):
        Photo(f"{path}/row 1").content()


def test_no_row_has_a_number_of_any_length(tmp_path: Path) -> None:
    path = in_parquet(tmp_path / "a.parquet", CONTENTS)
    assert not exists(f"{path}/row {'1' * 5000}")


def test_a_class_without_a_name_is_an_error_and_not_a_class(tmp_path: Path) -> None:
    path = in_parquet(tmp_path / "a.parquet", CONTENTS, label=[0, 1, 2, None, -1, 0, 1, 0, 1, 0])
    features = {"info": {"features": {"label": {"names": ["cat", "dog"]}}}}
    table = pq.read_table(path).replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, path)
    with pytest.raises(DataError, match=r"row 3: label is class 2, but .* only the classes 0 to 1"):
        read_source(path)


def test_files_of_a_folder_are_found_by_either_suffix_and_hidden_ones_are_not(tmp_path: Path) -> None:
    for name in ("train.pq", "val.PARQUET"):
        in_parquet(tmp_path / name, CONTENTS, label=["a", "b"] * 5)
    (tmp_path / "._train.parquet").write_bytes(b"AppleDouble")
    listing = read_source(tmp_path)
    assert [each.split for each in listing.candidates] == ["train"] * 10 + ["val"] * 10


def test_few_row_groups_stay_in_memory_while_photos_are_read_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_rows, "_MOST_IN_ORDER", 0)
    monkeypatch.setattr(parquet_rows, "_GROUPS", parquet_rows._Groups())
    contents = [b"%d" % number for number in range(150)]
    addresses = list(find_images(in_parquet(tmp_path / "a.parquet", contents)))
    for _ in range(2):
        assert [Photo(address).content() for address in addresses] == contents
        assert len(parquet_rows._GROUPS._read) == 2
    order = [row * 77 % 150 for row in range(20)]
    assert [Photo(addresses[row]).content() for row in order] == [contents[row] for row in order]
    assert len(parquet_rows._GROUPS._read) > 10
