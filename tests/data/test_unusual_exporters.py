"""Unusual exports of cameras, microscopes, annotators and network drives: understood, or refused by name."""

from __future__ import annotations

import pytest
from tests.data.test_exporters import Export, as_json, assert_refused, labels_of, lines, photos, read
from tests.data.test_more_exporters import json_lines

from headstart.data.sources.source import read_source
from headstart.errors import DataError

AB = photos("a.jpg", "b.jpg")
ABC = photos("a.jpg", "b.jpg", "c.jpg")
CAT_DOG_CAT = {"a.jpg": ("cat", None), "b.jpg": ("dog", None), "c.jpg": ("cat", None)}
PRODIGY = {"_input_hash": 1, "_task_hash": 2, "_view_id": "classification"}
IN_TWO_FOLDERS = photos("S1/IMG_1.jpg", "S1/IMG_2.jpg", "S2/IMG_1.jpg", "S2/IMG_2.jpg")
DEER_FOX = {
    "S1/IMG_1.jpg": ("deer", None),
    "S1/IMG_2.jpg": ("fox", None),
    "S2/IMG_1.jpg": ("fox", None),
    "S2/IMG_2.jpg": ("deer", None),
}
RANKS = "file,kingdom,class,order,family,genus,scientificName"

AIRCRAFT = {
    **photos(*(f"images/{number}.jpg" for number in (1, 2, 3, 4))),
    "images_variant_train.txt": lines("1 707-320", "2 Boeing 717"),
    "images_variant_val.txt": lines("3 707-320"),
    "images_variant_trainval.txt": lines("1 707-320", "2 Boeing 717", "3 707-320"),
    "images_variant_test.txt": lines("4 Boeing 717"),
    "images_family_trainval.txt": lines("1 Boeing 707", "2 Boeing 717", "3 Boeing 707"),
    "images_family_test.txt": lines("4 Boeing 717"),
    "images_box.txt": lines(*(f"{number} 3 144 998 431" for number in (1, 2, 3, 4))),
}


def accepted(image: str, *options: str, answer: str = "accept") -> dict[str, object]:
    return {"image": image, "accept": options, "answer": answer, **PRODIGY}


UNDERSTOOD = {
    "Timelapse: the folder in a column of its own": Export(
        {
            **IN_TWO_FOLDERS,
            "t.csv": lines(
                *("RootFolder,File,RelativePath,Species", "x,IMG_1.jpg,S1,deer", "x,IMG_2.jpg,S1,fox"),
                *("x,IMG_1.jpg,S2,fox", "x,IMG_2.jpg,S2,deer"),
            ),
        },
        DEER_FOX,
        "t.csv",
        said=("in the column 'RelativePath'",),
    ),
    "CellProfiler: the folder of the same channel": Export(
        {
            **IN_TWO_FOLDERS,
            "image.csv": lines(
                *("Image_FileName_A,Image_PathName_A,Image_FileName_B,Image_PathName_B,moa",),
                *("IMG_1.jpg,data\\S1,o.jpg,o,deer", "IMG_2.jpg,data\\S1,o.jpg,o,fox"),
                *("IMG_1.jpg,data\\S2,o.jpg,o,fox", "IMG_2.jpg,data\\S2,o.jpg,o,deer"),
            ),
        },
        DEER_FOX,
        "image.csv",
        options={"image_column": "Image_FileName_A", "label_column": "moa"},
        said=("in the column 'Image_PathName_A'",),
    ),
    "a column of folders that is not needed": Export(
        {**ABC, "t.csv": lines("file,folder,label", "a.jpg,old,cat", "b.jpg,old,dog", "c.jpg,new,cat")},
        CAT_DOG_CAT,
        "t.csv",
    ),
    "Prodigy: rejected labels": Export(
        {
            **ABC,
            "t.jsonl": json_lines(
                {"image": "a.jpg", "label": "cat", "answer": "accept", **PRODIGY},
                {"image": "b.jpg", "label": "cat", "answer": "reject", **PRODIGY},
                {"image": "b.jpg", "label": "dog", "answer": "accept", **PRODIGY},
                {"image": "c.jpg", "label": "cat", "answer": "ignore", **PRODIGY},
            ),
        },
        {"a.jpg": ("cat", None), "b.jpg": ("dog", None)},
        "t.jsonl",
        said=("1 row of", "Prodigy's answer 'reject'", "Prodigy's answer 'ignore'"),
    ),
    "Prodigy: one option": Export(
        {**AB, "t.jsonl": json_lines(accepted("a.jpg", "cat"), accepted("b.jpg", "dog"))},
        {"a.jpg": ("cat", None), "b.jpg": ("dog", None)},
        "t.jsonl",
    ),
    "Prodigy: several options": Export(
        {**AB, "t.jsonl": json_lines(accepted("a.jpg", "cat", "dog"), accepted("b.jpg", "dog"))},
        {"a.jpg": (("cat", "dog"), None), "b.jpg": (("dog",), None)},
        "t.jsonl",
        task="multilabel",
    ),
    "Prodigy: photos in the file, with their paths": Export(
        {
            **AB,
            "t.jsonl": json_lines(
                {**accepted("data:image/jpeg;base64,AAAA", "cat"), "path": "a.jpg"},
                {**accepted("data:image/jpeg;base64,AAAA", "dog"), "path": "b.jpg"},
            ),
        },
        {"a.jpg": ("cat", None), "b.jpg": ("dog", None)},
        "t.jsonl",
    ),
    "doccano: a list of one class": Export(
        {
            **AB,
            "t.jsonl": json_lines(
                {"id": 1, "filename": "a.jpg", "label": ["cat"]},
                {"id": 2, "filename": "b.jpg", "label": ["dog"]},
            ),
        },
        {"a.jpg": ("cat", None), "b.jpg": ("dog", None)},
        "t.jsonl",
    ),
    "a column of splits with a name of its own": Export(
        {
            **ABC,
            "t.csv": lines(
                "filepaths,label,data set", "a.jpg,cat,train", "b.jpg,dog,train", "c.jpg,cat,valid"
            ),
        },
        {"a.jpg": ("cat", "train"), "b.jpg": ("dog", "train"), "c.jpg": ("cat", "val")},
        "t.csv",
        said=("'data set'",),
    ),
    "ExifTool: keywords": Export(
        {
            **ABC,
            "t.csv": lines(
                "SourceFile,FileName,Keywords", '1,a.jpg,"cat, old"', '2,b.jpg,"dog, old"', "3,c.jpg,cat"
            ),
        },
        {"a.jpg": (("cat", "old"), None), "b.jpg": (("dog", "old"), None), "c.jpg": (("cat",), None)},
        "t.csv",
        task="multilabel",
    ),
    "Airtable: the address of an attachment behind its name": Export(
        {
            **AB,
            "t.csv": lines(
                "Photo,Species", "a.jpg (https://x.com/v3/a),cat", "b.jpg (https://x.com/v3/b),dog"
            ),
        },
        {"a.jpg": ("cat", None), "b.jpg": ("dog", None)},
        "t.csv",
    ),
    "SuperAnnotate: a tag for each photo": Export(
        {**AB, "t.json": as_json({"a.jpg": {"tags": ["cat"]}, "b.jpg": {"tags": ["dog"]}})},
        {"a.jpg": (("cat",), None), "b.jpg": (("dog",), None)},
        "t.json",
        task="multilabel",
        said=("exactly one label",),
    ),
    "Caffe: a list of photos": Export(
        {**ABC, "train.txt": lines("a.jpg 3", "b.jpg golden retriever", "c.jpg\t3")},
        {"a.jpg": ("3", None), "b.jpg": ("golden retriever", None), "c.jpg": ("3", None)},
        "train.txt",
        said=("the name of a photo and its class",),
    ),
    "FGVC-Aircraft: lists beside a folder of photos": Export(
        AIRCRAFT,
        {
            "images/1.jpg": ("707-320", "train"),
            "images/2.jpg": ("Boeing 717", "train"),
            "images/3.jpg": ("707-320", "val"),
            "images/4.jpg": ("Boeing 717", "test"),
        },
        said=("--label-column family",),
    ),
    "FGVC-Aircraft: a higher level of classes, from the folder above": Export(
        {
            f"data/{name}": content
            for name, content in AIRCRAFT.items()
            if not name.endswith(("_train.txt", "_val.txt"))
        },
        {
            "data/images/1.jpg": ("Boeing 707", "train"),
            "data/images/2.jpg": ("Boeing 717", "train"),
            "data/images/3.jpg": ("Boeing 707", "train"),
            "data/images/4.jpg": ("Boeing 717", "test"),
        },
        options={"label_column": "family"},
    ),
    "GBIF: a text file with tabs": Export(
        {
            **AB,
            "occurrence.txt": lines(
                "gbifID\tclass\torder\tspecies", "a\tAves\tP\tC. corax", "b\tAves\tP\tA. crecca"
            ),
        },
        {"a.jpg": ("C. corax", None), "b.jpg": ("A. crecca", None)},
        "occurrence.txt",
        options={"image_column": "gbifID", "label_column": "species"},
    ),
    "Synology and Windows: thumbnails and recycle bins": Export(
        photos(
            *("cat/a.jpg", "cat/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "dog/b.jpg"),
            *("dog/.@__thumb/b.jpg", "#recycle/c.jpg", "$RECYCLE.BIN/d.jpg", "@eaDir/e.jpg"),
        ),
        {"cat/a.jpg": ("cat", None), "dog/b.jpg": ("dog", None)},
    ),
    "tables beside class folders": Export(
        {**photos("cat/a.jpg", "dog/b.jpg"), "train.csv": lines("Filename,ClassName", "cat/a.jpg,cat")},
        {"cat/a.jpg": ("cat", None), "dog/b.jpg": ("dog", None)},
        said=("not read", "train.csv"),
    ),
    "MURA: the classes are the innermost folders": Export(
        photos(
            *("train/ELBOW/p1/s1_negative/a.jpg", "train/ELBOW/p2/s1_positive/a.jpg"),
            *("train/HAND/p3/s1_negative/a.jpg", "train/HAND/p4/s1_positive/a.jpg"),
        ),
        {
            "train/ELBOW/p1/s1_negative/a.jpg": ("ELBOW", "train"),
            "train/ELBOW/p2/s1_positive/a.jpg": ("ELBOW", "train"),
            "train/HAND/p3/s1_negative/a.jpg": ("HAND", "train"),
            "train/HAND/p4/s1_positive/a.jpg": ("HAND", "train"),
        },
        said=("'s1_negative', 's1_positive'", "--label-from '(?P<label>[^/]+)/[^/]+$'"),
    ),
}


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_an_unusual_export_is_understood(tree, name: str) -> None:
    export = UNDERSTOOD[name]
    root = tree(export.files)
    listing = read(root, export)
    assert listing.task == export.task
    assert labels_of(listing, root) == export.labels
    notes = "\n".join(listing.notes)
    for words in export.said:
        assert words in notes


COVID = photos(*(f"{name}/{kind}/{name}.png" for name in ("COVID", "Normal") for kind in ("images", "masks")))
TAKEOUT = photos("Cats/a.jpg", "Dogs/b.jpg") | photos("Photos from 2023/a.jpg", "Photos from 2023/b.jpg")
MEGADETECTOR = {"images": [{"file": "a.jpg", "detections": []}], "detection_categories": {"1": "animal"}}
VOTT = {
    "assets": {"1": {"asset": {"name": "a.jpg"}, "regions": [{"tags": ["cat"], "boundingBox": {"left": 1}}]}}
}
KITTI = "Car 0.00 0 -1.57 599.41 156.40 629.75 189.25 2.85 2.63 12.34 0.47 1.49 69.44 -1.56"

REFUSED = {
    "masks in each class": (COVID, "", ("'masks' contains masks", "the folders above are then the classes")),
    "an album of all photos": (
        TAKEOUT,
        "",
        ("'Photos from 2023' has copies of all photos of 'Cats', 'Dogs'",),
    ),
    "ranks of biology": (
        {**AB, "t.csv": lines(RANKS, "a.jpg,Animalia,Aves,P,C,Corvus,Corvus corax")},
        "t.csv",
        ("'class'", "'scientificName'", "--label-column NAME"),
    ),
    "boxes in one column": (
        {**AB, "t.csv": lines("image_id,width,height,bbox,source", 'a,8,6,"[1, 1, 2, 2]",x')},
        "t.csv",
        ("boxes in one column, 'bbox'", "xmin, ymin, xmax and ymax"),
    ),
    "boxes by corner and size": (
        {**AB, "t.csv": lines("file,x,y,width,height,Target", "a.jpg,1,1,2,2,1", "b.jpg,,,,,0")},
        "t.csv",
        ("boxes in the columns x, y, width, height", "xmax is x + width"),
    ),
    "photos in the table as base64": (
        {"t.csv": lines("image,label", '"data:image/png;base64,AAAA",cat')},
        "t.csv",
        ("t.csv, line 2", "the photo itself"),
    ),
    "Prodigy: shapes": (
        {**AB, "t.jsonl": json_lines({**accepted("a.jpg", "cat"), "spans": [{"label": "cat"}]})},
        "t.jsonl",
        ("drawn in Prodigy",),
    ),
    "MegaDetector": ({**AB, "m.json": as_json(MEGADETECTOR)}, "m.json", ("MegaDetector",)),
    "VoTT": ({**AB, "v.json": as_json(VOTT)}, "v.json", ("VoTT's own JSON", "Pascal VOC")),
    "VoTT: the folder": ({**AB, "v.json": as_json(VOTT)}, "", ("VoTT's own JSON", "Pascal VOC")),
    "KITTI": (
        {**photos("image_2/0.jpg"), "label_2/0.txt": lines(KITTI)},
        "",
        ("label_2' has labels of KITTI", "a row per box"),
    ),
    "LLaVA": (
        {**AB, "t.json": as_json([{"image": "a.jpg", "conversations": []}])},
        "t.json",
        ("conversations about photos",),
    ),
    "Labelbox": (
        {**AB, "t.ndjson": json_lines({"data_row": {"external_id": "a.jpg"}, "projects": {}})},
        "t.ndjson",
        ("an export of Labelbox",),
    ),
    "a title above the table": (
        {**AB, "t.csv": lines("Summer 2023;;", ";;", "No;File;Species", "1;a.jpg;cat")},
        "t.csv",
        ("a single cell", "remove the lines above"),
    ),
    "a list of boxes": (
        {**AB, "t.txt": lines("a.jpg 3 144 998 431")},
        "t.txt",
        ("several numbers", "line 1"),
    ),
    "a list of photos": ({**AB, "t.txt": lines("a.jpg", "b.jpg")}, "t.txt", ("no label",)),
    "FGVC-Aircraft: names without suffix": (
        {**AB, "t.txt": lines("1025794 707-320", "1340192 A340")},
        "t.txt",
        ("neither a table", "Write a table"),
    ),
    "FGVC-Aircraft: one of its lists": (
        AIRCRAFT,
        "images_variant_train.txt",
        ("a part of FGVC-Aircraft", "headstart train"),
    ),
    "FGVC-Aircraft: its photos": (AIRCRAFT, "images", ("a part of FGVC-Aircraft", "headstart train")),
    "a list beside the photos": (
        {**photos("data/a.jpg", "data/b.jpg"), "train.txt": lines("data/a.jpg 0", "data/b.jpg 1")},
        "",
        ("If the labels are in", "train.txt"),
    ),
    "Food-101": (
        {**photos("images/cat/a.jpg", "images/dog/b.jpg"), "meta/train.json": as_json({"cat": ["cat/a"]})},
        "",
        ("no photos of 'meta'", "name it: headstart train", "images"),
    ),
    "no photo of a table": (
        {
            **AB,
            "t.csv": lines(
                "filename,image_id,label", *(f"x{n}.jpg,a,{'cat' if n else 'dog'}" for n in range(6))
            ),
        },
        "t.csv",
        ("If another column names them: --image-column NAME",),
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_unusual_export_is_refused_with_what_to_do(tree, name: str) -> None:
    assert_refused(tree, *REFUSED[name])


def test_the_fraction_that_is_advised_for_contradictory_rows_is_enough(tree) -> None:
    agreed = [f"{number}.jpg" for number in range(8)]
    rows = [f"{name},{label}" for name, label in zip(agreed, "abababab", strict=True) for _ in range(3)]
    rows += [f"{number}.jpg,{label}" for number in (8, 9) for label in "aab"]
    root = tree({**photos(*agreed, "8.jpg", "9.jpg"), "t.csv": lines("image,label", *rows)})
    with pytest.raises(DataError) as caught:
        read_source(root / "t.csv")
    advised = float(str(caught.value).partition("--allow-quarantined ")[2].split()[0])
    listing = read_source(root / "t.csv", allow_quarantined=advised)
    num_labels = len(listing.candidates) + len(listing.quarantined)
    assert len(listing.quarantined) <= advised * num_labels  # what is asked again when photos have been read
