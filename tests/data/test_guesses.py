"""Label files with two readings: they are refused, and the order of rows makes no difference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.data.test_exporters import as_json, labels_of, lines, photos

from headstart.data.sources import by_name
from headstart.data.sources.by_name import PhotoFinder
from headstart.data.sources.file_names import suggested
from headstart.data.sources.photo_index import Index
from headstart.data.sources.source import read_source
from headstart.errors import HeadstartError

TWO = photos("a.png", "b.png")
COCO = as_json(
    {
        "images": [{"id": 1, "file_name": "0.png"}, {"id": 2, "file_name": "1.png"}],
        "annotations": [{"id": n, "image_id": n, "category_id": n, "bbox": [1, 1, 4, 4]} for n in (1, 2)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
)

# Files, the one that is named, options, and words of the error.
REFUSED: dict[str, tuple[Mapping[str, Any], str, Mapping[str, Any], tuple[str, ...]]] = {
    "COCO of a split whose photos are missing": (
        {**photos("val2017/0.png", "val2017/1.png"), "annotations/instances_train2017.json": COCO},
        "annotations/instances_train2017.json",
        {},
        ("no such photo for train: '0.png'", "val2017/0.png' has its name, but is for val"),
    ),
    "a folder of another split": (
        {**photos("train/cat/0.png"), "t.csv": lines("image,label", "test/cat/0.png,x", "test/1.png,y")},
        "t.csv",
        {},
        ("no such photo for test", "train/cat/0.png' has its name, but is for train"),
    ),
    "a folder of another class": (
        {
            **photos("cat/0.png", "cat/1.png", "cat/2.png"),
            "t.csv": lines("image,label", "dog/0.png,dog", "cat/1.png,cat", "cat/2.png,cat"),
        },
        "t.csv",
        {},
        ("'dog/0.png' does not exist", "cat/0.png' has its name", "several folders: 'dog', 'cat'", "remove"),
    ),
    "a folder of another class, with a folder of the same name in it": (
        {
            **photos("cat/raw/0.png", "cat/raw/1.png"),
            "t.csv": lines("image,label", "/home/dog/raw/0.png,dog", "cat/raw/1.png,cat"),
        },
        "t.csv",
        {},
        ("'/home/dog/raw/0.png' does not exist", "cat/raw/0.png' has its name", "'dog', 'cat'"),
    ),
    "several folders of other names": (
        {**photos("x/0.png", "y/1.png"), "t.csv": lines("image,label", "dog/0.png,a", "cat/1.png,b")},
        "t.csv",
        {},
        ("'dog/0.png' does not exist", "x/0.png' has its name", "'dog', 'cat'"),
    ),
    "one photo for two in folders": (
        {**photos("x/0.png", "x/1.png"), "t.csv": lines("image,label", "dog/0.png,a", "cat/0.png,b")},
        "t.csv",
        {},
        ("'dog/0.png' does not exist", "x/0.png' has its name"),
    ),
    "two places of COCO": (
        {**photos("0.png", "images/0.png", "images/1.png"), "t.json": COCO},
        "t.json",
        {},
        ("2 photos have the name '0.png'", "images/0.png'", "--images FOLDER"),
    ),
    "a photo beside the table, not in images": (
        {**photos("a.png", "imgs/b.png"), "t.csv": lines("image,label", "a.png,x", "b.png,y")},
        "t.csv",
        {"images": "imgs", "allow_quarantined": 0},
        ("no such photo below", "a.png' exists", "--images FOLDER"),
    ),
    "a date that looks like a prefix of Label Studio": (
        {**photos("001.png", "002.png"), "t.csv": lines("image,label", "20230101-001.png,x", "002.png,y")},
        "t.csv",
        {"allow_quarantined": 0},
        ("no such photo", "20230101-001.png"),
    ),
    "a folder that is too large to be searched": (
        {**photos("x/a.png", "x/b.png", "x/c.png"), "t.csv": lines("image,label", "a.png,x", "b.png,y")},
        "t.csv",
        {},
        ("has more than 2 files, so it is not searched", "--images FOLDER"),
    ),
    "one blank cell among one-hot columns": (
        {**TWO, "t.csv": lines("image,cat,dog,bird", "a.png,1,,0", "b.png,0,1,0", "c.png,0,0,1")},
        "t.csv",
        {},
        ("t.csv', line 2: column 'dog' is ''", "Write 0 or 1"),
    ),
    **{
        f"-1 and 0 in one-hot columns, {how}": (
            {**TWO, "t.csv": lines("image,a,b", "a.png,-1,1", "b.png,1,-1", f"c.png,{cell},0")},
            "t.csv",
            options,
            ("both 0 ('b', line 4) and -1 ('a', line 2)", "absent or uncertain"),
        )
        for how, cell, options in (("named", "", {"label_column": "a,b"}), ("not named", "1", {}))
    },
    "flags among other columns": (
        {**TWO, "t.csv": lines("image,price,sold,new", "a.png,3.5,0,1", "b.png,4,1,0", "c.png,5,1,1")},
        "t.csv",
        {},
        ("('sold', 'new') and others ('price')", "--label-column sold,new", "--target NAME"),
    ),
    "text that may name groups": (
        {**TWO, "t.csv": lines("image,photographer", "a.png,Ann", "b.png,Bob")},
        "t.csv",
        {},
        ("--label-column photographer", "--group-by photographer"),
    ),
    "ids beside names of photos": (
        {**TWO, "t.csv": lines("id,url,label", "0,http://x/b.png?w=9,x", "1,http://x/a.png,y")},
        "t.csv",
        {},
        ("Either 'id' or 'url'", "--image-column id", "--image-column url"),
    ),
}


def read(root: Path, data: str, options: Mapping[str, Any]):
    if "images" in options:
        options = {**options, "images": root / options["images"]}
    return read_source(root / data, **options)


@pytest.mark.parametrize("name", REFUSED)
def test_two_readings_are_refused(tree, monkeypatch, name: str) -> None:
    files, data, options, told = REFUSED[name]
    if "too large" in name:
        monkeypatch.setattr(by_name, "MOST_SEARCHED", 2)
    root = tree(files)
    with pytest.raises(HeadstartError) as caught:
        read(root, data, {"allow_quarantined": 0, **options})
    for words in told:
        assert words in str(caught.value)


UNDERSTOOD: dict[str, tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]] = {
    "photos of several folders in one": (
        {**photos("all/0.png", "all/1.png"), "t.csv": lines("image,label", "dog/0.png,a", "cat/1.png,b")},
        {},
        {"all/0.png": ("a", None), "all/1.png": ("b", None)},
    ),
    "a folder that was renamed, with photos deeper in their folders": (
        {
            **photos("b/1/raw/0.png", "b/2/raw/0.png"),
            "t.csv": lines("image,label", "a/1/0.png,x", "/home/a/2/0.png,y"),
        },
        {},
        {"b/1/raw/0.png": ("x", None), "b/2/raw/0.png": ("y", None)},
    ),
    "the option decides which flags are classes": (
        {**TWO, "t.csv": lines("image,price,sold,new", "a.png,3.5,0,1", "b.png,4,1,0")},
        {"label_column": "sold,new"},
        {"a.png": ("new", None), "b.png": ("sold", None)},
    ),
    "the task decides what text is": (
        {**TWO, "t.csv": lines("image,photographer", "a.png,Ann", "b.png,Bob")},
        {"task": "classification"},
        {"a.png": ("Ann", None), "b.png": ("Bob", None)},
    ),
    "the option decides which column names the photos": (
        {**TWO, "t.csv": lines("id,url,label", "0,x/b.png,x", "1,x/a.png,y")},
        {"image_column": "url"},
        {"a.png": ("y", None), "b.png": ("x", None)},
    ),
}


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_what_has_one_reading_or_is_chosen_is_read(tree, name: str) -> None:
    files, options, labels = UNDERSTOOD[name]
    root = tree(files)
    assert labels_of(read(root, "t.csv", options), root) == labels


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_photos_are_found_in_images_in_any_order_of_rows(tree, order: tuple[int, ...]) -> None:
    rows = ["0.png,a", "1.png,b", "only.png,a"]
    names = ("imgs/0.png", "imgs/1.png", "0.png", "1.png", "only.png")
    root = tree({**photos(*names), "t.csv": lines("image,label", *(rows[number] for number in order))})
    listing = read(root, "t.csv", {"images": "imgs"})
    assert labels_of(listing, root) == {"imgs/0.png": ("a", None), "imgs/1.png": ("b", None)}
    assert [Path(each.path).name for each in listing.quarantined] == ["only.png"]


def test_photos_with_the_same_name_are_found_by_their_folders_without_comparing_all(monkeypatch) -> None:
    read_folders: list[str] = []
    folders_of = Index.folders_of
    monkeypatch.setattr(
        Index, "folders_of", lambda self, path: read_folders.append(path) or folders_of(self, path)
    )
    cases = [f"case_{number}" for number in range(300)]
    index = Index.of(((f"/s/{case}/scan/image.png", (case, "scan")) for case in cases), "/s")
    for case in cases:
        assert index.find(["data", case, "scan"], "IMAGE.png") == [f"/s/{case}/scan/image.png"]
        assert index.find([case], "image") == [f"/s/{case}/scan/image.png"]
    assert len(index.find(["scan"], "image.png")) == 300
    assert len(read_folders) == 2 * 300  # once for each of the two names


def test_the_same_photo_in_two_places_is_not_two_photos(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    finder = PhotoFinder([tmp_path, tmp_path / "link"], tmp_path)
    assert finder.find("a.png") == (str(tmp_path / "a.png"), "")


class Sliced(list[str]):
    """A list that is not read whole."""

    def __iter__(self):
        raise AssertionError("all names were read")


def test_names_without_labels_are_not_all_tried() -> None:
    names = [f"a/{name}.{number}.jpg" for name in ("cat", "dog") for number in range(300)]
    assert suggested(names).startswith("(?P<label>")
    assert suggested([*names, "0.jpg"]) == ""
    assert suggested(Sliced(f"{number}x.jpg" for number in range(600))) == ""
