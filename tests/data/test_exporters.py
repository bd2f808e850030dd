"""Folders and tables as their exporters write them: each is understood, or refused in one sentence."""

from __future__ import annotations

import io
import json
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data.conftest import photo
from tests.data.test_voc import xml

from headstart.data.check import check_images
from headstart.data.sources.source import read_source
from headstart.errors import HeadstartError
from headstart.images import parquet_rows
from headstart.images.photo import Photo
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


BOXES = {"a.jpg": ("cat", (1, 1, 5, 5), None), "b.jpg": ("dog", (2, 0, 8, 6), None)}  # of photos of 8 x 6
CAT_DOG = {"a.jpg": ("cat", None), "b.jpg": ("dog", None)}
SEVERAL = {"a.jpg": (("cat", "dog"), None), "b.jpg": (("dog",), None), "c.jpg": ((), None)}
IN_SPLITS = {"train/a.jpg": ("cat", "train"), "train/b.jpg": ("dog", "train"), "test/c.jpg": ("cat", "test")}

TABLES = {
    "Roboflow: _classes.csv in each split, one class each": Export(
        {
            **photos(*IN_SPLITS),
            "train/_classes.csv": lines("filename, cat, dog", "a.jpg, 1, 0", "b.jpg, 0, 1"),
            "test/_classes.csv": lines("filename, cat, dog", "c.jpg, 1, 0"),
            "README.roboflow.txt": b"exported",
        },
        IN_SPLITS,
        said=("'cat', 'dog' as one-hot classes (one class per photo",),
    ),
    "Roboflow: _classes.csv with several classes in one split": Export(
        {
            **photos(*IN_SPLITS),
            "train/_classes.csv": lines("filename, cat, dog", "a.jpg, 1, 1", "b.jpg, 0, 1"),
            "test/_classes.csv": lines("filename, cat, dog", "c.jpg, 1, 0"),
        },
        {
            "train/a.jpg": (("cat", "dog"), "train"),
            "train/b.jpg": (("dog",), "train"),
            "test/c.jpg": (("cat",), "test"),
        },
        task="multilabel",
    ),
    "plant pathology: ids and one-hot columns": Export(
        {
            **photos("images/Train_0.jpg", "images/Train_1.jpg"),
            "train.csv": lines("image_id,healthy,rust,scab", "Train_0,0,1,0", "Train_1,1,0,0"),
        },
        {"images/Train_0.jpg": ("rust", None), "images/Train_1.jpg": ("healthy", None)},
        "train.csv",
    ),
    "ISIC: one-hot columns with decimals": Export(
        {
            **photos("ISIC_2019_Training_Input/ISIC_1.jpg", "ISIC_2019_Training_Input/ISIC_2.jpg"),
            "GroundTruth.csv": lines("image,MEL,NV,UNK", "ISIC_1,1.0,0.0,0.0", "ISIC_2,0.0,1.0,0.0"),
        },
        {
            "ISIC_2019_Training_Input/ISIC_1.jpg": ("MEL", None),
            "ISIC_2019_Training_Input/ISIC_2.jpg": ("NV", None),
        },
        "GroundTruth.csv",
    ),
    "CelebA: attributes of 1 and -1": Export(
        {
            **photos("img/1.jpg", "img/2.jpg"),
            "attr.csv": lines("image_id,Hat,Male", "1.jpg,-1,-1", "2.jpg,1,1"),
        },
        {"img/1.jpg": ((), None), "img/2.jpg": (("Hat", "Male"), None)},
        "attr.csv",
        "multilabel",
    ),
    "one-hot columns by name, among others": Export(
        {
            **photos("a.jpg", "b.jpg"),
            "t.csv": lines("image,cat,dog,blurred,age", "a.jpg,1,0,1,3", "b.jpg,0,1,1,4"),
        },
        CAT_DOG,
        "t.csv",
        options={"label_column": "cat,dog"},
    ),
    "Keras: filename and class": Export(
        {**photos("a.jpg", "b.jpg"), "t.csv": lines("filename,class", "a.jpg,cat", "b.jpg,dog")},
        CAT_DOG,
        "t.csv",
    ),
    "TensorFlow object detection: boxes with a class": Export(
        {
            **photos("train/a.jpg", "train/b.jpg"),
            "train/_annotations.csv": lines(
                "filename,width,height,class,xmin,ymin,xmax,ymax",
                "a.jpg,8,6,cat,1,1,5,5",
                "b.jpg,8,6,dog,2,0,8,6",
            ),
        },
        {f"train/{name}": (*answer[:2], "train") for name, answer in BOXES.items()},
        task="box",
    ),
    "Excel: a line that names the separator": Export(
        {**photos("a.jpg", "b.jpg"), "t.csv": lines("sep=;", "image;label", "a.jpg;cat", "b.jpg;dog")},
        CAT_DOG,
        "t.csv",
    ),
    "Hugging Face: metadata.csv above the splits": Export(
        {
            **photos(*IN_SPLITS),
            "metadata.csv": lines("file_name,label", "train/a.jpg,cat", "train/b.jpg,dog", "test/c.jpg,cat"),
        },
        IN_SPLITS,
        said=("Splits are the names of the upper folders",),
    ),
    "Hugging Face: metadata.jsonl in the splits": Export(
        {
            **photos(*IN_SPLITS),
            "train/metadata.jsonl": lines(
                '{"file_name": "a.jpg", "label": "cat"}', '{"file_name": "b.jpg", "label": "dog"}'
            ),
            "test/metadata.jsonl": lines('{"file_name": "c.jpg", "label": "cat"}'),
        },
        IN_SPLITS,
    ),
    "a list of objects": Export(
        {
            **photos("a.jpg", "b.jpg"),
            "t.json": as_json([{"image": "a.jpg", "label": "cat"}, {"image": "b.jpg", "label": "dog"}]),
        },
        CAT_DOG,
        "t.json",
    ),
    "labels by name": Export(
        {**photos("a.jpg", "b.jpg"), "t.json": as_json({"a.jpg": "cat", "b.jpg": "dog"})}, CAT_DOG, "t.json"
    ),
    "several labels by name": Export(
        {
            **photos("a.jpg", "b.jpg", "c.jpg"),
            "t.json": as_json({"a.jpg": ["cat", "dog"], "b.jpg": ["dog"], "c.jpg": []}),
        },
        SEVERAL,
        "t.json",
        "multilabel",
    ),
    **{
        f"pandas: to_json(orient={orient!r})": Export(
            {**photos("a.jpg", "b.jpg"), "t.json": as_json(content)}, CAT_DOG, "t.json"
        )
        for orient, content in {
            "columns": {"image": {"0": "a.jpg", "1": "b.jpg"}, "label": {"0": "cat", "1": "dog"}},
            "index": {"0": {"image": "a.jpg", "label": "cat"}, "1": {"image": "b.jpg", "label": "dog"}},
            "split": {
                "columns": ["image", "label"],
                "index": [0, 1],
                "data": [["a.jpg", "cat"], ["b.jpg", "dog"]],
            },
            "table": {
                "schema": {"fields": [{"name": "image"}, {"name": "label"}]},
                "data": [
                    {"index": 0, "image": "a.jpg", "label": "cat"},
                    {"index": 1, "image": "b.jpg", "label": "dog"},
                ],
            },
            "list": {"image": ["a.jpg", "b.jpg"], "label": ["cat", "dog"]},
        }.items()
    },
}


def task_of_label_studio(image: str, *results: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": 1,
        "data": {"image": image},
        "annotations": [{"id": 1, "result": list(results)}],
        "predictions": [],
    }


def choices(*names: str) -> dict[str, Any]:
    return {"from_name": "choice", "to_name": "image", "type": "choices", "value": {"choices": list(names)}}


def rectangle(name: str, x: float, y: float, width: float, height: float) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0, "rectanglelabels": [name]}
    size = {"original_width": 8, "original_height": 6, "image_rotation": 0}
    return {"from_name": "label", "to_name": "image", "type": "rectanglelabels", "value": value, **size}


COCO_IMAGES = [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}]
COCO_CLASSES = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
TOOLS = {
    "Label Studio: choices, uploaded photos": Export(
        {
            **photos("a.jpg", "b.jpg"),
            "t.json": as_json(
                [
                    task_of_label_studio("/data/upload/3/1a2b3c4d-a.jpg", choices("cat")),
                    task_of_label_studio("/data/upload/3/5e6f7a8b-b.jpg", choices("dog")),
                    {"id": 3, "data": {"image": "/data/upload/3/00000000-c.jpg"}, "annotations": []},
                ]
            ),
        },
        CAT_DOG,
        "t.json",
        said=("1 task of", "without an annotation"),
    ),
    "Label Studio: several choices, local files": Export(
        {
            **photos("set/a.jpg", "set/b.jpg"),
            "t.json": as_json(
                [
                    task_of_label_studio("/data/local-files/?d=set/a.jpg", choices("cat", "dog")),
                    task_of_label_studio("/data/local-files/?d=set%2Fb.jpg", choices("dog")),
                ]
            ),
        },
        {"set/a.jpg": (("cat", "dog"), None), "set/b.jpg": (("dog",), None)},
        "t.json",
        "multilabel",
    ),
    "Label Studio: rectangles": Export(
        {
            **photos("a.jpg", "b.jpg"),
            "t.json": as_json(
                [
                    task_of_label_studio(
                        "https://storage/x/a.jpg?token=1", rectangle("cat", 12.5, 100 / 6, 50, 400 / 6)
                    ),
                    task_of_label_studio("s3://bucket/b.jpg", rectangle("dog", 25, 0, 75, 100)),
                ]
            ),
        },
        BOXES,
        "t.json",
        "box",
    ),
    "Label Studio: JSON-MIN with choices": Export(
        {
            **photos("a.jpg", "b.jpg", "c.jpg"),
            "t.json": as_json(
                [
                    {
                        "image": "/data/upload/1/1a2b3c4d-a.jpg",
                        "id": 1,
                        "choice": {"choices": ["cat", "dog"]},
                    },
                    {"image": "/data/upload/1/1a2b3c4d-b.jpg", "id": 2, "choice": "dog", "annotator": 1},
                    {"image": "/data/upload/1/1a2b3c4d-c.jpg", "id": 3, "choice": {"choices": []}},
                ]
            ),
        },
        SEVERAL,
        "t.json",
        "multilabel",
    ),
    "Create ML: centres of boxes": Export(
        {
            **photos("a.jpg", "b.jpg"),
            "_annotations.createml.json": as_json(
                [
                    {
                        "image": "a.jpg",
                        "annotations": [
                            {"label": "cat", "coordinates": {"x": 3, "y": 3, "width": 4, "height": 4}}
                        ],
                    },
                    {
                        "image": "b.jpg",
                        "annotations": [
                            {"label": "dog", "coordinates": {"x": 5, "y": 3, "width": 6, "height": 6}}
                        ],
                    },
                ]
            ),
        },
        BOXES,
        "_annotations.createml.json",
        "box",
    ),
    "COCO: ids as text": Export(
        {
            **photos("a.jpg", "b.jpg"),
            "t.json": as_json(
                {
                    "images": [{**each, "id": str(each["id"])} for each in COCO_IMAGES],
                    "annotations": [
                        {"id": "1", "image_id": "1", "category_id": 1, "bbox": [1, 1, 4, 4]},
                        {"id": "2", "image_id": 2, "category_id": "2", "bbox": [2, 0, 6, 6]},
                    ],
                    "categories": COCO_CLASSES,
                }
            ),
        },
        BOXES,
        "t.json",
        "box",
    ),
    **{
        f"COCO without boxes, {task}": Export(
            {
                **photos("a.jpg", "b.jpg"),
                "t.json": as_json(
                    {
                        "images": COCO_IMAGES,
                        "annotations": [
                            {"id": number, "image_id": image, "category_id": name, "bbox": []}
                            for number, (image, name) in enumerate(pairs)
                        ],
                        "categories": COCO_CLASSES,
                    }
                ),
            },
            labels,
            "t.json",
            task,
            said=("No annotation has a box",),
        )
        for task, pairs, labels in (
            ("classification", [(1, 1), (2, 2)], CAT_DOG),
            ("multilabel", [(1, 1), (1, 2), (2, 2)], {name: SEVERAL[name] for name in CAT_DOG}),
        )
    },
    "Pascal VOC: names in another case, of Windows and percent-encoded": Export(
        {
            **photos("images/A.JPG", "images/b c.jpg"),
            "annotations/1.xml": xml("a.jpg", ("cat", (2, 2, 5, 5))),
            "annotations/2.xml": xml(r"C:\set\b%20c.jpg", ("dog", (3, 1, 8, 6))),
        },
        {"images/A.JPG": ("cat", (1, 1, 5, 5), None), "images/b c.jpg": ("dog", (2, 0, 8, 6), None)},
        task="box",
    ),
    "Pascal VOC: photos elsewhere": Export(
        {
            **photos("jpg/a.jpg", "jpg/b.jpg"),
            "voc/a.xml": xml("a.jpg", ("cat", (2, 2, 5, 5))),
            "voc/b.xml": xml("b.jpg", ("dog", (3, 1, 8, 6))),
        },
        {f"jpg/{name}": answer for name, answer in BOXES.items()},
        "voc",
        "box",
        options={"images": "jpg"},
    ),
    "COCO: photos elsewhere": Export(
        {
            **photos("jpg/deep/a.jpg", "jpg/deep/b.jpg"),
            "coco/t.json": as_json(
                {
                    "images": COCO_IMAGES,
                    "annotations": [
                        {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4]},
                        {"id": 2, "image_id": 2, "category_id": 2, "bbox": [2, 0, 6, 6]},
                    ],
                    "categories": COCO_CLASSES,
                }
            ),
        },
        {f"jpg/deep/{name}": answer for name, answer in BOXES.items()},
        "coco/t.json",
        "box",
        options={"images": "jpg"},
    ),
    "YOLO: classification": Export(
        photos("train/cat/a.jpg", "train/dog/b.jpg", "val/cat/c.jpg"),
        {
            "train/cat/a.jpg": ("cat", "train"),
            "train/dog/b.jpg": ("dog", "train"),
            "val/cat/c.jpg": ("cat", "val"),
        },
    ),
    "YOLO: boxes, as Ultralytics lays them out": Export(
        {
            **photos("images/train/a.jpg", "images/val/b.jpg"),
            "labels/train/a.txt": lines("0 0.375 0.5 0.5 0.6"),
            "labels/val/b.txt": lines("0 0.5 0.5 1 1"),
            "data.yaml": lines(
                "path: ../set", "train: images/train", "names:", "  0: cat # a cat", "  1: dog"
            ),
        },
        {
            "images/train/a.jpg": ("cat", (0.125, 0.2, 0.625, 0.8), "train"),
            "images/val/b.jpg": ("cat", (0, 0, 1, 1), "val"),
        },
        task="box",
    ),
    "YOLO: boxes, as Roboflow lays them out": Export(
        {
            **photos("train/images/a.jpg", "train/images/b.jpg", "train/images/none.jpg"),
            "train/labels/a.txt": lines("0 0.5 0.5 1 1"),
            "train/labels/b.txt": lines("1 0.5 0.5 1 1"),
            "train/labels/none.txt": b"",
            "data.yaml": lines("train: ../train/images", "nc: 2", "names: ['cat', 'dog']"),
        },
        {
            "train/images/a.jpg": ("cat", (0, 0, 1, 1), "train"),
            "train/images/b.jpg": ("dog", (0, 0, 1, 1), "train"),
        },
        task="box",
    ),
    "names of files: cats and dogs": Export(
        photos("cat.0.jpg", "cat.1.jpg", "dog.0.jpg"),
        {"cat.0.jpg": ("cat", None), "cat.1.jpg": ("cat", None), "dog.0.jpg": ("dog", None)},
        options={"label_from": "^([a-z]+)"},
    ),
    "names of files: Oxford pets, with splits": Export(
        photos("train/British_Shorthair_1.jpg", "train/pug_2.jpg", "test/pug_1.jpg"),
        {
            "train/British_Shorthair_1.jpg": ("British_Shorthair", "train"),
            "train/pug_2.jpg": ("pug", "train"),
            "test/pug_1.jpg": ("pug", "test"),
        },
        options={"label_from": r"(?P<label>\w+)_\d+\.jpg"},
        said=("Splits are the names of the upper folders",),
    ),
}


def in_parquet(rows: list[dict[str, Any]], names: list[str] | None = None, **options: Any) -> bytes:
    """Write a table as ``datasets.to_parquet`` does; ``names`` are those of the classes."""
    table = pa.Table.from_pylist(rows)
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


def photo_in_row(number: int, name: str | None = None) -> dict[str, Any]:
    return {"bytes": photo(number), "path": name}


PARQUET = {
    "Hugging Face: Parquet with photos and numbered classes": Export(
        {
            "data/train-00000-of-00002.parquet": in_parquet(
                [
                    {"image": photo_in_row(0, "a.jpg"), "label": 1},
                    {"image": photo_in_row(1), "label": 0},
                    {"image": photo_in_row(2), "label": 1},
                ],
                ["cat", "dog"],
                row_group_size=2,
            ),
            "data/train-00001-of-00002.parquet": in_parquet(
                [{"image": photo_in_row(3, "d.jpg"), "label": 0}], ["cat", "dog"]
            ),
            "data/validation-00000-of-00001.parquet": in_parquet(
                [{"image": photo_in_row(4), "label": 0}], ["cat", "dog"]
            ),
        },
        {
            "data/train-00000-of-00002.parquet/row 1 a.jpg": ("dog", "train"),
            "data/train-00000-of-00002.parquet/row 2": ("cat", "train"),
            "data/train-00000-of-00002.parquet/row 3": ("dog", "train"),
            "data/train-00001-of-00002.parquet/row 1 d.jpg": ("cat", "train"),
            "data/validation-00000-of-00001.parquet/row 1": ("cat", "val"),
        },
    ),
    "Parquet with the bytes of photos": Export(
        {"t.parquet": in_parquet([{"image": photo(0), "label": "cat"}, {"image": photo(1), "label": "dog"}])},
        {"t.parquet/row 1": ("cat", None), "t.parquet/row 2": ("dog", None)},
        "t.parquet",
    ),
    "Parquet with photos in a column of any name": Export(
        {
            "t.parquet": in_parquet(
                [{"scan": photo_in_row(n), "finding": name} for n, name in enumerate(["cat", "dog"])]
            )
        },
        {"t.parquet/row 1": ("cat", None), "t.parquet/row 2": ("dog", None)},
        "t.parquet",
        options={"label_column": "finding"},
        said=("'scan' for the photos, 'finding' for the classes",),
    ),
    "Parquet with the paths of photos": Export(
        {
            **photos("a.jpg", "b.jpg"),
            "t.parquet": in_parquet(
                [
                    {"image": {"bytes": None, "path": "a.jpg"}, "label": "cat"},
                    {"image": {"bytes": None, "path": "b.jpg"}, "label": "dog"},
                ]
            ),
        },
        CAT_DOG,
        "t.parquet",
    ),
}


def test_photos_in_parquet_are_read_by_row_in_any_order(tree) -> None:
    export = next(iter(PARQUET.values()))
    root = tree(export.files)
    candidates = pickle.loads(pickle.dumps(read(root, export))).candidates
    assert [candidate.photo.content() for candidate in candidates] == [photo(n) for n in range(5)]
    assert [candidate.photo.content() for candidate in reversed(candidates)] == [
        photo(n) for n in (4, 3, 2, 1, 0)
    ]
    assert [Photo(candidate.path).content() for candidate in candidates] == [photo(n) for n in range(5)]
    dataset = check_images(read(root, export))
    assert (len(dataset.records), dataset.quarantined) == (5, ())


def labels_of(listing: Listing, root: Path) -> dict[str, Any]:
    """Return the label of each photo, its box if it has one, and its split."""
    found: dict[str, Any] = {}
    for each in listing.candidates:
        answer: Any = each.labels if listing.task == "multilabel" else each.class_name
        answer = each.numbers if listing.task == "regression" else answer
        box = () if each.box is None else (tuple(round(edge, 9) for edge in each.box),)
        found[Path(each.path).relative_to(root).as_posix()] = (answer, *box, each.split)
    return found


def read(root: Path, export: Export) -> Listing:
    options = dict(export.options)
    if "images" in options:
        options["images"] = root / options["images"]
    return read_source(root / export.data, **options)


UNDERSTOOD = {**FOUND_BY_NAME, **TABLES, **TOOLS, **PARQUET}


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
    "a table without a header": (
        {**photos("a.jpg", "b.jpg"), "t.csv": lines("a.jpg,cat", "b.jpg,dog")},
        "t.csv",
        ("names a photo, so it is not a header", "image,label"),
    ),
    "a ZIP archive": ({"photos.zip": b"PK"}, "photos.zip", ("an archive. Unpack it, and name the folder",)),
    "a folder of ZIP archives": (
        {"a.zip": b"PK", "b.zip": b"PK"},
        "",
        ("2 of the files end in .zip", "Unpack"),
    ),
    "a spreadsheet": ({"t.xlsx": b"PK"}, "t.xlsx", ("a spreadsheet. Save it as CSV",)),
    "a video": ({"film.mp4": b"\0\0\0\x20ftypisom"}, "film.mp4", ("a video. Save frames as JPEG",)),
    "folders of videos": ({"cat/1.mp4": b"x", "dog/1.mp4": b"x"}, "", ("No images", ".mp4", "Save frames")),
    "arrays of NumPy": ({"x_train.npy": b"x"}, "x_train.npy", ("arrays, not photos",)),
    "labelme": (
        {
            **photos("a.jpg", "b.jpg"),
            "a.json": as_json({"version": "5.4", "shapes": [{"label": "cat"}], "imagePath": "a.jpg"}),
        },
        "",
        ("labelme's JSON", "labelme2coco"),
    ),
    "one file of labelme": (
        {"a.json": as_json({"version": "5.4", "shapes": [{"label": "cat"}], "imagePath": "a.jpg"})},
        "a.json",
        ("labelme's JSON", "labelme2coco"),
    ),
    "CVAT for images": (
        {
            **photos("images/a.jpg"),
            "annotations.xml": b"<?xml version='1.0'?><annotations><version>1.1</version>",
        },
        "annotations.xml",
        ("CVAT's own XML", "COCO 1.0 or Pascal VOC 1.1"),
    ),
    "a folder of CVAT": (
        {**photos("images/a.jpg"), "annotations.xml": b"<annotations><version>1.1</version></annotations>"},
        "",
        ("CVAT's own XML", "COCO 1.0 or Pascal VOC 1.1"),
    ),
    "segmentation masks": (
        photos("images/a.jpg", "images/b.jpg", "masks/a.png", "masks/b.png"),
        "",
        ("segmentation masks", "not supported"),
    ),
    "Kaggle's folders of splits beside a table": (
        {
            **photos("train_images/a.jpg", "train_images/b.jpg", "test_images/c.jpg"),
            "train.csv": lines("id,label"),
        },
        "",
        ("folders of splits (test_images, train_images)", "train.csv", "--label-from"),
    ),
    "folders of splits with labels in the names": (
        photos("train/cat.0.jpg", "train/dog.1.jpg", "test1/1.jpg"),
        "",
        ("folders of splits (test1, train)", "--label-from"),
    ),
    "trimaps below annotations": (
        photos("images/a.jpg", "images/b.jpg", "annotations/trimaps/a.png", "annotations/trimaps/b.png"),
        "",
        ("segmentation masks", "not supported"),
    ),
    "YOLO's polygons": (
        {
            **photos("images/a.jpg", "images/b.jpg"),
            "labels/a.txt": lines("0 0.1 0.1 0.5 0.1 0.5 0.5"),
            "labels/b.txt": lines("0 0.1 0.1 0.5 0.1 0.5 0.5"),
            "data.yaml": lines("names: [cat]"),
        },
        "",
        ("segmentation, pose or a rotated box", "Export YOLO detection"),
    ),
    "YOLO without the names of its classes": (
        {**photos("images/a.jpg"), "labels/a.txt": lines("0 0.5 0.5 1 1")},
        "",
        ("no file with the names of its classes", "data.yaml", "classes.txt"),
    ),
    "Label Studio: polygons": (
        {
            **photos("a.jpg"),
            "t.json": as_json([task_of_label_studio("a.jpg", {"type": "polygonlabels", "value": {}})]),
        },
        "t.json",
        ("polygonlabels are not supported", "rectanglelabels"),
    ),
    "VGG Image Annotator": ({"via.json": as_json({"_via_settings": {}})}, "via.json", ("VIA", "Export COCO")),
    "labels in names, not asked for": (
        photos("cat.0.jpg", "cat.1.jpg", "dog.0.jpg", "dog.1.jpg"),
        "",
        ("no class folders", "--label-from '(?P<label>"),
    ),
    "numbers that may be classes": (
        {**photos("a.jpg", "b.jpg"), "t.csv": lines("id_code,diagnosis", "a,2", "b,4")},
        "t.csv",
        ("--label-column diagnosis", "--target diagnosis"),
    ),
    "a table and class folders": (
        {
            **photos("cat/a.jpg", "dog/b.jpg"),
            "metadata.csv": lines("file_name,label", "cat/a.jpg,x", "dog/b.jpg,y"),
        },
        "",
        ("a table", "metadata.csv", "class folders", "--task classification"),
    ),
    "several columns of classes": (
        {**photos("a.jpg"), "t.csv": lines("image,species,breed", "a.jpg,cat,siam")},
        "t.csv",
        ("'species', 'breed'", "--label-column"),
    ),
}


def assert_refused(tree, files: Mapping[str, Any], data: str, told: tuple[str, ...]) -> None:
    """Assert that files are refused as training data in these words."""
    root = tree(files)
    with pytest.raises(HeadstartError) as caught:
        read_source(root / data)
    for words in told:
        assert words in str(caught.value)


@pytest.mark.parametrize("name", REFUSED)
def test_an_export_is_refused_with_what_to_do(tree, name: str) -> None:
    assert_refused(tree, *REFUSED[name])


@pytest.mark.parametrize(
    "names", ["{}.{}.jpg", "{}_{}.png", "{} ({}).jpg", "sub/{}-{}.jpg", "{}_at_home_{}b.jpg"]
)
def test_the_expression_that_is_suggested_finds_the_labels(tree, names: str) -> None:
    root = tree(photos(*(names.format(name, number) for name in ("cat", "dog") for number in range(2))))
    with pytest.raises(HeadstartError) as caught:
        read_source(root)
    (expression,) = re.findall("--label-from '(.+)'", str(caught.value))
    assert read_source(root, label_from=expression).class_names == ("cat", "dog")


def test_parquet_with_too_large_row_groups_is_refused(tree, monkeypatch) -> None:
    root = tree({"t.parquet": in_parquet([{"image": photo(n), "label": "x"} for n in range(3)])})
    monkeypatch.setattr(parquet_rows, "_MOST_GROUP_BYTES", 100)
    with pytest.raises(HeadstartError, match="row_group_size=1000"):
        read_source(root / "t.parquet")


def test_boxes_of_yolo_are_in_pixels_when_the_photos_are_read(tree) -> None:
    export = TOOLS["YOLO: boxes, as Ultralytics lays them out"]
    dataset = check_images(read(tree(export.files), export))
    assert [tuple(round(edge, 9) for edge in record.box) for record in dataset.records] == [
        (1, 1.2, 5, 4.8),
        (0, 0, 8, 6),
    ]
    assert not any("copy of their photo" in note for note in dataset.notes)
