"""Data that resemble a form that is refused, or are nearly in one, are not taken for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headstart.data.sources.source import read_source
from headstart.errors import DataError

AB = {"a.png": 1, "b.png": 2}
LABELME = {"version": "5.0.1", "shapes": [], "imagePath": "a.png"}
BOX = {"category_id": 1, "bbox": [1, 1, 4, 4]}
COCO = {
    "info": {"items": 2},
    "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
    "categories": [{"id": 1, "name": "items"}, {"id": 2, "name": "label_id"}],
    "annotations": [{"id": 1, "image_id": 1, **BOX}, {"id": 2, "image_id": 2, **BOX, "category_id": 2}],
}


@pytest.mark.parametrize(
    ("name", "content", "classes"),
    [
        ("t.json", json.dumps(COCO), {"items", "label_id"}),
        ("t.json", json.dumps({"a.png": "shapes", "b.png": "imagePath"}), {"shapes", "imagePath"}),
        (
            "t.json",
            json.dumps({"a.png": "classTitle", "b.png": "_via_settings"}),
            {"classTitle", "_via_settings"},
        ),
        (
            "t.csv",
            "ImageID,LabelName,Confidence,image,label\na,/m/1,1,a.png,x\nb,/m/2,1,b.png,y\n",
            {"x", "y"},
        ),
        ("t.csv", "image,label,emotion,pixels\na.png,x,joy,9\nb.png,y,fear,9\n", {"x", "y"}),
    ],
    ids=["COCO", "labels by name", "of tools", "Open Images, converted", "numbers of pixels"],
)
def test_names_of_classes_and_further_columns_are_no_marks_of_a_tool(
    tree: Callable[..., Path], name: str, content: str, classes: set[str]
) -> None:
    root = tree(AB)
    (root / name).write_text(content)
    assert set(read_source(root / name).class_names) == classes


def test_an_empty_class_is_reported_though_there_are_files_of_a_tool(tree: Callable[..., Path]) -> None:
    root = tree({"cat/a.png": 1, "cow/b.png": 2})
    (root / "cat" / "a.json").write_text(json.dumps(LABELME))
    assert read_source(root).class_names == ("cat", "cow")
    (root / "dog").mkdir()
    with pytest.raises(DataError, match="has no photos of 'dog'"):
        read_source(root)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "t.json",
            json.dumps([{"image": "a.png", "label": "x"}, *range(2, 9)]),
            r"^7 entries cannot be interpreted:\n7 entries \(.*t.json, entry 2, .*\.\.\.\), for example: 2",
        ),
        (
            "t.csv",
            "TRAIN,gs://x/a.png,cat\n" + "TRAIN,oops,dog\n" * 6,
            r"^6 entries cannot be interpreted:\n6 entries \(.*t.csv, line 2, .*\.\.\.\): no photo",
        ),
    ],
)
def test_entries_with_the_same_fault_share_a_line_that_says_it(
    tree: Callable[..., Path], name: str, content: str, expected: str
) -> None:
    root = tree(AB)
    (root / name).write_text(content)
    with pytest.raises(DataError, match=expected):
        read_source(root / name)


def test_names_without_a_label_share_a_line(tree: Callable[..., Path]) -> None:
    root = tree({f"{name}.png": number for number, name in enumerate(["x_1", "y_1", *"abcdefg"])})
    with pytest.raises(DataError, match=r"^7 .*\n7 entries, for example: label_from .* finds no label in"):
        read_source(root, label_from="(.)_1")


def test_a_list_that_python_cannot_read_is_quarantined(tree: Callable[..., Path]) -> None:
    root = tree({**AB, "c.png": 3})
    rows = ['a.png,"[{[]: 1}]"', "b.png,\"['x', 'y']\"", "c.png,\"['x']\""]
    (root / "t.csv").write_text("\n".join(["image,labels", *rows]))
    options: dict[str, Any] = {"allow_quarantined": 0.5}
    listing = read_source(root / "t.csv", **options)
    assert listing.class_names == ("x", "y")
    assert "is not a list" in listing.quarantined[0].reason


@pytest.mark.parametrize(
    ("text", "encoding"), [("кошка", "cp1251"), ("ねこ", "shift_jis"), ("γάτα", "cp1253")]
)
def test_words_that_are_not_western_are_not_read_as_if_they_were(
    tree: Callable[..., Path], text: str, encoding: str
) -> None:
    root = tree(AB)
    (root / "t.csv").write_bytes(f"image,label\na.png,{text}\nb.png,x\n".encode(encoding))
    with pytest.raises(DataError, match=r"not UTF-8[.] Save the table as UTF-8"):
        read_source(root / "t.csv")
