"""COCO files: where photos lie, what is wrong with a record, and the account of every photo."""

import copy
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headstart.data.check import check_images
from headstart.data.sources.source import read_source
from headstart.errors import ConfigError, DataError

COCO = {
    "images": [{"id": n, "file_name": f"{n}.png", "width": 8, "height": 6} for n in range(4)],
    "annotations": [{"id": n, "image_id": n, "category_id": n % 2, "bbox": [1, 1, 4, 3]} for n in range(4)],
    "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}, {"id": 2, "name": "nowhere"}],
}


def coco(**lists) -> bytes:
    return json.dumps({**COCO, **lists}).encode()


def photos(folder: str) -> dict[str, int]:
    return {f"{folder}{n}.png": n for n in range(4)}


LAYOUTS = {
    "beside": ({"coco.json": coco(), **photos("")}, ""),
    "named": ({"coco.json": coco(), **photos("images/")}, "coco.json"),
    "indented": ({"coco.json": json.dumps(COCO, indent=2).encode(), **photos("")}, "coco.json"),
    "annotations": ({"annotations/instances.json": coco(), **photos("images/")}, ""),
    "annotations, named": (
        {"annotations/instances_train2017.json": coco(), **photos("train2017/")},
        "annotations/instances_train2017.json",
    ),
    "COCO": ({"annotations/instances_train2017.json": coco(), **photos("train2017/")}, ""),
    "Roboflow": ({"train/_annotations.coco.json": coco(), **photos("train/")}, ""),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_recognised(tree, layout):
    files, data = LAYOUTS[layout]
    root = tree(files)
    listing = read_source(root / data)
    assert listing.task == "box"
    assert listing.class_names == ("cat", "dog")
    assert [Path(c.path).name for c in listing.candidates] == [f"{n}.png" for n in range(4)]
    assert listing.candidates[0].box == (1.0, 1.0, 5.0, 4.0)
    assert listing.candidates[0].source.endswith(".json, images[0]")
    assert len(check_images(listing).records) == listing.found == 4


def test_several_files_are_splits_if_their_names_say_so(tree):
    other = coco(
        images=[{"id": 0, "file_name": "v.png"}],
        annotations=[{"image_id": 0, "category_id": 1, "bbox": [1, 1, 2, 2]}],
    )
    files = {
        "annotations/instances_train2017.json": coco(),
        "annotations/instances_val2017.json": other,
        "val2017/v.png": 9,
        **photos("train2017/"),
    }
    root = tree(files)
    listing = read_source(root)
    assert [c.split for c in listing.candidates] == ["train"] * 4 + ["val"]
    assert len(check_images(listing).records) == 5
    annotations = root / "annotations"
    both = read_source(annotations / "instances_train2017.json", annotations / "instances_val2017.json")
    assert [c.split for c in both.candidates] == ["train"] * 4 + ["val"]
    (root / "annotations" / "more.json").write_bytes(coco())
    with pytest.raises(DataError, match="Name the file that is meant"):
        read_source(root)


def test_photos_of_several_objects_of_none_and_crowds(tree):
    annotations = [
        {"image_id": 0, "category_id": 0, "bbox": [1, 1, 2, 2]},
        {"image_id": 0, "category_id": 1, "bbox": [1, 1, 3, 3]},
        {"image_id": 1, "category_id": 1, "bbox": [1, 1, 3, 3]},
        {"image_id": 1, "category_id": 1, "bbox": [0, 0, 8, 6], "iscrowd": 1},
        {"image_id": 2, "category_id": 1, "bbox": [1, 1, 3, 3]},
    ]
    root = tree({"coco.json": coco(annotations=annotations), **photos("")})
    with pytest.raises(DataError, match="1 of 4 photos show several objects"):
        read_source(root)
    listing = read_source(root, boxes="largest")
    assert [(c.class_name, c.box) for c in listing.candidates] == [("dog", (1.0, 1.0, 4.0, 4.0))] * 3
    assert (listing.found, len(listing.ignored)) == (4, 1)
    several = read_source(root, task="multilabel")
    assert [c.labels for c in several.candidates] == [("cat", "dog"), ("dog",), ("dog",), ()]
    with pytest.raises(ConfigError, match="label_column is 'x'"):
        read_source(root, label_column="x")


# A record that refers to nothing: the list, its place, what it becomes, and what the message says.
ERRORS = [
    ("annotations", 1, {"category_id": 0, "bbox": [1, 1, 2, 2]}, "annotations[1]: no image_id"),
    ("annotations", 1, {"bbox": [1, 1, 2, 2]}, "annotations[1]: no image_id and no category_id"),
    ("annotations", 2, "nothing", "annotations[2]: no image_id"),
    (
        "annotations",
        2,
        {"image_id": 77, "category_id": 0},
        "annotations[2]: image_id is 77, which no image has",
    ),
    ("annotations", 2, {"image_id": 0, "category_id": 9}, "category_id is 9, which no category has"),
    ("images", 3, {"file_name": "3.png"}, "images[3]: no id"),
    ("images", 3, {"id": 3}, "images[3]: no file_name"),
    ("images", 3, {"id": 0, "file_name": "3.png"}, "images[3]: id is 0, which another image has"),
    ("categories", 0, {"name": "cat"}, "categories[0]: no id"),
    ("categories", 0, {"id": 0, "name": ""}, "categories[0]: no name"),
    ("categories", 0, {"id": 1, "name": "cat"}, "categories[1]: id is 1, which another category has"),
]
FAULTS = [
    ([1, 1, 0, 3], "width and height must be above 0"),
    ([1, 1, -4, 3], "width and height must be above 0"),
    ([1, 1, float("nan"), 3], "finite"),
    ([1, 1, 4], "four numbers"),
    (["1", 1, 4, 3], "four numbers"),
    (None, "four numbers"),
    ([100, 1, 4, 3], "outside the photo"),
]


@pytest.mark.parametrize(("name", "place", "record", "told"), ERRORS)
def test_a_record_without_what_it_needs_is_an_error(tree, name, place, record, told):
    changed = copy.deepcopy(COCO)
    changed[name][place] = record
    root = tree({"coco.json": json.dumps(changed).encode(), **photos("")})
    with pytest.raises(DataError) as caught:
        read_source(root / "coco.json", allow_quarantined=1)
    assert f"{root / 'coco.json'}, {told}" in str(caught.value) or told in str(caught.value)


@pytest.mark.parametrize(("box", "reason"), FAULTS)
def test_a_wrong_box_is_quarantined_with_its_record(tree, box, reason):
    changed = copy.deepcopy(COCO)
    changed["annotations"][3]["bbox"] = box
    root = tree({"coco.json": json.dumps(changed).encode(), **photos("")})
    dataset = check_images(read_source(root))
    [bad] = dataset.quarantined
    assert f"{root / 'coco.json'}, images[3]" in bad.reason
    assert reason in bad.reason
    assert len(dataset.records) == 3


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"images": [\n', "line 2"),
        (b"[]", "contains no labels"),
        (b'{"images": [], "annotations": []}', "'categories' is missing"),
        (b'{"images": {}, "annotation": [],\n "categories": []}', "Did you mean 'annotation'"),
        (b"", "not JSON"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_file_that_is_no_coco_is_an_error(tree, content, told):
    with pytest.raises(DataError, match=r".*") as caught:
        read_source(tree({"coco.json": content}) / "coco.json")
    assert told in str(caught.value)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_with_any_key_lost_a_coco_file_is_read_or_refused_and_no_photo_is_lost(tree, data):
    changed = copy.deepcopy(COCO)
    for _ in range(data.draw(st.integers(1, 3))):
        records = changed[data.draw(st.sampled_from(sorted(changed)))]
        record = data.draw(st.sampled_from(records))
        if record:
            record.pop(data.draw(st.sampled_from(sorted(record))))
    root = tree({"coco.json": json.dumps(changed).encode(), **photos("")})
    try:
        listing = read_source(root / "coco.json", allow_quarantined=1)
    except DataError:
        return
    assert listing.found == len(listing.candidates) + len(listing.quarantined) + len(listing.ignored) == 4
