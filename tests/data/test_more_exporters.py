"""More folders and tables as tools, clouds and data sets write them: understood, or refused by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from tests.data.test_exporters import (
    BOXES,
    CAT_DOG,
    Export,
    as_json,
    assert_refused,
    choices,
    in_parquet,
    labels_of,
    lines,
    photo_in_row,
    photos,
    read,
    task_of_label_studio,
)
from tests.data.test_voc import xml

from headstart.data.sources.source import read_source

AB = photos("a.jpg", "b.jpg")
ABC = photos("a.jpg", "b.jpg", "c.jpg")
HERE = {"images": ""}  # photos of these names are on this machine
IN_SPLITS = {"a.jpg": ("cat", "train"), "b.jpg": ("dog", "train"), "c.jpg": ("dog", "test")}
BOTH = {"a.jpg": (("cat", "dog"), None), "b.jpg": (("dog",), None)}


def json_lines(*rows: Mapping[str, Any]) -> bytes:
    return lines(*map(json.dumps, rows))


def objects(*boxes: tuple[int, list[float]]) -> dict[str, Any]:
    return {"bbox": [box for _, box in boxes], "categories": [name for name, _ in boxes]}


def of_vertex(name: str, use: str, **annotations: Any) -> dict[str, Any]:
    uses = {"aiplatform.googleapis.com/ml_use": use}
    return {"imageGcsUri": f"gs://bucket/{name}", **annotations, "dataItemResourceLabels": uses}


def of_aws(name: str, **jobs: tuple[Any, dict[str, Any]]) -> dict[str, Any]:
    """A line of a manifest: by job, the answer and what its metadata say besides."""
    row: dict[str, Any] = {"source-ref": f"s3://bucket/{name}"}
    for job, (answer, about) in jobs.items():
        kind = f"groundtruth/{about.get('type', 'image-classification')}"
        row[job] = answer
        row[f"{job}-metadata"] = {"job-name": f"labeling-job/{job}", "human-annotated": "yes"} | about
        row[f"{job}-metadata"]["type"] = kind
    return row


def named(name: str) -> tuple[int, dict[str, Any]]:
    return 0, {"class-name": name, "confidence": 0.9}


def boxes_of_aws(number: int, left: int, top: int, width: int, height: int) -> tuple[Any, dict[str, Any]]:
    box = {"class_id": number, "left": left, "top": top, "width": width, "height": height}
    answer = {"annotations": [box], "image_size": [{"width": 8, "height": 6, "depth": 3}]}
    return answer, {"type": "object-detection", "class-map": {"0": "cat", "1": "dog"}}


def of_azure(name: str, *tags: str, regions: Any = None) -> dict[str, Any]:
    uri = f"https://x.blob.core.windows.net/i-1/{name}?sv=1"
    found = [{"tagId": "1", "tagName": tag, "created": "2024"} for tag in tags]
    sizes = {"id": "5f-1", "width": 8, "height": 6}
    return {**sizes, "resizedImageUri": uri, "thumbnailUri": uri, "originalImageUri": uri, "tags": found} | (
        {} if regions is None else {"regions": regions}
    )


def region(name: str, left: float, top: float, width: float, height: float) -> dict[str, Any]:
    return {"tagName": name, "left": left, "top": top, "width": width, "height": height}


HUGGING_FACE = {
    "metadata.jsonl with the boxes of each photo": Export(
        {
            **AB,
            "metadata.jsonl": json_lines(
                {"file_name": "a.jpg", "objects": objects((0, [1, 1, 4, 4]))},
                {"file_name": "b.jpg", "objects": objects((1, [2, 0, 6, 6]))},
            ),
        },
        {"a.jpg": ("0", (1, 1, 5, 5), None), "b.jpg": ("1", (2, 0, 8, 6), None)},
        task="box",
        said=("left, top, width and height",),
    ),
    "metadata.jsonl with several boxes, as a list of objects": Export(
        {
            **AB,
            "metadata.jsonl": json_lines(
                {
                    "file_name": "a.jpg",
                    "objects": [
                        {"bbox": [0, 0, 1, 1], "category": "dog"},
                        {"bbox": [1, 1, 4, 4], "category": "cat"},
                    ],
                },
                {"file_name": "b.jpg", "objects": [{"bbox": [2, 0, 6, 6], "category": "dog"}]},
            ),
        },
        BOXES,
        task="box",
        options={"boxes": "largest"},
    ),
    "Parquet with photos and their boxes": Export(
        {
            "t.parquet": in_parquet(
                [
                    {
                        "image": photo_in_row(0),
                        "width": 8,
                        "height": 6,
                        "objects": objects((0, [1, 1, 4, 4])),
                    },
                    {
                        "image": photo_in_row(1),
                        "width": 8,
                        "height": 6,
                        "objects": objects((1, [2, 0, 6, 6])),
                    },
                ]
            )
        },
        {"t.parquet/row 1": ("0", (1, 1, 5, 5), None), "t.parquet/row 2": ("1", (2, 0, 8, 6), None)},
        "t.parquet",
        "box",
    ),
}

CLOUDS = {
    "Google AutoML: a class, with splits": Export(
        {
            **ABC,
            "t.csv": lines(
                "TRAIN,gs://bucket/a.jpg,cat", "TRAIN,gs://bucket/b.jpg,dog", "TEST,gs://bucket/c.jpg,dog"
            ),
        },
        IN_SPLITS,
        "t.csv",
        options=HERE,
    ),
    "Google AutoML: several labels, or none": Export(
        {**ABC, "t.csv": lines("gs://b/a.jpg,cat,dog", "gs://b/b.jpg,dog", "UNASSIGNED,gs://b/c.jpg")},
        BOTH,
        "t.csv",
        "multilabel",
        HERE,
        ("without a label: 1 photo",),
    ),
    "Vertex AI: a class": Export(
        {
            **ABC,
            "t.jsonl": json_lines(
                of_vertex("a.jpg", "training", classificationAnnotation={"displayName": "cat"}),
                of_vertex("b.jpg", "training", classificationAnnotation={"displayName": "dog"}),
                of_vertex("c.jpg", "test", classificationAnnotation={"displayName": "dog"}),
            ),
        },
        IN_SPLITS,
        "t.jsonl",
        options=HERE,
    ),
    "Vertex AI: several labels": Export(
        {
            **AB,
            "t.jsonl": json_lines(
                of_vertex(
                    "a.jpg", "", classificationAnnotations=[{"displayName": "cat"}, {"displayName": "dog"}]
                ),
                of_vertex("b.jpg", "", classificationAnnotations=[{"displayName": "dog"}]),
            ),
        },
        BOTH,
        "t.jsonl",
        "multilabel",
        HERE,
    ),
    "AWS: a class": Export(
        {
            **AB,
            "out.manifest": json_lines(of_aws("a.jpg", job=named("cat")), of_aws("b.jpg", job=named("dog"))),
        },
        CAT_DOG,
        "out.manifest",
        options=HERE,
    ),
    "AWS: several labels": Export(
        {
            **AB,
            "out.manifest": json_lines(
                *(
                    of_aws(
                        name,
                        job=(
                            numbers,
                            {
                                "class-map": {"0": "cat", "1": "dog"},
                                "type": "image-classification-multilabel",
                            },
                        ),
                    )
                    for name, numbers in (("a.jpg", [0, 1]), ("b.jpg", [1]))
                )
            ),
        },
        BOTH,
        "out.manifest",
        "multilabel",
        HERE,
    ),
    "AWS Rekognition: a job for each class": Export(
        {
            **AB,
            "out.manifest": json_lines(
                of_aws("a.jpg", set_cat=named("cat"), set_dog=named("dog")),
                of_aws("b.jpg", set_dog=named("dog")),
            ),
        },
        BOTH,
        "out.manifest",
        "multilabel",
        HERE,
    ),
    "AWS: one of several questions": Export(
        {
            **AB,
            "out.manifest": json_lines(
                of_aws("a.jpg", animal=named("cat"), colour=named("red")),
                of_aws("b.jpg", animal=named("dog"), colour=named("red")),
            ),
        },
        CAT_DOG,
        "out.manifest",
        options={**HERE, "label_column": "animal"},
    ),
    "AWS: boxes": Export(
        {
            **AB,
            "out.manifest": json_lines(
                of_aws("a.jpg", job=boxes_of_aws(0, 1, 1, 4, 4)),
                of_aws("b.jpg", job=boxes_of_aws(1, 2, 0, 6, 6)),
            ),
        },
        BOXES,
        "out.manifest",
        "box",
        HERE,
    ),
    "Azure Custom Vision: tags": Export(
        {**ABC, "t.json": as_json([of_azure("a.jpg", "cat"), of_azure("b.jpg", "dog"), of_azure("c.jpg")])},
        CAT_DOG,
        "t.json",
        said=("without a label: 1 photo",),
    ),
    "Azure Custom Vision: regions": Export(
        {
            **AB,
            "t.json": as_json(
                [
                    of_azure("a.jpg", "cat", regions=[region("cat", 0.125, 1 / 6, 0.5, 4 / 6)]),
                    of_azure("b.jpg", "dog", regions=[region("dog", 0.25, 0, 0.75, 1)]),
                ]
            ),
        },
        BOXES,
        "t.json",
        "box",
    ),
}

TOOLS = {
    "Create ML: several labels": Export(
        {
            **AB,
            "t.json": as_json(
                [
                    {"filename": "a.jpg", "annotations": ["cat", "dog"]},
                    {"filename": "b.jpg", "annotations": ["dog"]},
                ]
            ),
        },
        BOTH,
        "t.json",
        "multilabel",
    ),
    "Roboflow: Create ML in each split": Export(
        {
            **photos("train/a.jpg", "valid/b.jpg"),
            **{
                f"{place}/_annotations.createml.json": as_json(
                    [
                        {
                            "image": name,
                            "annotations": [
                                {"label": "cat", "coordinates": {"x": 3, "y": 3, "width": 4, "height": 4}}
                            ],
                        }
                    ]
                )
                for place, name in (("train", "a.jpg"), ("valid", "b.jpg"))
            },
        },
        {
            "train/a.jpg": ("cat", (1, 1, 5, 5), "train"),
            "valid/b.jpg": ("cat", (1, 1, 5, 5), "val"),
        },
        task="box",
    ),
    "FiftyOne: numbers of classes": Export(
        {
            **photos("data/a.jpg", "data/b.jpg"),
            "labels.json": as_json({"classes": ["cat", "dog"], "labels": {"a": 0, "b": 1}}),
        },
        {f"data/{name}": answer for name, answer in CAT_DOG.items()},
    ),
    "FiftyOne: lists of labels": Export(
        {
            **photos("data/a.jpg", "data/b.jpg", "data/c.jpg"),
            "labels.json": as_json(
                {"classes": None, "labels": {"a": ["cat", "dog"], "b": ["dog"], "c": None}}
            ),
        },
        {f"data/{name}": answer for name, answer in BOTH.items()},
        "labels.json",
        "multilabel",
    ),
    "FiftyOne: with confidences": Export(
        {
            **photos("data/a.jpg", "data/b.jpg"),
            "labels.json": as_json(
                {
                    "classes": ["cat", "dog"],
                    "labels": {"a": {"label": 0, "confidence": 0.9}, "b": {"label": 1, "confidence": 0.8}},
                }
            ),
        },
        {f"data/{name}": answer for name, answer in CAT_DOG.items()},
    ),
    "Label Studio: CSV with several choices": Export(
        {
            **AB,
            "t.csv": lines(
                "image,id,choice,annotator,annotation_id,created_at,updated_at,lead_time",
                '/data/upload/1/1a2b3c4d-a.jpg,1,"{""choices"":[""cat"",""dog""]}",1,1,2024,2024,3.1',
                "/data/upload/1/1a2b3c4d-b.jpg,2,dog,1,2,2024,2024,3.1",
            ),
        },
        BOTH,
        "t.csv",
        "multilabel",
    ),
    "Label Studio: CSV with rectangles": Export(
        {
            **AB,
            "t.csv": lines(
                "image,id,label,annotator,annotation_id,created_at,updated_at,lead_time",
                *(
                    f'{name},1,"[{{""x"":{x},""y"":{y},""width"":{width},""height"":{height},""rotation"":0,'
                    f'""rectanglelabels"":[""{label}""],""original_width"":8,""original_height"":6}}]",1,1,1,1,1'
                    for name, label, (x, y, width, height) in (
                        ("a.jpg", "cat", (12.5, 100 / 6, 50, 400 / 6)),
                        ("b.jpg", "dog", (25, 0, 75, 100)),
                    )
                ),
            ),
        },
        BOXES,
        "t.csv",
        "box",
    ),
    "LabelImg: YOLO's text files beside the photos": Export(
        {
            **AB,
            "classes.txt": lines("cat", "dog"),
            "a.txt": lines("0 0.5 0.5 0.5 0.5"),
            "b.txt": lines("1 0.5 0.5 1 1"),
        },
        {"a.jpg": ("cat", (0.25, 0.25, 0.75, 0.75), None), "b.jpg": ("dog", (0, 0, 1, 1), None)},
        task="box",
    ),
    "Roboflow: Darknet in each split": Export(
        {
            **photos("train/a.jpg", "valid/b.jpg"),
            **{f"{place}/_darknet.labels": lines("cat") for place in ("train", "valid")},
            **{f"{name}.txt": lines("0 0.5 0.5 1 1") for name in ("train/a", "valid/b")},
        },
        {"train/a.jpg": ("cat", (0, 0, 1, 1), "train"), "valid/b.jpg": ("cat", (0, 0, 1, 1), "val")},
        task="box",
    ),
}

PLANET = ("clear primary", "clear", "cloudy", "clear water", "haze primary", "haze", "clear primary water")
COLUMNS = {
    "fastai: is_valid, and labels separated by spaces": Export(
        {
            **ABC,
            "t.csv": lines(
                "fname,labels,is_valid",
                "a.jpg,tvmonitor person,True",
                "b.jpg,person,False",
                "c.jpg,tvmonitor,False",
            ),
        },
        {
            "a.jpg": (("person", "tvmonitor"), "val"),
            "b.jpg": (("person",), "train"),
            "c.jpg": (("tvmonitor",), "train"),
        },
        "t.csv",
        "multilabel",
        said=("'labels' are separated by spaces", "--task classification", "in the column 'is_valid'"),
    ),
    "one-hot columns beside is_valid": Export(
        {**ABC, "t.csv": lines("image,cat,dog,is_valid", "a.jpg,1,0,0", "b.jpg,0,1,0", "c.jpg,0,1,1")},
        {"a.jpg": ("cat", "train"), "b.jpg": ("dog", "train"), "c.jpg": ("dog", "val")},
        "t.csv",
    ),
    "fastai: name and label": Export(
        {**AB, "labels.csv": lines("name,label", "a.jpg,cat", "b.jpg,dog")}, CAT_DOG, "labels.csv"
    ),
    "Kaggle's planet: tags separated by spaces": Export(
        {
            **photos(*(f"jpg/{number}.jpg" for number in range(len(PLANET)))),
            "t.csv": lines("image_name,tags", *(f"{number},{tags}" for number, tags in enumerate(PLANET))),
        },
        {f"jpg/{number}.jpg": (tuple(sorted(tags.split())), None) for number, tags in enumerate(PLANET)},
        "t.csv",
        "multilabel",
        said=("'tags' are separated by spaces",),
    ),
    "names of labels with spaces": Export(
        {**ABC, "t.csv": lines("image,labels", "a.jpg,polar bear", "b.jpg,brown bear", "c.jpg,great dane")},
        {
            "a.jpg": (("polar bear",), None),
            "b.jpg": (("brown bear",), None),
            "c.jpg": (("great dane",), None),
        },
        "t.csv",
        "multilabel",
        said=("parts of the names", "write a|b"),
    ),
    "labels separated by commas": Export(
        {**AB, "t.csv": lines("image,labels", 'a.jpg,"cat, dog"', "b.jpg,dog")},
        BOTH,
        "t.csv",
        "multilabel",
        said=("separated by ','",),
    ),
    "cells that are one class each, although called labels": Export(
        {**AB, "t.csv": lines("image,labels", 'a.jpg,"tench, Tinca tinca"', "b.jpg,dog")},
        {"a.jpg": ("tench, Tinca tinca", None), "b.jpg": ("dog", None)},
        "t.csv",
        options={"task": "classification", "label_column": "labels"},
    ),
    "a name of a label with a comma": Export(
        {**ABC, "t.csv": lines("image,labels", "a.jpg,cat", "b.jpg,dog", 'c.jpg,"Other, unknown"')},
        {"a.jpg": (("cat",), None), "b.jpg": (("dog",), None), "c.jpg": (("Other, unknown",), None)},
        "t.csv",
        "multilabel",
        said=("',' and ' ' are parts of the names",),
    ),
    "columns that only have the names of those of tools": Export(
        {**AB, "t.csv": lines("image,category,objects,pixels", "a.jpg,cat,3,48", "b.jpg,dog,1,48")},
        CAT_DOG,
        "t.csv",
        said=("not used: 'objects', 'pixels'",),
    ),
    "boxes beside tags of the photo": Export(
        {
            **AB,
            "t.csv": lines("image,xmin,ymin,xmax,ymax,tags", "a.jpg,1,1,5,5,dark", "b.jpg,2,0,8,6,dark wide"),
        },
        {"a.jpg": ("", (1, 1, 5, 5), None), "b.jpg": ("", (2, 0, 8, 6), None)},
        "t.csv",
        "box",
    ),
    "is_valid, by name": Export(
        {**ABC, "t.csv": lines("image,label,is_valid", "a.jpg,cat,0", "b.jpg,dog,0", "c.jpg,dog,1")},
        {"a.jpg": ("cat", "train"), "b.jpg": ("dog", "train"), "c.jpg": ("dog", "val")},
        "t.csv",
        options={"split_column": "is_valid"},
    ),
    "pandas: lists as text": Export(
        {**AB, "t.csv": lines("image,labels", "a.jpg,\"['cat', 'dog']\"", "b.jpg,['dog']")},
        BOTH,
        "t.csv",
        "multilabel",
    ),
    "NIH: findings": Export(
        {**AB, "t.csv": lines("Image Index,Finding Labels,Follow-up #", "a.jpg,cat|dog,0", "b.jpg,dog,1")},
        BOTH,
        "t.csv",
        "multilabel",
    ),
    "several labels in a column of one class": Export(
        {**AB, "t.csv": lines("image,label", "a.jpg,cat|dog", "b.jpg,dog")},
        {"a.jpg": ("cat|dog", None), "b.jpg": ("dog", None)},
        "t.csv",
        said=("'|' in the name of the class", "--task multilabel"),
    ),
    **{
        f"splits in a column called {name}": Export(
            {
                **ABC,
                "t.csv": lines(f"image,label,{name}", "a.jpg,cat,Train", "b.jpg,dog,train", "c.jpg,dog,test"),
            },
            IN_SPLITS,
            "t.csv",
            said=(f"Splits are those in the column '{name}'",),
        )
        for name in ("subset", "fold", "set", "partition", "Split")
    },
    "folds by number": Export(
        {**AB, "t.csv": lines("image,label,fold", "a.jpg,cat,0", "b.jpg,dog,1")},
        CAT_DOG,
        "t.csv",
        said=("not used: 'fold'",),
    ),
    "addresses in a column called url": Export(
        {**AB, "t.csv": lines("url,label", "https://x.org/a.jpg,cat", "https://x.org/b.jpg?w=9,dog")},
        CAT_DOG,
        "t.csv",
        options=HERE,
        said=("'url' for the photos",),
    ),
    "iNaturalist": Export(
        {
            **AB,
            "t.csv": lines(
                "id,url,image_url,species_guess,scientific_name,common_name,taxon_id",
                "1,https://x.org/observations/1,https://x.org/a.jpg,Cat,cat,Cat,7",
                "2,https://x.org/observations/2,https://x.org/b.jpg,Dog,dog,Dog,8",
            ),
        },
        CAT_DOG,
        "t.csv",
        options={**HERE, "label_column": "scientific_name"},
    ),
}

FOLDERS = {
    "splits in capitals, and files of systems": Export(
        {
            **photos("Train/Cat/a.jpg", "Train/Dog (2)/b.jpg", "Valid/Cat/c.jpg", "Test/Dog (2)/d.jpg"),
            **photos("__MACOSX/Train/Cat/._a.jpg"),
            ".DS_Store": b"x",
            "Train/.DS_Store": b"x",
            "Train/Cat/Thumbs.db": b"x",
        },
        {
            "Train/Cat/a.jpg": ("Cat", "train"),
            "Train/Dog (2)/b.jpg": ("Dog (2)", "train"),
            "Valid/Cat/c.jpg": ("Cat", "val"),
            "Test/Dog (2)/d.jpg": ("Dog (2)", "test"),
        },
    ),
    "dates that are classes": Export(
        photos("2024-01-05/a.jpg", "2024-01-06/b.jpg"),
        {"2024-01-05/a.jpg": ("2024-01-05", None), "2024-01-06/b.jpg": ("2024-01-06", None)},
        options={"task": "classification"},
    ),
}

UNDERSTOOD = {**HUGGING_FACE, **CLOUDS, **TOOLS, **COLUMNS, **FOLDERS}


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


SUPERVISELY = {
    **photos("ds/img/a.jpg", "ds/img/b.jpg"),
    "meta.json": as_json({"classes": [{"title": "cat", "shape": "rectangle"}], "tags": []}),
    "ds/ann/a.jpg.json": as_json(
        {
            "description": "",
            "tags": [],
            "size": {"height": 6, "width": 8},
            "objects": [
                {"classTitle": "cat", "geometryType": "rectangle", "points": {"exterior": [[1, 1], [5, 5]]}}
            ],
        }
    ),
}
DARWIN = {
    **AB,
    "a.json": as_json(
        {
            "version": "2.0",
            "schema_ref": "https://darwin-public.s3.eu-west-1.amazonaws.com/darwin_json/2.0/schema.json",
            "item": {"name": "a.jpg", "path": "/", "slots": []},
            "annotations": [{"bounding_box": {"h": 4, "w": 4, "x": 1, "y": 1}, "name": "cat"}],
        }
    ),
}
VIA = {
    "a.jpg95": {
        "filename": "a.jpg",
        "size": 95,
        "regions": [{"shape_attributes": {"name": "rect", "x": 1}, "region_attributes": {"type": "cat"}}],
        "file_attributes": {},
    }
}
DATUMARO = {
    **photos("images/default/a.jpg", "images/default/b.jpg"),
    "annotations/default.json": as_json(
        {
            "info": {},
            "categories": {"label": {"labels": [{"name": "cat", "parent": "", "attributes": []}]}},
            "items": [{"id": "a", "annotations": [{"id": 0, "type": "label", "label_id": 0}]}],
        }
    ),
}
TINY_IMAGENET = {
    **photos("train/n01443537/images/n01443537_0.JPEG", "train/n01629819/images/n01629819_0.JPEG"),
    **photos("val/images/val_0.JPEG", "test/images/test_0.JPEG"),
    "val/val_annotations.txt": lines("val_0.JPEG\tn01443537\t0\t32\t44\t62"),
}
PETS = {
    **photos("images/Abyssinian_1.jpg", "images/pug_1.jpg", "annotations/trimaps/pug_1.png"),
    "annotations/list.txt": lines("#Image CLASS-ID SPECIES BREED ID", "Abyssinian_1 1 1 1", "pug_1 2 2 1"),
    "annotations/xmls/Abyssinian_1.xml": xml("Abyssinian_1.jpg", ("cat", (1, 1, 4, 4))),
}
CUB = {
    **photos("images/001.Albatross/a.jpg", "images/002.Auklet/b.jpg"),
    "images.txt": lines("1 001.Albatross/a.jpg", "2 002.Auklet/b.jpg"),
    "image_class_labels.txt": lines("1 1", "2 2"),
    "classes.txt": lines("1 001.Albatross", "2 002.Auklet"),
}
DOGS = {
    **photos("Images/n02085620-Chihuahua/a.jpg", "Images/n02085782-spaniel/b.jpg"),
    "Annotation/n02085620-Chihuahua/a": b"<annotation/>",
}
MVTEC = photos(
    *("train/good/0.png", "test/good/0.png", "test/broken/0.png", "ground_truth/broken/0_mask.png")
)
COPY = photos("yes/1.jpg", "no/2.jpg", "brain/yes/1.jpg", "brain/no/2.jpg")
FRACTIONS = "0.1,0.1,,,0.3,0.3,,"
OPEN_IMAGES = "ImageID,Source,LabelName,Confidence"
LABEL_STUDIO = as_json([task_of_label_studio("a.jpg", choices("cat"))])
SPLITS = {"dataset_dict.json": b"{}", "train/state.json": b"{}", "train/data-00000-of-00001.arrow": b"x"}
SAVED = {"state.json": b"{}", "dataset_info.json": b"{}", "data-00000-of-00001.arrow": b"x"}

REFUSED: dict[str, tuple[Mapping[str, Any], str, tuple[str, ...]]] = {
    "Hugging Face: save_to_disk": (SPLITS, "", ("save_to_disk", "['train'].to_parquet")),
    "Hugging Face: save_to_disk of one split": (SAVED, "", ("save_to_disk", ").to_parquet")),
    "Hugging Face: a file of Arrow": (SAVED, "data-00000-of-00001.arrow", ("save_to_disk", "to_parquet")),
    "Hugging Face: objects that are not boxes": (
        {**AB, "metadata.jsonl": json_lines({"file_name": "a.jpg", "objects": {"bbox": [[1, 2]]}})},
        "",
        ("metadata.jsonl, row 1", "four numbers"),
    ),
    "V7 Darwin": (DARWIN, "", ("V7 Darwin", "Export COCO")),
    "V7 Darwin: one file": (DARWIN, "a.json", ("V7 Darwin", "Export COCO")),
    "Supervisely": (SUPERVISELY, "", ("project of Supervisely", "COCO or Pascal VOC")),
    "Supervisely: its data set": (SUPERVISELY, "ds", ("project of Supervisely",)),
    "Supervisely: one file": (SUPERVISELY, "ds/ann/a.jpg.json", ("JSON of Supervisely",)),
    "Google AutoML: boxes": (
        {"t.csv": lines(f"TRAIN,gs://b/a.jpg,cat,{FRACTIONS}")},
        "t.csv",
        ("Google AutoML with boxes in fractions", "COCO"),
    ),
    "Google AutoML: another line": (
        {"t.csv": lines("gs://b/a.jpg,cat", "b.jpg,dog")},
        "t.csv",
        ("t.csv, line 2: no photo (gs://...)",),
    ),
    "Vertex AI: boxes": (
        {"t.jsonl": json_lines(of_vertex("a.jpg", "", boundingBoxAnnotations=[]))},
        "t.jsonl",
        ("Vertex AI with boxes in fractions", "COCO"),
    ),
    "AWS: several questions": (
        CLOUDS["AWS: one of several questions"].files,
        "out.manifest",
        ("'animal', 'colour'", "--label-column"),
    ),
    "AWS: segmentation": (
        {"t.manifest": json_lines(of_aws("a.jpg", job=("s3://x", {"type": "semantic-segmentation"})))},
        "t.manifest",
        ("'semantic-segmentation' of AWS", "not supported"),
    ),
    "AWS: a class without a name": (
        {"t.manifest": json_lines(of_aws("a.jpg", job=(0, {})), of_aws("b.jpg", job=named("dog")))},
        "t.manifest",
        ("t.manifest, line 1: class-name is None",),
    ),
    "VIA: CSV": (
        {
            "via.csv": lines(
                "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"
            )
        },
        "via.csv",
        ("VGG Image Annotator", "Export COCO"),
    ),
    "VIA: JSON": ({"via.json": as_json(VIA)}, "via.json", ("VGG Image Annotator", "Export COCO")),
    "VIA: JSON in the folder": ({**AB, "via.json": as_json(VIA)}, "", ("VGG Image Annotator", "Export COCO")),
    "Datumaro": (DATUMARO, "", ("JSON of Datumaro", "datum convert")),
    "Datumaro: the file": (DATUMARO, "annotations/default.json", ("JSON of Datumaro", "datum convert")),
    "FiftyOne: boxes": (
        {
            **AB,
            "labels.json": as_json(
                {"classes": ["cat"], "labels": {"a": [{"label": 0, "bounding_box": [0, 0, 1, 1]}]}}
            ),
        },
        "labels.json",
        ("FiftyOne's JSON with boxes", "COCODetectionDataset"),
    ),
    "FiftyOne: a class that has no name": (
        {**AB, "labels.json": as_json({"classes": ["cat"], "labels": {"a": 0, "b": 1}})},
        "labels.json",
        ("'b' has the class 1, but there are 1 names",),
    ),
    "FiftyOneDataset": (
        {**photos("data/a.jpg"), "metadata.json": b"{}", "samples.json": b'{"samples": []}'},
        "",
        ("FiftyOneDataset", "ImageClassificationDirectoryTree"),
    ),
    "Open Images: classes": (
        {**AB, "t.csv": lines(OPEN_IMAGES, "a,verification,/m/01g317,0")},
        "t.csv",
        ("Open Images", "Confidence 0", "a|b"),
    ),
    "Open Images: boxes": (
        {**AB, "t.csv": lines(f"{OPEN_IMAGES},XMin,XMax,YMin,YMax", "a,xclick,/m/01g317,1,0.1,0.5,0.2,0.7")},
        "t.csv",
        ("Open Images", "fractions", "COCO"),
    ),
    "FER2013: pixels as text": (
        {"t.csv": lines("emotion,pixels,Usage", "0,70 80 82,Training")},
        "t.csv",
        ("pixels as text", "Save each row as PNG"),
    ),
    "LabelImg without classes.txt": (
        {**AB, "a.txt": lines("0 0.5 0.5 0.5 0.5")},
        "",
        ("like those of YOLO ('a.txt')", "classes.txt"),
    ),
    "WebDataset, unpacked": ({**AB, "a.cls": b"0", "b.cls": b"1"}, "", ("WebDataset", "tar --sort=name")),
    "Label Studio: JSON beside the folder of photos": (
        {**photos("images/a.jpg"), "project-1.json": LABEL_STUDIO},
        "",
        ("If the labels are in", "project-1.json', name that file"),
    ),
    **{
        f"arrays: {name}": ({name: b"x"}, "", (f"1 of the files are like {name!r}", "arrays, not photos"))
        for name in ("d-train.tfrecord-00000-of-00001", "data_batch_1", "train-images-idx3-ubyte")
    },
    "arrays: LMDB": ({"data.mdb": b"x", "lock.mdb": b"x"}, "", ("end in .mdb", "arrays, not photos")),
    "arrays: a batch of CIFAR-10": ({"data_batch_1": b"x"}, "data_batch_1", ("arrays, not photos",)),
    "arrays: CIFAR-100": (dict.fromkeys(("train", "test", "meta"), b"x"), "", ("CIFAR-100",)),
    "Tiny ImageNet": (TINY_IMAGENET, "", ("Tiny ImageNet", "headstart train", "photos/train")),
    "Oxford-IIIT Pet": (
        PETS,
        "",
        ("Oxford-IIIT Pet", "--label-from '(?P<label>.+)_[0-9]+[.]jpg'", "--task box"),
    ),
    "CUB-200": (CUB, "", ("name that folder: headstart train", "photos/images")),
    "Stanford Dogs": (DOGS, "", ("name that folder: headstart train", "photos/Images")),
    "MVTec AD": (MVTEC, "", ("anomalies", "headstart train", "photos/test")),
    "MVTec AD: all products": (
        {f"{name}/{path}": content for name in ("bottle", "cable") for path, content in MVTEC.items()},
        "",
        ("anomalies", "headstart train", "photos/bottle/test"),
    ),
    "class folders, and a copy of all beside them": (
        COPY,
        "",
        ("'brain' holds the class folders beside it again: 'no', 'yes'", "Remove the copy"),
    ),
    **{
        f"dates as names of folders: {first}": (
            photos(f"{first}/a.jpg", f"{second}/b.jpg"),
            "",
            ("dates as names", "--task classification"),
        )
        for first, second in (
            ("2024-01-05", "2024-01-06"),
            ("20240105", "20240106"),
            ("05.01.2024", "06.01.2024"),
        )
    },
    "a mark of usable rows": (
        {**ABC, "t.csv": lines("image,label,is_valid", "a.jpg,cat,1", "b.jpg,dog,1", "c.jpg,dog,0")},
        "t.csv",
        ("'is_valid' is true in 2 of 3 rows", "--split-column is_valid", "rename it"),
    ),
    "several columns of splits": (
        {**AB, "t.csv": lines("image,label,set,subset", "a.jpg,cat,train,val", "b.jpg,dog,val,train")},
        "t.csv",
        ("'set', 'subset'", "--split-column"),
    ),
    "iNaturalist": (
        COLUMNS["iNaturalist"].files,
        "t.csv",
        ("'species_guess', 'scientific_name', 'common_name'", "--label-column"),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_export_is_refused_with_what_to_do(tree, name: str) -> None:
    assert_refused(tree, *REFUSED[name])


@pytest.mark.parametrize(
    ("files", "advised", "options", "classes"),
    [
        (PETS, "images", {"label_from": "(?P<label>.+)_[0-9]+[.]jpg"}, ("Abyssinian", "pug")),
        (CUB, "images", {}, ("001.Albatross", "002.Auklet")),
        (DOGS, "Images", {}, ("n02085620-Chihuahua", "n02085782-spaniel")),
        (MVTEC, "test", {}, ("broken", "good")),
        (TINY_IMAGENET, "train", {}, ("n01443537", "n01629819")),
        (COPY, "brain", {}, ("no", "yes")),
        (COPY, "", {"task": "classification"}, ("brain", "no", "yes")),
    ],
)
def test_what_is_advised_works(tree, files, advised: str, options, classes: tuple[str, ...]) -> None:
    assert read_source(tree(files) / advised, **options).class_names == classes
