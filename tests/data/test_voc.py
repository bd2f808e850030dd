"""Pascal VOC: where photos lie, what is wrong with an XML file, and the account of both."""

import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from PIL import Image

from headstart.data.check import check_images
from headstart.data.sources.source import read_source
from headstart.errors import ConfigError, DataError
from headstart.records import Listing

BOX = (1, 1, 5, 4)


def xml(filename: str, *objects: tuple, extra: str = "") -> bytes:
    parts = []
    for name, sides in objects:
        values = "".join(
            f"<{s}>{v}</{s}>" for s, v in zip(("xmin", "ymin", "xmax", "ymax"), sides, strict=True)
        )
        parts.append(f"<object><name>{name}</name><bndbox>{values}</bndbox></object>")
    return f"<annotation>{extra}<filename>{filename}</filename>{''.join(parts)}</annotation>".encode()


THREE = {f"images/{n}.png": n for n in range(3)}
XML_0 = "annotations/0.xml"
XML = {f"annotations/{n}.xml": xml(f"{n}.png", ("cat" if n else "dog", BOX)) for n in range(3)}


def adds_up(listing: Listing) -> bool:
    return listing.found == len(listing.candidates) + len(listing.quarantined) + len(listing.ignored)


LAYOUTS = {
    "raccoon": {**THREE, **XML},
    "VOC": {
        **{f"JPEGImages/{n}.png": n for n in range(3)},
        **{f"Annotations/{n}.xml": XML[f"annotations/{n}.xml"] for n in range(3)},
        "SegmentationClass/0.png": 9,
        "SegmentationObject/0.png": 9,
    },
    "beside": {
        **{f"{n}.png": n for n in range(3)},
        **{f"{n}.xml": XML[f"annotations/{n}.xml"] for n in range(3)},
    },
    "filename of another suffix": {
        **THREE,
        **{f"annotations/{n}.xml": xml(f"{n}", ("a", BOX)) for n in range(3)},
    },
    "filename of another machine": {
        **THREE,
        **{f"annotations/{n}.xml": xml(f"C:\\photos\\{n}.png", ("a", BOX)) for n in range(3)},
    },
    "filename of no photo, found by the XML's own": {
        **THREE,
        **{f"annotations/{n}.xml": xml("image.jpg", ("a", BOX)) for n in range(3)},
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_recognised(tree, layout):
    root = tree({**LAYOUTS[layout], "readme.txt": b"hello", "pom.xml": b"<project/>"})
    listing = read_source(root)
    assert listing.task == "box"
    assert [Path(c.path).name for c in listing.candidates] == ["0.png", "1.png", "2.png"]
    assert {c.box for c in listing.candidates} == {(0.0, 0.0, 5.0, 4.0)}  # the file counts pixels from 1
    assert listing.found == 3
    assert listing.candidates[0].source.endswith("0.xml")
    dataset = check_images(listing)
    assert dataset.records[0].size == (8, 6)


def test_folders_of_splits_are_respected_and_the_nearest_photo_is_meant(tree):
    files = {}
    for split in ("train", "valid", "test"):
        for n in range(2):
            files |= {f"{split}/{n}.png": n, f"{split}/{n}.xml": xml(f"{n}.png", (f"c{n}", BOX))}
    listing = read_source(tree(files))
    assert [c.split for c in listing.candidates] == ["test", "test", "train", "train", "val", "val"]
    assert all(Path(c.path).parent == Path(c.source).parent for c in listing.candidates)


def test_several_objects_need_an_option_and_photos_of_none_are_left_out(tree):
    root = tree(
        {
            **THREE,
            **XML,
            "annotations/1.xml": xml("1.png", ("a", (0, 0, 2, 2)), ("b", (0, 0, 6, 6))),
            "images/3.png": 3,
            "annotations/3.xml": xml("3.png"),
            "images/4.png": 4,
        }
    )
    with pytest.raises(DataError, match=r"1 of 5 photos show several objects.*--boxes skip.*--boxes largest"):
        read_source(root)
    skip, largest = read_source(root, boxes="skip"), read_source(root, boxes="largest")
    assert [len(skip.candidates), len(skip.ignored), skip.found] == [2, 3, 5]
    assert [len(largest.candidates), len(largest.ignored), largest.found] == [3, 2, 5]
    assert largest.candidates[1].class_name == "b"
    assert any("1 photos have no label" in note for note in skip.notes)
    assert any("1 photo without an object" in note for note in skip.notes)


def test_the_other_tasks_can_be_asked_for(tree):
    root = tree({**THREE, **XML, "annotations/1.xml": xml("1.png", ("dog", BOX), ("cat", BOX), ("dog", BOX))})
    assert [c.labels for c in read_source(root, task="multilabel").candidates] == [
        ("dog",),
        ("cat", "dog"),
        ("cat",),
    ]
    listing = read_source(root, task="classification")
    assert [c.class_name for c in listing.candidates] == ["dog", "cat"]
    assert "2 classes ('cat', 'dog'), not of one" in listing.quarantined[0].reason
    with pytest.raises(ConfigError, match="no numbers"):
        read_source(root, task="regression")
    with pytest.raises(ConfigError, match="no columns"):
        read_source(root, target="height")


def test_pixels_are_counted_from_1_with_both_ends_included(tree):
    photo = Image.new("RGB", (8, 6))
    photo.paste("red", (2, 1, 5, 4))  # the third to the fifth pixel of the second to the fourth row
    file = io.BytesIO()
    photo.save(file, "PNG")
    listing = read_source(
        tree({**THREE, **XML, "images/0.png": file.getvalue(), XML_0: xml("0.png", ("a", (3, 2, 5, 4)))})
    )
    box = check_images(listing).records[0].box
    assert box == photo.getbbox()
    assert any("counted from 1 and both ends are included" in note for note in listing.notes)


@pytest.mark.parametrize("zero", [(0, 2, 4, 4), (3, 0, 4, 4), (0.0, 0.0, 8, 6)])
def test_a_single_0_shows_that_all_files_count_from_0(tree, zero):
    listing = read_source(tree({**THREE, **XML, "annotations/1.xml": xml("1.png", ("cat", zero))}))
    assert [c.box for c in listing.candidates] == [(1, 1, 5, 4), zero, (1, 1, 5, 4)]
    [note] = [note for note in listing.notes if "counted from 0" in note]
    assert "1.xml" in note


def test_a_wrong_box_at_0_does_not_show_how_pixels_are_counted(tree):
    root = tree({**THREE, **XML, "images/3.png": 3, "annotations/3.xml": xml("3.png", ("a", (0, 0, 0, 0)))})
    assert {c.box for c in read_source(root, allow_quarantined=1).candidates} == {(0.0, 0.0, 5.0, 4.0)}


LABEL_FAULTS = {
    "no photo": (xml("9.png", ("cat", BOX)), "there is no photo '9.png', nor one called '9'"),
    "no name": (xml("8.png", (" ", BOX)), "object 1: its <name> is empty"),
    "no box": (b"<annotation><object><name>cat</name></object></annotation>", "no <bndbox>"),
    "inverted": (
        xml("8.png", ("cat", BOX), ("cat", (5, 1, 1, 4))),
        "object 2: the box 5, 1, 1, 4 is inverted",
    ),
    "NaN": (xml("8.png", ("cat", ("nan", 1, 2, 3))), "finite"),
    "no number": (xml("8.png", ("cat", ("left", 1, 2, 3))), "<xmin> is 'left'; it must be a number"),
    "outside": (xml("8.png", ("cat", (9, 1, 12, 3))), "outside the photo"),
}


@pytest.mark.parametrize("case", LABEL_FAULTS)
def test_a_wrong_label_is_quarantined_with_its_file(tree, case):
    content, reason = LABEL_FAULTS[case]
    name = "9" if case == "no photo" else "8"
    root = tree({**THREE, **XML, "images/8.png": 8, f"annotations/{name}.xml": content})
    dataset = check_images(read_source(root))
    [bad] = dataset.quarantined
    assert reason in bad.reason
    assert bad.reason.startswith(str(root / "annotations" / f"{name}.xml"))
    assert len(dataset.records) == 3


def bomb(levels: int) -> bytes:
    entities = "".join(
        f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' if n else '<!ENTITY e0 "ha">' for n in range(levels)
    )
    return (
        f'<?xml version="1.0"?>\n<!DOCTYPE a [{entities}]>\n<annotation>&e{levels - 1};</annotation>'.encode()
    )


REFUSED = {
    **{f"bomb of 10^{levels}": (bomb(levels), "line 2: <!DOCTYPE is refused") for levels in (3, 6, 9)},
    "bomb in UTF-16": (bomb(9).decode().encode("utf-16"), "<!DOCTYPE is refused"),
    "external entity": (
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>',
        "line 1: <!DOCTYPE is refused",
    ),
    "truncated": (XML["annotations/0.xml"][:60], "line 1: not well-formed XML"),
    "empty": (b"", "empty file"),
    "odd encoding": (b'<?xml version="1.0" encoding="none"?><annotation/>', "not well-formed XML"),
    "two roots": (b"<annotation/>\n<annotation/>", "line 2"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_xml_file_that_cannot_be_read_is_an_error_with_its_line(tree, case):
    content, told = REFUSED[case]
    root = tree({**THREE, **XML, "annotations/2.xml": content})
    start = time.perf_counter()
    with pytest.raises(DataError) as caught:
        read_source(root, allow_quarantined=1)
    assert time.perf_counter() - start < 5
    assert str(root / "annotations" / "2.xml") in str(caught.value)
    assert told in str(caught.value)


def test_all_faults_of_all_files_are_told_at_once(tree):
    files: Mapping = {**THREE, **{f"annotations/{n}.xml": b"<annotation>" for n in range(3)}}
    with pytest.raises(DataError, match="3 entries"):
        read_source(tree(files))


def test_two_files_about_one_photo_must_agree(tree):
    same, other = xml("0.png", ("dog", BOX)), xml("0.png", ("cat", BOX))
    root = tree(
        {
            **THREE,
            "images/3.png": 3,
            **XML,
            "annotations/3.xml": xml("3.png", ("dog", BOX)),
            "annotations/0b.xml": same,
        }
    )
    assert adds_up(read_source(root))
    assert len(read_source(root).candidates) == 4
    (root / "annotations" / "0b.xml").write_bytes(other)
    listing = read_source(root)
    assert len(listing.quarantined) == 2
    assert "'dog' at (0.0, 0.0, 5.0, 4.0), but" in listing.quarantined[0].reason
    assert adds_up(listing)


def test_groups_are_found_in_paths(tree: Callable):
    root = tree({**THREE, **XML})
    assert [c.group for c in read_source(root, group_by="([0-9])").candidates] == ["0", "1", "2"]
    with pytest.raises(DataError, match=r"finds no group in 'images/0.png'"):
        read_source(root, group_by="plant([0-9])")
