"""Folders and tables as their exporters write them: each is understood, or refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from headstart.data.sources.source import read_source
from headstart.errors import HeadstartError
from headstart.records import Listing


@dataclass(frozen=True)
class Export:
    """What an exporter writes, and how it is to be understood.

    Attributes:
        files: Contents by path; a number is a photo.
        labels: The label and split of each photo, by its path.
        data: What the user names, below the root.
        task: The task that is recognised.
        options: Settings besides.
        said: Words in the notes.
    """

    files: Mapping[str, Any]
    labels: Mapping[str, Any]
    data: str = ""
    task: str = "classification"
    options: Mapping[str, Any] = field(default_factory=dict)
    said: tuple[str, ...] = ()


def photos(*names: str) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}


def lines(*rows: str) -> bytes:
    return "".join(f"{row}\n" for row in rows).encode()


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


CATS_AND_DOGS = ("train/0a1.jpg", "train/0b2.jpg", "test/0c3.jpg")
FOUND_BY_NAME = {
    "Kaggle: ids without suffix, photos in a folder": Export(
        {
            **photos(*CATS_AND_DOGS),
            "train.csv": lines("id,breed", "0a1,boston_bull", "0b2,dingo"),
            "sample_submission.csv": lines("id,boston_bull,dingo", "0c3,0.5,0.5"),
        },
        {"train/0a1.jpg": ("boston_bull", None), "train/0b2.jpg": ("dingo", None)},
        "train.csv",
        said=("2 photos are found by their names", "'id' for the photos, 'breed' for the classes"),
    ),
    "Kaggle: the same ids in train and test": Export(
        {
            **photos("train/1.png", "train/2.png", "test/1.png", "test/2.png"),
            "train.csv": lines("id,label", "1,frog", "2,truck"),
        },
        {"train/1.png": ("frog", None), "train/2.png": ("truck", None)},
        "train.csv",
        options={"images": "train"},
    ),
    "absolute paths of another machine": Export(
        {
            **photos("photos/cats/1.jpg", "photos/dogs/1.jpg"),
            "labels.csv": lines(
                "image,label", "/home/ann/set/photos/cats/1.jpg,cat", "/home/ann/set/photos/dogs/1.jpg,dog"
            ),
        },
        {"photos/cats/1.jpg": ("cat", None), "photos/dogs/1.jpg": ("dog", None)},
        "labels.csv",
    ),
    "absolute paths of Windows, photos elsewhere": Export(
        {
            **photos("elsewhere/a.jpg", "elsewhere/b.jpg"),
            "tables/labels.csv": lines(
                "filename,class", r"C:\Users\Ann\a.jpg,cat", r"C:\Users\Ann\b.jpg,dog"
            ),
        },
        {"elsewhere/a.jpg": ("cat", None), "elsewhere/b.jpg": ("dog", None)},
        "tables/labels.csv",
        options={"images": "elsewhere"},
    ),
    "another case": Export(
        {
            **photos("Images/A.JPG", "Images/b.jpg"),
            "t.csv": lines("image,label", "images/a.jpg,x", "images/B.JPG,y"),
        },
        {"Images/A.JPG": ("x", None), "Images/b.jpg": ("y", None)},
        "t.csv",
    ),
    "percent-encoded": Export(
        {
            **photos("my photos/a b.jpg", "my photos/é.jpg"),
            "t.csv": lines("image,label", "my%20photos/a%20b.jpg,x", "my%20photos/%C3%A9.jpg,y"),
        },
        {"my photos/a b.jpg": ("x", None), "my photos/é.jpg": ("y", None)},
        "t.csv",
    ),
    "COCO of Windows": Export(
        {
            **photos("train/a.jpg", "train/b.jpg"),
            "train.json": as_json(
                {
                    "images": [
                        {"id": 1, "file_name": "train\\a.jpg"},
                        {"id": 2, "file_name": "D:\\x\\train\\B.jpg"},
                    ],
                    "annotations": [
                        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4]},
                        {"id": 2, "image_id": 2, "category_id": 2, "bbox": [1, 1, 4, 4]},
                    ],
                    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
                }
            ),
        },
        {"train/a.jpg": ("cat", (1, 1, 5, 5), None), "train/b.jpg": ("dog", (1, 1, 5, 5), None)},
        "train.json",
        "box",
    ),
}


def labels_of(listing: Listing, root: Path) -> dict[str, Any]:
    """Return the label of each photo, its box if it has one, and its split."""
    found: dict[str, Any] = {}
    for each in listing.candidates:
        answer: Any = each.labels if listing.task == "multilabel" else each.class_name
        answer = each.numbers if listing.task == "regression" else answer
        box = () if each.box is None else (each.box,)
        found[Path(each.path).relative_to(root).as_posix()] = (answer, *box, each.split)
    return found


def read(root: Path, export: Export) -> Listing:
    options = dict(export.options)
    if "images" in options:
        options["images"] = root / options["images"]
    return read_source(root / export.data, **options)


UNDERSTOOD = {**FOUND_BY_NAME}


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_an_export_is_understood(tree, name: str) -> None:
    export = UNDERSTOOD[name]
    root = tree(export.files)
    listing = read(root, export)
    assert (labels_of(listing, root), listing.task) == (export.labels, export.task)
    assert listing.quarantined == ()
    notes = "\n".join(listing.notes)
    for words in export.said:
        assert words in notes


TWICE = photos("train/1.png", "test/1.png", "train/2.png")
REFUSED: dict[str, tuple[Mapping[str, Any], str, tuple[str, ...]]] = {
    "names that two photos have": (
        {**TWICE, "train.csv": lines("id,label", "1,frog", "2,truck")},
        "train.csv",
        ("2 photos have the name '1'", "test/1.png'", "train/1.png'", "--images FOLDER"),
    ),
    "a photo with another suffix": (
        {**photos("a.png", "b.jpg"), "t.csv": lines("image,label", "a.jpg,x", "b.jpg,y")},
        "t.csv",
        ("no such photo", "The nearest that is there", "a.png"),
    ),
    "a photo that is in another folder than the table says": (
        {**photos("cats/1.jpg", "dogs/2.jpg"), "t.csv": lines("image,label", "cats/1.jpg,x", "cats/2.jpg,y")},
        "t.csv",
        ("no such photo", "The nearest that is there", "dogs/2.jpg"),
    ),
    "photos that are elsewhere": (
        {**photos("elsewhere/a.jpg"), "tables/t.csv": lines("image,label", "a.jpg,x", "b.jpg,y")},
        "tables/t.csv",
        ("no photos below", "--images FOLDER"),
    ),
    "two columns that may name the photos": (
        {**photos("a.jpg"), "t.csv": lines("path,filename,label", "a.jpg,a.jpg,x")},
        "t.csv",
        ("'path', 'filename'", "--image-column"),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_export_is_refused_with_what_to_do(tree, name: str) -> None:
    files, data, told = REFUSED[name]
    root = tree(files)
    with pytest.raises(HeadstartError) as caught:
        read_source(root / data)
    for words in told:
        assert words in str(caught.value)
