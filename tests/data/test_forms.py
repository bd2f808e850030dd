"""One contract over all forms of data: the same photos with the same labels are the same records."""

import csv
import hashlib
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data.conftest import photo
from tests.data.test_voc import xml

from headstart.data.check import check_images
from headstart.data.sources.source import read_source
from headstart.images.photo import Photo
from headstart.records import Record

ROWS = [
    {"image": f"{name}/{number}.png", "label": name, "split": split}
    for split in ("train", "val", "test")
    for name in ("cat", "dog")
    for number in range(3)
]
BOX = {"xmin": 1, "ymin": 2, "xmax": 5, "ymax": 6}


def as_csv(rows: list[dict]) -> bytes:
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def as_parquet(rows: list[dict]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


def as_jsonl(rows: list[dict]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def as_coco(rows: list[dict]) -> bytes:
    names = sorted({row["label"] for row in rows})
    return json.dumps(
        {
            "images": [
                {"id": number, "file_name": row["image"], "width": 8, "height": 6}
                for number, row in enumerate(rows)
            ],
            "annotations": [
                {
                    "id": number,
                    "image_id": number,
                    "category_id": names.index(row["label"]),
                    "bbox": [1, 2, 4, 4],
                }
                for number, row in enumerate(rows)
            ],
            "categories": [{"id": number, "name": name} for number, name in enumerate(names)],
        }
    ).encode()


def as_voc(rows: list[dict]) -> dict[str, bytes]:
    corner = (2, 3, 5, 6)  # VOC counts pixels from one, so that a box includes its last
    return {
        f"{row['image'].removesuffix('.png')}.xml": xml(Path(row["image"]).name, (row["label"], corner))
        for row in rows
    }


TABLES = {"t.csv": as_csv, "t.parquet": as_parquet, "t.jsonl": as_jsonl}
WITH_SPLITS = [row | {"image": f"{row['split']}/{row['image']}"} for row in ROWS]
BOXES = [{"image": row["image"], "label": row["label"], **BOX} for row in ROWS if row["split"] == "train"]
FORMS = {
    **{f"classes, {name}": (WITH_SPLITS, {name: write(WITH_SPLITS)}, name) for name, write in TABLES.items()},
    "classes, folders": (WITH_SPLITS, {}, ""),
    **{f"boxes, {name}": (BOXES, {name: write(BOXES)}, name) for name, write in TABLES.items()},
    "boxes, coco.json": (BOXES, {"coco.json": as_coco(BOXES)}, "coco.json"),
    "boxes, VOC": (BOXES, as_voc(BOXES), ""),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_same_labels_in_another_form_are_the_same_records(tree, form):
    rows, files, data = FORMS[form]
    contents = {row["image"]: photo(number) for number, row in enumerate(rows)}
    damaged = next(name for name in contents if name.endswith("dog/2.png"))
    contents[damaged] = b"\x89PNG\r\n\x1a\n and no photo"
    root = tree(contents | files)
    is_box = rows is BOXES
    dataset = check_images(read_source(root / data, task="box" if is_box else "classification"))
    assert dataset.class_names == ("cat", "dog")
    assert sorted(dataset.records, key=lambda record: record.photo.key) == [
        Record(
            Photo(str(root / row["image"])),
            ("cat", "dog").index(row["label"]),
            row.get("split"),
            sha256=hashlib.sha256(contents[row["image"]]).hexdigest(),
            box=tuple(map(float, BOX.values())) if is_box else None,
            size=(8, 6) if is_box else None,
        )
        for row in sorted(rows, key=lambda row: row["image"])
        if row["image"] != damaged
    ]
    ((path, reason),) = [(each.path, each.reason) for each in dataset.quarantined]
    assert path == str(root / damaged)
    assert reason.startswith("truncated or damaged PNG")
    assert (dataset.found, dataset.ignored) == (len(rows), ())
