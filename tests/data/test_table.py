"""Tables of labels: every form, every fault, and the account of every row."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headstart.data.check import check_images
from headstart.data.sources.source import read_source
from headstart.errors import ConfigError, DataError, HeadstartError
from headstart.records import Listing

PHOTOS = {f"{name}.png": number for number, name in enumerate("abcdefghij")}
GOOD = "image,label\na.png,cat\nb.png,dog\nc.png,cat\n"


@pytest.fixture
def table(tree) -> Callable[..., Path]:
    """Write a table beside ten photos, a.png to j.png."""

    def write(content: str | bytes, name: str = "labels.csv") -> Path:
        root = tree(PHOTOS)
        path = root / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def parquet(path: Path, columns: dict) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def adds_up(listing: Listing) -> bool:
    return listing.found == len(listing.candidates) + len(listing.quarantined) + len(listing.ignored)


def answers(listing: Listing) -> list[tuple]:
    return [(Path(c.path).name, c.class_name, c.labels, c.numbers, c.box) for c in listing.candidates]


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        "\ufeff" + GOOD,
        GOOD.replace(",", ";"),
        GOOD.replace(",", "\t"),
        GOOD.replace("\n", "\r\n"),
        "\n" + GOOD.replace("\n", "\n\n"),
        GOOD.encode("utf-16"),
        GOOD.replace(",", ", "),
        '"image","label"\n"a.png","cat"\n"b.png","dog"\n"c.png","cat"',
    ],
    ids=["plain", "BOM", "semicolon", "tab", "CRLF", "blank lines", "UTF-16", "spaces", "quoted"],
)
def test_a_csv_file_is_read_however_it_was_written(table, content):
    listing = read_source(table(content))
    assert [(Path(c.path).name, c.class_name) for c in listing.candidates] == [
        ("a.png", "cat"),
        ("b.png", "dog"),
        ("c.png", "cat"),
    ]
    assert listing.task == "classification"
    assert listing.class_names == ("cat", "dog")
    assert listing.found == 3
    assert len(check_images(listing).records) == 3


CLASS = [("a.png", "7", (), (), None), ("b.png", "007", (), (), None)]
LABELS = [("a.png", "", ("x", "y"), (), None), ("b.png", "", (), (), None)]
NUMBERS = [("a.png", "", (), (1.5, -3.0), None), ("b.png", "", (), (2.0, 4.0), None)]
BOXES = [("a.png", "cat", (), (), (0.0, 1.0, 5.0, 6.0)), ("b.png", "dog", (), (), (1.0, 1.0, 8.0, 4.0))]
FORMS = {
    "classification": (CLASS, {}, {"image": ["a.png", "b.png"], "label": ["7", "007"]}),
    "multilabel": (LABELS, {}, {"image": ["a.png", "b.png"], "labels": [["y", "x"], []]}),
    "regression": (
        NUMBERS,
        {"target": "t,u"},
        {"image": ["a.png", "b.png"], "t": [1.5, 2.0], "u": [-3, 4]},
    ),
    "box": (
        BOXES,
        {},
        {
            "image": ["a.png", "b.png"],
            "label": ["cat", "dog"],
            "xmin": [0, 1],
            "ymin": [1, 1],
            "xmax": [5, 8],
            "ymax": [6, 4],
        },
    ),
}


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl", "json"])
@pytest.mark.parametrize("task", FORMS)
def test_every_task_is_recognised_in_every_format(tree, task, suffix):
    expected, options, columns = FORMS[task]
    path = tree(PHOTOS) / f"labels.{suffix}"
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    if suffix == "parquet":
        parquet(path, columns)
    elif suffix == "csv":
        cells = [["|".join(v) if isinstance(v, list) else str(v) for v in row.values()] for row in rows]
        path.write_text("\n".join(map(",".join, [list(columns), *cells])))
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    listing = read_source(path, **options)
    assert listing.task == task
    assert answers(listing) == expected
    assert listing.targets == (("t", "u") if task == "regression" else ())
    place = "row 1" if suffix == "parquet" else "line 2" if suffix == "csv" else "line 1"
    assert listing.candidates[0].source == f"{path}, {place}"
    dataset = check_images(listing)
    assert dataset.task == task
    assert len(dataset.records) == 2


def test_a_whole_number_is_the_same_class_whatever_its_type(tree):
    root = tree(PHOTOS)
    listing = read_source(parquet(root / "a.parquet", {"image": ["a.png", "b.png"], "label": [1.0, 2.0]}))
    assert listing.class_names == ("1", "2")


@pytest.mark.parametrize(
    ("labels", "told"), [(("1.5", "2"), True), (("1", "007"), False), (("a", "1.5"), False)]
)
def test_classes_that_look_like_measured_numbers_are_told(table, labels, told):
    listing = read_source(table(f"image,label\na.png,{labels[0]}\nb.png,{labels[1]}\n"))
    assert any("--target" in note for note in listing.notes) == told


def test_columns_can_be_named_and_the_others_are_told(table):
    path = table("file,kind,part,who,more,label\na.png,x,TRAIN,1,,q\nb.png,y,valid,2,,q\nc.png,y,,2,,q\n")
    listing = read_source(
        path,
        image_column="file",
        label_column="kind",
        split_column="part",
        group_by="who",
        for_training=False,
    )
    assert [(c.class_name, c.split, c.group) for c in listing.candidates] == [
        ("x", "train", "1"),
        ("y", "val", "2"),
        ("y", None, "2"),
    ]
    assert listing.notes == (f"Columns of {str(path)!r} that are not used: 'more', 'label'.",)


def test_split_and_group_columns_are_used_without_being_named(table):
    listing = read_source(
        table("image,label,split,group\na.png,x,train,1\nb.png,y,train,2\nc.png,y,test,3\n")
    )
    assert [(c.split, c.group) for c in listing.candidates] == [("train", "1"), ("train", "2"), ("test", "3")]


def test_a_group_may_be_found_in_the_path(tree):
    root = tree({"plant1/a.png": 1, "plant1/b.png": 2, "plant2/a.png": 3})
    (root / "t.csv").write_text("image,label\nplant1/a.png,x\nplant1/b.png,y\nplant2/a.png,y\n")
    listing = read_source(root / "t.csv", group_by="plant([0-9]+)/")
    assert [c.group for c in listing.candidates] == ["1", "1", "2"]
    with pytest.raises(DataError, match=r"line 2.*finds no group in 'plant1/a.png'"):
        read_source(root / "t.csv", group_by="plant(2)")


def test_photos_may_lie_anywhere(tree, tmp_path):
    root = tree({"photos/a.png": 1, "photos/b.png": 2})
    (root / "lists").mkdir()
    (root / "lists" / "t.csv").write_text(f"image,label\n..\\photos\\a.png,x\n{root}/photos/b.png,y\n")
    assert len(check_images(read_source(root / "lists" / "t.csv")).records) == 2


# A table that cannot be used, the options, and what the message must say.
REFUSED = [
    ("", {}, ["is empty", "image,label"]),
    ("pic,label\na.png,x\n", {}, ["no column 'image'", "--image-column", "'pic', 'label'"]),
    (
        "image,lable,size\na.png,x,5\n",
        {},
        ["no column with labels", "Did you mean 'lable'", "'image', 'lable', 'size'"],
    ),
    ("imgae,label\na.png,x\n", {}, ["Did you mean 'imgae'"]),
    (GOOD, {"label_column": "lab"}, ["no column 'lab'", "Did you mean 'label'", "--label-column"]),
    (GOOD, {"target": "hight"}, ["no column 'hight'", "--target"]),
    (GOOD, {"target": "label", "task": "box"}, ["target is 'label'", "task is 'box'"]),
    (GOOD, {"task": "regression"}, ["names no column", "image, label"]),
    (GOOD, {"target": " , "}, ["target is ' , '"]),
    (GOOD, {"split_column": "part"}, ["no column 'part'", "--split-column"]),
    (GOOD, {"group_by": "grp"}, ["group_by is 'grp'", "a column (image, label)", "parentheses"]),
    (GOOD, {"group_by": "("}, ["group_by is '('", "regular expression"]),
    (GOOD, {"task": "boxes"}, ["task is 'boxes'", "Did you mean 'box'", "classification, multilabel"]),
    (GOOD, {"boxes": "all"}, ["boxes is 'all'", "refuse, skip, largest"]),
    ("image,label,labels\na.png,x,y\n", {}, ["several tasks", "--task classification", "--task multilabel"]),
    ("image,xmin,ymin,xmax\na.png,1,2,3\n", {}, ["no column 'ymax'", "xmin, ymin, xmax and ymax"]),
    ("image,label,label\na.png,x,y\n", {}, ["several columns called 'label'"]),
    (
        "image,label\na.png,cat,\nb.png\n",
        {},
        ["line 2: 3 cells", "double quotes", "line 3: 1 cell, but there are 2 columns. Write empty"],
    ),
    ('image,label\na.png,"cat\nb.png,dog\n', {}, ["line 2", "double quote"]),
    ("image,label\n,cat\nb.png,dog\n", {}, ["line 2: image is ''"]),
    (GOOD.replace("dog", "cat"), {}, ["single class, 'cat', but a model needs", "Add photos"]),
    ("image,label\n", {}, ["no photo and no label: nothing is listed"]),
    (
        "image,label,split\na.png,x,trian\nb.png,y,\n",
        {},
        ["line 2: split is 'trian'", "Did you mean 'train'"],
    ),
    ("image,label,split\na.png,x,val\nb.png,y,test\n", {}, ["none is for training"]),
    (
        "image,label,split\na.png,x,train\nb.png,y,train\nc.png,yy,val\n",
        {},
        ["'yy', only for validation", "Did you mean 'y'"],
    ),
    ("image,t\na.png,1\nb.png,1\n", {"target": "t"}, ["target 't' is 1 for all"]),
    ("image,labels\na.png,\nb.png,\n", {}, ["No photo has a label"]),
    ("image,xmin,ymin,xmax,ymax\na.png,.1,.1,.5,1\n", {}, ["fractions", "pixels"]),
    ("image,label\na.png,x\nb.png,x\nno.png,y\n", {}, ["None of the photos of class 'y'", "no such photo"]),
    (
        "image,xmin,ymin,xmax,ymax\na.png,1,1,5,5\na.png,2,2,6,6\nb.png,1,1,5,5\n",
        {},
        ["1 of 3 photos show several objects", "--boxes skip", "--boxes largest", "a.png"],
    ),
]


@pytest.mark.parametrize(("content", "options", "told"), REFUSED, ids=lambda v: str(v)[:30])
def test_a_table_that_cannot_be_used_says_why(table, content, options, told):
    path = table(content)
    with pytest.raises(HeadstartError) as caught:
        read_source(path, **options)
    for words in told:
        assert words in str(caught.value)


JSON_REFUSED = [
    ('{"image": "a.png", "label": "x"}\n{"image": "b.png"', ["line 2", "Each line must be an object"]),
    ('["a.png", "x"]\n{"image": "b.png", "label": "y"}', ["line 1", "no object"]),
    ("", ["is empty"]),
    ("nonsense", ["line 1"]),
    ('{"image": 3, "label": "x"}\n', ["line 1: image is 3"]),
]


@pytest.mark.parametrize(("content", "told"), JSON_REFUSED)
def test_json_lines_that_cannot_be_used_say_why(table, content, told):
    with pytest.raises(DataError) as caught:
        read_source(table(content, "labels.jsonl"))
    for words in told:
        assert words in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PAR1 no, not really", GOOD.encode()])
def test_a_damaged_parquet_file_is_an_error(table, content):
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_source(table(content, "labels.parquet"))


def test_all_errors_are_told_at_once_by_their_kind(table):
    rows = "".join(f"a.png,x,nowhere{number}\n" for number in range(30))
    with pytest.raises(DataError) as caught:
        read_source(table("image,label,split\n" + rows + "b.png,y,train,more\n"))
    text = str(caught.value)
    assert "31 entries" in text
    assert text.count("nowhere") == 1
    assert "30 entries (" in text
    assert "line 32: 4 cells" in text


# A row that is wrong by itself among good ones: its columns, its cells, and the reason.
FAULTS = {
    "missing photo": ("label", "no.png,x", "no such photo"),
    "empty label": ("label", "j.png,", "label (label) is empty"),
    "spaces for a label": ("label", "j.png,  ", "label (label) is empty"),
    "an empty one of several": ("labels", "j.png,x||y", "label (labels) is empty"),
    "no number": ("t", "j.png,high", "t is 'high'; it must be a number"),
    "decimal comma": ("t", 'j.png,"1,5"', "a point for the decimals"),
    "empty number": ("t", "j.png,", "t is empty"),
    "NaN": ("t", "j.png,nan", "finite"),
    "infinity": ("t", "j.png,-inf", "finite"),
    "underscore": ("t", "j.png,1_000", "it must be a number"),
    "inverted box": ("xmin,ymin,xmax,ymax", "j.png,5,1,2,4", "inverted"),
    "flat box": ("xmin,ymin,xmax,ymax", "j.png,1,4,2,4", "no area"),
    "NaN in a box": ("xmin,ymin,xmax,ymax", "j.png,1,nan,2,4", "finite"),
    "half a box": ("xmin,ymin,xmax,ymax", "j.png,1,,2,4", "ymin is empty"),
    "box outside": ("xmin,ymin,xmax,ymax", "j.png,20,20,30,30", "outside the photo"),
    "no group": ("label,group", "j.png,x,", "the group (group) is empty"),
}
GOOD_CELLS = {
    "label": ("x", "y"),
    "labels": ("x|y", ""),
    "t": ("1", "2.5"),
    "xmin,ymin,xmax,ymax": ("1,1,5,5", "0,0,8,6"),
    "label,group": ("x,1", "y,2"),
}


def with_faults(columns: str, faulty: list[str]) -> str:
    good = [f"{name}.png,{GOOD_CELLS[columns][number % 2]}" for number, name in enumerate("abcdefghi")]
    return "\n".join([f"image,{columns}", *good, *faulty])


@pytest.mark.parametrize("case", FAULTS)
def test_a_wrong_label_is_quarantined_with_its_line_and_the_others_are_used(table, case):
    columns, cells, reason = FAULTS[case]
    path = table(with_faults(columns, [cells]))
    dataset = check_images(read_source(path, target="t" if columns == "t" else None))
    [bad] = dataset.quarantined
    assert f"{path}, line 11: " in bad.reason
    assert reason in bad.reason
    assert len(dataset.records) == 9
    assert dataset.found == 10


def test_too_many_wrong_labels_are_an_error_before_any_photo_is_read_unless_they_are_allowed(table):
    path = table(with_faults("label", [f"no{number}.png,x" for number in range(25)]))
    with pytest.raises(DataError) as caught:
        read_source(path)
    text = str(caught.value)
    assert "25 of 34 photos (73.5%) have labels that cannot be used" in text
    assert "--allow-quarantined 0.736" in text
    assert text.count("no such photo") == 1
    assert "  25 photos ('" in text
    listing = read_source(path, allow_quarantined=0.74)
    assert adds_up(listing)
    assert len(check_images(listing, 0.74).records) == 9


def test_paths_that_start_elsewhere_are_told_from_photos_that_are_missing(table):
    rows = "".join(f"elsewhere/{number}.png,{number % 2}\n" for number in range(9))
    with pytest.raises(DataError, match=r"9 of 9 photos .*Relative paths start at the folder of the table"):
        read_source(table(f"image,label\n{rows}"))


def test_two_rows_of_one_photo_are_named_once(table):
    rows = "".join(f"{letter}.png,{label}\n" for label in ("x", "y") for letter in "abc")
    with pytest.raises(DataError) as caught:
        read_source(table(f"image,label\n{rows}"))
    assert str(caught.value).count("says 'y' of the same photo") == 3


def test_equal_rows_count_once_and_rows_that_disagree_are_quarantined(table):
    path = table(GOOD + "d.png,dog\na.png,cat\n./b.png,dog\nd.png,cat\n")
    listing = read_source(path)
    assert [Path(c.path).name for c in listing.candidates] == ["a.png", "b.png", "c.png"]
    assert len(listing.ignored) == 2
    assert [photo.reason for photo in listing.quarantined] == [
        f"{path}, line 5: 'dog', but {path}, line 8 says 'cat' of the same photo"
    ] * 2
    assert any("2 labels repeat an earlier one" in note for note in listing.notes)
    assert adds_up(listing)
    assert len(check_images(listing).records) == 3


def test_rows_of_one_photo_in_two_splits_are_quarantined(table):
    listing = read_source(
        table("image,label,split\na.png,x,train\na.png,x,val\nb.png,y,train\nc.png,x,train\n")
    )
    assert len(listing.quarantined) == 2
    assert "the split of this photo is another in" in listing.quarantined[0].reason


def test_several_objects_are_skipped_or_the_largest_is_kept_and_photos_of_none_are_left_out(table):
    path = table(
        "image,label,xmin,ymin,xmax,ymax\n"
        "a.png,x,1,1,3,3\na.png,y,1,1,6,6\nb.png,x,1,1,4,4\nb.png,x,1,1,4,4\nc.png,,,,,\nd.png,y,1,1,2,2\n"
    )
    skip = read_source(path, boxes="skip")
    assert [Path(c.path).name for c in skip.candidates] == ["b.png", "d.png"]
    assert adds_up(skip)
    assert "1 photos with several objects are left out (--boxes skip)." in skip.notes
    assert "1 photo without an object left out." in skip.notes
    largest = read_source(path, boxes="largest")
    assert answers(largest)[0] == ("a.png", "y", (), (), (1.0, 1.0, 6.0, 6.0))
    assert adds_up(largest)


def test_one_wrong_box_of_several_takes_its_photo_out(table):
    path = table("image,xmin,ymin,xmax,ymax\na.png,1,1,3,3\na.png,5,1,3,3\nb.png,1,1,4,4\nc.png,1,1,4,4\n")
    listing = read_source(path, boxes="largest")
    assert len(listing.quarantined) == 2
    assert "another label of this photo" in listing.quarantined[0].reason
    assert adds_up(listing)


def test_boxes_are_cut_off_at_the_edge_and_know_the_photos_size(table):
    path = table("image,xmin,ymin,xmax,ymax\na.png,-3,1,4,99\nb.png,1,1,4,4\n")
    dataset = check_images(read_source(path))
    assert [(record.box, record.size) for record in dataset.records] == [
        ((0.0, 1.0, 4.0, 6.0), (8, 6)),
        ((1.0, 1.0, 4.0, 4.0), (8, 6)),
    ]
    assert dataset.notes == ("1 boxes extend beyond their photos and are clipped at the edge.",)


def test_validation_photos_may_stand_in_a_table_of_their_own(table):
    train, val = table(GOOD), table("image,label\nd.png,cat\n", "val.csv")
    listing = read_source(train, val)
    assert [c.split for c in listing.candidates] == ["train", "train", "train", "val"]
    table("image,label,split\nd.png,cat,val\ne.png,dog,train\n")
    with pytest.raises(DataError, match="two sets of validation photos"):
        read_source(train, val)
    numbers = table("image,xmin,ymin,xmax,ymax\nd.png,1,1,2,2\n", "boxes.csv")
    with pytest.raises(DataError, match="task box"):
        read_source(table(GOOD), numbers)
    with pytest.raises(DataError, match="cannot be both"):
        read_source(train, train)


def test_a_name_with_bytes_that_are_not_utf_8_opens_its_photo(tree):
    root = tree(PHOTOS)
    (root / "a.png").rename(root / "\udcff.png")
    path = root / "t.csv"
    path.write_bytes(b"image,label\n\xff.png,x\nb.png,y\nc.png,B\xe4r\n")
    listing = read_source(path)
    assert [c.class_name for c in listing.candidates] == ["x", "y", "Bär"]
    assert "read as Windows-1252" in listing.notes[0]


TASK_OF = {"label": "classification", "labels": "multilabel", "t": "regression", "xmin,ymin,xmax,ymax": "box"}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_table_with_any_faults_gives_the_listed_outcome(table, data):
    columns = data.draw(st.sampled_from(list(TASK_OF)))
    of_columns = [case for case, fault in FAULTS.items() if fault[0] == columns]
    cases = data.draw(st.lists(st.sampled_from(of_columns), max_size=8))
    rows = with_faults(columns, []).splitlines()
    good = [
        (f"{name}.png", row.partition(",")[2], "") for name, row in zip("abcdefghi", rows[1:], strict=True)
    ]
    bad = []
    for number, case in enumerate(cases):  # each on a photo of its own, so that they do not disagree
        _, cells, reason = FAULTS[case]
        image = "no.png" if case == "missing photo" else f"z{number}.png"
        bad.append((image, cells.partition(",")[2], reason))
    repeated = (
        data.draw(st.lists(st.sampled_from(good), max_size=3)) if columns != "xmin,ymin,xmax,ymax" else []
    )
    order = data.draw(st.permutations([*good, *bad, *repeated]))
    path = table("\n".join([rows[0], *(f"{image},{cells}" for image, cells, _ in order)]))
    for number in range(len(cases)):
        (path.parent / f"z{number}.png").write_bytes((path.parent / "a.png").read_bytes())
    dataset = check_images(read_source(path, target="t" if columns == "t" else None, allow_quarantined=1), 1)
    assert dataset.task == TASK_OF[columns]
    assert dataset.found == len(order)
    assert len(dataset.records) == len(good)
    assert len(dataset.ignored) == len(repeated)
    assert len(dataset.quarantined) == len(bad)
    lines = {f"{path}, line {number}: ": row for number, row in enumerate(order, 2)}
    for photo in dataset.quarantined:
        row = next(row for place, row in lines.items() if photo.reason.startswith(place))
        assert row[2]
        assert row[2] in photo.reason


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cells=st.lists(
        st.lists(
            st.one_of(
                st.sampled_from(["a.png", "b.png", "cat", "dog", "", "1", "nan", "train", "val", "x|y", '"']),
                st.text(max_size=5),
            ),
            min_size=1,
            max_size=4,
        ),
        max_size=8,
    ),
    header=st.sampled_from(["image,label", "image,labels,split", "image,t", "image,xmin,ymin,xmax,ymax"]),
    suffix=st.sampled_from(["csv", "tsv", "jsonl"]),
)
def test_any_text_is_read_or_refused_with_a_message_and_never_loses_a_row(table, cells, header, suffix):
    text = "\n".join([header, *map(",".join, cells)])
    path = table(text.encode("utf-8", "surrogatepass"), f"labels.{suffix}")
    try:
        listing = read_source(
            path, target="t" if header == "image,t" else None, allow_quarantined=1, boxes="skip"
        )
    except (DataError, ConfigError):
        return
    assert adds_up(listing)
    for candidate in listing.candidates:
        assert all(math.isfinite(number) for number in candidate.numbers)
