"""Boxes and the photo that they were drawn in: turned, scaled, left as they are, or refused by name."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from headstart.data.check import check_images
from headstart.data.sources.source import read_source
from headstart.errors import DataError
from headstart.images.decode import decode
from headstart.records import Dataset

Box = tuple[float, ...]
SIZE = (40, 24)
BOX = (4, 2, 14, 8)


def photo(orientation: int = 1, size: tuple[int, int] = SIZE, box: Box = BOX) -> bytes:
    """A black photo with a red rectangle where the stored box is."""
    image, exif, file = Image.new("RGB", size), Image.Exif(), io.BytesIO()
    image.paste("red", tuple(map(int, box)))
    exif[0x0112] = orientation
    image.save(file, "PNG", exif=exif)
    return file.getvalue()


def where_a_viewer_shows_it(data: bytes) -> Box:
    box = decode(data, path="photo").getbbox()
    assert box is not None
    return box


# One entry per photo: its name, the declared size (None: nothing is declared), and its box.
Entries = list[tuple[str, tuple[object, object] | None, Box]]


def write_coco(folder: Path, entries: Entries) -> Path:
    images, annotations = [], []
    for number, (name, declared, box) in enumerate(entries):
        width_height = {} if declared is None else {"width": declared[0], "height": declared[1]}
        images.append({"id": number, "file_name": name, **width_height})
        bbox = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
        annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": bbox})
    categories = [{"id": 1, "name": "thing"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "coco.json").write_text(json.dumps(content))
    return folder / "coco.json"


def write_voc(folder: Path, entries: Entries) -> Path:
    for name, declared, box in entries:
        sides = zip(("xmin", "ymin", "xmax", "ymax"), (box[0] + 1, box[1] + 1, box[2], box[3]), strict=True)
        size = ""
        if declared is not None:
            size = f"<size><width>{declared[0]}</width><height>{declared[1]}</height></size>"
        bounds = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
        text = f"<object><name>thing</name><bndbox>{bounds}</bndbox></object>"
        (folder / name).with_suffix(".xml").write_text(
            f"<annotation><filename>{name}</filename>{size}{text}</annotation>"
        )
    return folder


def write_csv(folder: Path, entries: Entries, columns: str = "width,height") -> Path:
    rows = [
        ",".join(map(str, [name, *(declared or ("", "")), "thing", *box])) for name, declared, box in entries
    ]
    header = f"filename,{columns},class,xmin,ymin,xmax,ymax"  # as TensorFlow's object detection has it
    (folder / "labels.csv").write_text("\n".join([header, *rows]))
    return folder / "labels.csv"


FORMS: dict[str, Callable[..., Path]] = {"COCO": write_coco, "Pascal VOC": write_voc, "CSV": write_csv}


def read(path: Path, allowed: float | None = None, **options: object) -> Dataset:
    if path.suffix == ".csv":
        options = {"image_column": "filename", "label_column": "class", **options}
    return check_images(read_source(path, allow_quarantined=allowed, **options), allowed)  # type: ignore[arg-type]


def placed(dataset: Dataset) -> dict[str, Box]:
    return {Path(record.path).name: record.box for record in dataset.records if record.box}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("drawn_on", ["stored", "shown"])
@pytest.mark.parametrize("factor", [1, 2, 0.5])
def test_boxes_of_every_orientation_are_where_the_object_is(tree, form, drawn_on, factor):
    """Photos on their sides show whether the tool respected the orientation; the others follow them."""
    files = {f"{orientation}.png": photo(orientation) for orientation in range(1, 9)}
    root, entries = tree(files), []
    for name, data in files.items():
        shown = drawn_on == "shown"
        size = decode(data, path=name).size if shown else SIZE
        box = where_a_viewer_shows_it(data) if shown else BOX
        declared = (int(size[0] * factor), int(size[1] * factor))
        entries.append((name, declared, tuple(side * factor for side in box)))
    dataset = read(FORMS[form](root, entries))
    assert placed(dataset) == {name: where_a_viewer_shows_it(data) for name, data in files.items()}
    notes = "\n".join(dataset.notes)
    assert ("7 boxes were drawn in the stored photo" in notes) == (drawn_on == "stored")
    assert ("8 boxes were drawn in a larger or smaller copy" in notes) == (factor != 1)
    assert "No declared size shows" not in notes


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_what_the_size_does_not_tell_is_said(tree, orientation):
    root = tree({"a.png": photo(orientation), "b.png": photo()})
    dataset = read(write_coco(root, [("a.png", SIZE, BOX), ("b.png", SIZE, BOX)]))
    assert placed(dataset) == {"a.png": BOX, "b.png": BOX}  # see docs/reference/data.md
    [note] = [note for note in dataset.notes if "No declared size shows" in note]
    assert note.startswith("1 photos")
    assert "a.png" in note


def test_photos_that_disagree_about_the_orientation_decide_nothing_for_others(tree):
    root = tree(
        {name: photo(orientation) for name, orientation in (("a.png", 6), ("b.png", 6), ("c.png", 3))}
    )
    shown = where_a_viewer_shows_it(photo(6))
    entries: Entries = [("a.png", SIZE, BOX), ("b.png", SIZE[::-1], shown), ("c.png", SIZE, BOX)]
    dataset = read(write_coco(root, entries))
    assert placed(dataset) == {"a.png": shown, "b.png": shown, "c.png": BOX}
    assert any("c.png" in note for note in dataset.notes)


UNDECLARED = [None, (0, 0), ("", ""), (None, None), (0, 24), (-1, -1), ("nan", "nan")]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("declared", UNDECLARED)
def test_0_or_nothing_declares_nothing(tree, form, declared):
    if form == "Pascal VOC" and declared == (None, None):
        declared = None
    if form == "CSV" and declared == (None, None):
        declared = ("", "")
    root = tree({"a.png": photo(), "b.png": photo()})
    dataset = read(FORMS[form](root, [("a.png", declared, BOX), ("b.png", SIZE, BOX)]))
    assert placed(dataset) == {"a.png": BOX, "b.png": BOX}
    assert not any("photos with boxes" in note or "drawn" in note for note in dataset.notes)


def test_a_box_that_fits_only_the_stored_photo_was_drawn_in_it(tree):
    wide = (4, 2, 38, 8)  # the shown photo is 24 pixels wide
    data = photo(6, box=wide)
    dataset = read(write_coco(tree({"a.png": data}), [("a.png", None, wide)]))
    assert placed(dataset) == {"a.png": where_a_viewer_shows_it(data)}


@pytest.mark.parametrize(
    ("real", "declared"),
    [
        ((300, 169), (1920, 1080)),  # 168.75, rounded
        ((300, 168), (1920, 1080)),  # or cut off
        ((4000, 2667), (600, 400)),
        ((224, 224), (3000, 2999)),
        ((640, 480), ("640.0", "480.0")),
        ((640, 480), (1280.0, 960.0)),
    ],
)
def test_rounded_sizes_are_the_same_photo(tree, real, declared):
    box = tuple(float(side) * share for side, share in zip(declared * 2, (0.1, 0.2, 0.5, 0.6), strict=True))
    dataset = read(write_csv(tree({"a.png": photo(size=real)}), [("a.png", declared, box)]))
    assert placed(dataset)["a.png"] == pytest.approx(
        [s * r for s, r in zip((0.1, 0.2, 0.5, 0.6), real * 2, strict=True)]
    )


MISMATCHED = {
    "another shape": (photo(), (100, 100), BOX, "which is not the same photo resized"),
    "squashed": (photo(size=(24, 24)), SIZE, BOX, "which is not the same photo resized"),
    "cropped": (photo(size=(30, 24)), SIZE, BOX, "which is not the same photo resized"),
    "sides exchanged": (photo(), SIZE[::-1], BOX, "width and height seem to be exchanged"),
    "a box that knows the real size": (
        photo(),
        (20, 12),
        (25, 2, 35, 8),
        "reaches beyond the declared 20 × 12",
    ),
    "outside after scaling": (photo(), (80, 48), (81, 2, 90, 8), "lies outside the photo"),
    "no number": (photo(), ("wide", 24), BOX, "width is 'wide'"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("case", MISMATCHED)
def test_a_size_that_explains_nothing_quarantines_the_photo_by_name(tree, form, case):
    data, declared, box, reason = MISMATCHED[case]
    names = [f"{number}.png" for number in range(9)]
    root = tree({**dict.fromkeys(names, photo()), "bad.png": data})
    entries: Entries = [(name, SIZE, BOX) for name in names] + [("bad.png", declared, box)]
    path = FORMS[form](root, entries)
    dataset = read(path)
    assert [Path(bad.path).name for bad in dataset.quarantined] == ["bad.png"]
    assert reason in dataset.quarantined[0].reason
    source = {"COCO": "coco.json, images[9]", "Pascal VOC": "bad.xml", "CSV": "labels.csv, line 11"}[form]
    assert source in dataset.quarantined[0].reason
    assert set(placed(dataset)) == set(names)


def test_many_photos_of_another_size_are_refused_by_name(tree):
    names = [f"{number}.png" for number in range(30)]
    entries: Entries = [(name, (100, 100) if n < 6 else SIZE, BOX) for n, name in enumerate(names)]
    path = write_coco(tree(dict.fromkeys(names, photo())), entries)
    with pytest.raises(DataError) as caught:
        read(path)
    for name in names[:3]:
        assert name in str(caught.value)
    assert "6 of 30 photos" in str(caught.value)
    assert "declared to have 100 × 100 pixels, but a viewer shows 40 × 24 pixels" in str(caught.value)
    assert len(read(path, 0.2).records) == 24


@pytest.mark.parametrize("columns", ["image_width,image_height", "img_width,img_height", "width,height"])
def test_every_usual_pair_of_columns_declares_the_size(tree, columns):
    path = write_csv(tree({"a.png": photo()}), [("a.png", (80, 48), (8, 4, 28, 16))], columns)
    assert placed(read(path)) == {"a.png": BOX}


def test_columns_with_the_sizes_of_boxes_are_not_those_of_photos(tree):
    entries: Entries = [("a.png", (10, 6), BOX), ("b.png", (20, 12), (0, 0, 20, 12))]
    dataset = read(write_csv(tree({"a.png": photo(), "b.png": photo()}), entries))
    assert placed(dataset) == {"a.png": BOX, "b.png": (0, 0, 20, 12)}
    assert any("not used: 'width', 'height'" in note for note in dataset.notes)


def test_rows_of_one_photo_must_declare_one_size(tree):
    entries: Entries = [("a.png", SIZE, BOX), ("a.png", (80, 48), (1, 1, 9, 9)), ("b.png", SIZE, BOX)]
    dataset = read(write_csv(tree({"a.png": photo(), "b.png": photo()}), entries), 0.9, boxes="largest")
    assert "the declared width and height of this photo are different in" in dataset.quarantined[0].reason
    assert list(placed(dataset)) == ["b.png"]


def test_sizes_are_no_matter_where_no_box_is_learned(tree):
    root = tree({"a.png": photo(), "b.png": photo()})
    path = write_coco(root, [("a.png", (100, 100), BOX), ("b.png", ("wide", 1), BOX)])
    assert len(read(path, task="multilabel").records) == 2
