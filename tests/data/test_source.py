"""What is there is recognised; what could be two things is asked about."""

import pytest

from headstart import tasks
from headstart.config import TrainConfig
from headstart.data.sources.folder import read_folder
from headstart.data.sources.source import read_source
from headstart.errors import ConfigError, DataError, HeadstartError
from headstart.tasks.classification import Classification

CLASSES = {f"{name}/{n}.png": n + 3 * (name == "dog") for name in ("cat", "dog") for n in range(3)}
XML = b"<annotation><filename>0.png</filename></annotation>"
COCO = b'{"images": [], "annotations": [], "categories": []}'


def test_a_folder_of_class_folders_is_read_as_ever(tree):
    root = tree(
        {
            **CLASSES,
            "labels.csv": b"image,label\n",
            "notes.xml": b"<notes/>",
            "more.json": b"{}",
            "empty.xml": b"",
            "page.xml": b"<!DOCTYPE plist><plist/>",
        }
    )
    (root / "cat" / "again").symlink_to(root)
    assert read_source(root) == read_folder(root)
    assert read_source(root, task="classification") == read_folder(root)


def test_class_folders_serve_every_task_whose_photos_have_one_class(tree, monkeypatch):
    class Ranks(Classification):
        name = "ranks"

    monkeypatch.setattr(tasks, "TASKS", {**tasks.TASKS, "ranks": Ranks()})
    listing = read_source(tree(CLASSES), task="ranks")
    assert (listing.task, listing.class_names) == ("ranks", ("cat", "dog"))


def test_the_configuration_holds_every_option(tree):
    root = tree(CLASSES)
    config = TrainConfig.from_settings(root)
    assert read_source(config.data, config.val_folder, **config.source_options) == read_folder(root)
    table = tree({"t.csv": b"file,kind\ncat/0.png,a\ndog/1.png,b\n"}) / "t.csv"
    config = TrainConfig.from_settings(table, image_column="file", label_column="kind").absolute()
    assert read_source(config.data, **config.source_options).class_names == ("a", "b")
    assert config.data == str(table)


# A folder that could be two things, and what the message must say.
AMBIGUOUS = [
    ({**CLASSES, "cat/0.xml": XML}, ["Pascal VOC", "--task box", "class folders", "--task classification"]),
    ({**CLASSES, "annotations/a.json": COCO}, ["COCO", "a.json", "--task classification"]),
    ({"0.png": 0, "0.xml": XML, "coco.json": COCO}, ["COCO", "Pascal VOC"]),
]


@pytest.mark.parametrize(("files", "told"), AMBIGUOUS)
def test_a_folder_that_could_be_two_things_is_an_error_that_names_both(tree, files, told):
    with pytest.raises(DataError) as caught:
        read_source(tree(files))
    for words in ["could be", *told]:
        assert words in str(caught.value)


def test_the_task_tells_which_of_two_things_a_folder_is(tree):
    sides = b"<xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax>"
    box = b"<object><name>a</name><bndbox>" + sides + b"</bndbox></object>"
    root = tree({**CLASSES, "cat/0.xml": XML.replace(b"</ann", box + b"</ann")})
    assert len(read_source(root, task="classification").candidates) == 6
    assert len(read_source(root, task="box").candidates) == 1


WRONG = [
    ("", {"target": "height"}, ConfigError, ["target is 'height'", "no columns"]),
    ("", {"split_column": "part"}, ConfigError, ["split_column is 'part'"]),
    ("", {"task": "box"}, DataError, ["without labels for the task box", "Pascal VOC"]),
    ("", {"group_by": "plant([0-9])"}, ConfigError, ["finds no group in 6 of 6 paths", "'cat/0.png'"]),
    ("", {"group_by": "cat"}, ConfigError, ["group_by is 'cat'", "parentheses"]),
    ("nowhere.csv", {}, DataError, ["no file or folder"]),
    ("notes.txt", {}, DataError, ["neither a table", "list with a photo and its class", "'a.jpg cat'"]),
    ("table.xlsx", {}, DataError, ["a spreadsheet", "Save it as CSV"]),
    ("", {"val": "nowhere"}, DataError, ["'nowhere', which val names", "as a fraction"]),
    ("one.xml", {}, DataError, ["Name the folder"]),
]


@pytest.mark.parametrize(("data", "options", "kind", "told"), WRONG)
def test_what_does_not_go_together_is_told(tree, data, options, kind, told):
    root = tree({**CLASSES, "notes.txt": b"x", "one.xml": b"<x/>", "table.xlsx": b"PK"})
    with pytest.raises(kind) as caught:
        read_source(root / data, **options)
    for words in told:
        assert words in str(caught.value)


def test_groups_of_class_folders_are_found_in_the_path(tree):
    root = tree(
        {
            f"{name}/{n}_{m}.png": 4 * n + m + 50 * (name == "b")
            for name in "ab"
            for n in (1, 2)
            for m in (1, 2)
        }
    )
    assert [c.group for c in read_source(root, group_by="/([0-9])_").candidates] == ["1", "1", "2", "2"] * 2


def test_a_folder_without_classes_names_the_table_in_it(tree):
    root = tree({"0.png": 0, "1.png": 1, "labels.csv": b"image,label\n0.png,a\n1.png,b\n"})
    with pytest.raises(DataError, match=r"labels.csv', name that file"):
        read_source(root)


def test_both_places_must_hold_the_same_form(tree):
    root = tree(
        {**{f"train/{k}": v for k, v in CLASSES.items()}, "t.csv": b"image,label\ntrain/cat/0.png,x\n"}
    )
    for data, val in ((root / "t.csv", root / "train"), (root / "train", root / "t.csv")):
        with pytest.raises(HeadstartError, match="folder"):
            read_source(data, val)
