"""Reading every photo: what is used, quarantined or refused, and the account of it."""

import csv
import hashlib
import io
import os
import struct
import threading
import zlib

import pytest
from PIL import Image

from headstart.data import check as check_module
from headstart.data.check import check_images, check_photo, quarantine_csv
from headstart.data.sources.folder import read_folder
from headstart.data.sources.source import read_source
from headstart.data.split import split_dataset
from headstart.errors import ConfigError, DataError
from headstart.files import write_whole
from headstart.images.photo import Photo
from headstart.records import Dataset, Quarantined


def encode(image: Image.Image, format_name: str, **parameters) -> bytes:
    file = io.BytesIO()
    image.save(file, format_name, **parameters)
    return file.getvalue()


def bomb() -> bytes:
    data = bytearray(encode(Image.new("RGB", (8, 8)), "PNG"))
    struct.pack_into(">II", data, 16, 40_000, 40_000)
    struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    return bytes(data)


JPEG = encode(Image.effect_noise((64, 48), 50), "JPEG")
PLAIN = Image.new("RGB", (8, 6), "red")
SIX_PHOTOS = {
    f"{name}/{number}.png": number + 3 * (name == "dog") for name in ("cat", "dog") for number in range(3)
}

# RELIABILITY: what is wrong with one file among good ones, and the promised outcome.
QUARANTINED = {
    "zero bytes": (b"", "empty file"),
    "truncated": (JPEG[: len(JPEG) // 2], "truncated or damaged JPEG"),
    "web page": (b"<!DOCTYPE html><html></html>", "HTML"),
    "text": (b"hello", "not an image in a format Headstart reads (JPEG, PNG,"),
    "phone's HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "save it as JPEG"),
    "decompression bomb": (bomb(), "1,600 megapixels; up to 100 are decoded"),
    "Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
}
USED = {
    "PNG named .jpg": encode(PLAIN, "PNG"),
    "GIF": encode(PLAIN, "GIF"),
    "WebP": encode(PLAIN, "WEBP"),
    "AVIF": encode(PLAIN, "AVIF"),
    "CMYK": encode(PLAIN.convert("CMYK"), "JPEG"),
    "16 bits": encode(Image.new("I;16", (8, 6)), "PNG"),
    "palette with transparency": encode(PLAIN.quantize(4), "PNG", transparency=0),
    "animation": encode(PLAIN, "GIF", save_all=True, append_images=[Image.new("RGB", (8, 6), "blue")]),
    "1 × 1": encode(Image.new("RGB", (1, 1)), "PNG"),
    "1 × 10,000": encode(Image.new("RGB", (1, 10_000)), "PNG"),
}


def accounts_for_everything(dataset: Dataset, root) -> bool:
    found = sum(len(files) for _, _, files in os.walk(root))
    return dataset.found == found == len(dataset.records) + len(dataset.quarantined) + len(dataset.ignored)


@pytest.mark.parametrize("case", QUARANTINED)
def test_a_bad_photo_is_quarantined_with_its_reason_and_the_others_are_used(tree, case):
    data, reason = QUARANTINED[case]
    root = tree({**SIX_PHOTOS, "cat/bad.jpg": data, "readme.txt": b"x"})
    dataset = check_images(read_folder(root))
    [bad] = dataset.quarantined
    assert bad.path == str(root / "cat" / "bad.jpg")
    assert reason in bad.reason
    assert len(dataset.records) == 6
    assert accounts_for_everything(dataset, root)


@pytest.mark.parametrize("case", USED)
def test_an_unusual_photo_is_used(tree, case):
    root = tree({**SIX_PHOTOS, "cat/odd.jpg": USED[case]})
    dataset = check_images(read_folder(root))
    assert not dataset.quarantined
    assert str(root / "cat" / "odd.jpg") in {record.path for record in dataset.records}


def test_a_photo_that_vanishes_is_quarantined(tree):
    root = tree({**SIX_PHOTOS, "cat/late.png": 9})
    (root / "dog" / "link.png").symlink_to("nowhere.png")
    listing = read_folder(root)
    (root / "cat" / "late.png").unlink()
    dataset = check_images(listing)
    assert [photo.reason for photo in dataset.quarantined] == [
        "no such file",
        "a link whose target does not exist",
    ]
    assert (dataset.found, len(dataset.records)) == (8, 6)


def test_a_photo_that_may_not_be_read_is_quarantined(tree, monkeypatch):
    listing = read_folder(tree({**SIX_PHOTOS, "cat/locked.png": 9}))
    real = open

    def refuse(path, *arguments, **keywords):
        if str(path).endswith("locked.png"):
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **keywords)

    monkeypatch.setattr("builtins.open", refuse)
    assert [photo.reason for photo in check_images(listing).quarantined] == ["no permission to read it"]


def test_records_hold_label_split_and_the_hash_of_the_bytes_in_the_listings_order(tree):
    root = tree({"train/b/1.png": 1, "train/a/2.png": 2, "val/b/3.png": 3, "train/a/10.png": 2})
    dataset = check_images(read_folder(root))
    assert dataset.class_names == ("a", "b")
    assert [(os.path.relpath(r.path, root), r.label, r.split) for r in dataset.records] == [
        ("train/a/10.png", 0, "train"),
        ("train/a/2.png", 0, "train"),
        ("train/b/1.png", 1, "train"),
        ("val/b/3.png", 1, "val"),
    ]
    for record in dataset.records:
        with open(record.path, "rb") as file:
            assert record.sha256 == hashlib.sha256(file.read()).hexdigest()


def test_no_file_is_changed_by_reading_it(tree):
    root = tree({**SIX_PHOTOS, "cat/bad.jpg": JPEG[:50]})
    before = {path: path.read_bytes() for path in root.rglob("*.*")}
    check_images(read_folder(root))
    assert {path: path.read_bytes() for path in root.rglob("*.*")} == before


def many(num_photos: int, num_bad: int) -> dict[str, bytes | int]:
    files: dict[str, bytes | int] = {f"cat/{n:04}.png": n for n in range(num_photos - 2)}
    files |= {"dog/1.png": 9998, "dog/2.png": 9999}
    return files | {f"cat/{n:04}.png": b"" for n in range(num_bad)}


@pytest.mark.parametrize(
    ("num_photos", "num_bad", "allowed", "goes_on"),
    [
        (20, 5, None, True),  # a quarter, but not more than five
        (100, 6, None, False),
        (600, 6, None, True),  # more than five, but not more than 1 %
        (599, 6, None, False),
        (20, 1, 0.0, False),
        (20, 0, 0.0, True),
        (100, 6, 0.05, False),
        (100, 6, 0.06, True),
        (100, 29, 0.29, True),  # 0.29 × 100 is below 29 in floating point
        (20, 5, 0.1, False),  # what is allowed replaces the five files
    ],
)
def test_how_many_photos_may_be_quarantined(tree, num_photos, num_bad, allowed, goes_on):
    listing = read_folder(tree(many(num_photos, num_bad)))
    if goes_on:
        assert len(check_images(listing, allowed).quarantined) == num_bad
    else:
        with pytest.raises(DataError, match=f"{num_bad} of {num_photos} photos"):
            check_images(listing, allowed)


def test_the_refusal_names_files_reasons_and_an_option_that_works(tree):
    listing = read_folder(tree(many(70, 33)))
    with pytest.raises(DataError) as caught:
        check_images(listing)
    message = str(caught.value)
    assert "  33 photos ('" in message
    assert "0000.png', '" in message
    assert "...): empty file" in message
    assert message.count("empty file") == 1
    assert "headstart check DATA --allow-quarantined 1 --out findings.csv" in message
    allowed = float(message.split("--allow-quarantined ")[1].split()[0])
    assert len(check_images(listing, allowed).quarantined) == 33


EMPTIED = {
    "class": ({"cat/1.png": 1, "dog/2.png": b"", "fish/3.png": 3}, None, "class 'dog' can be read"),
    "class, whatever is allowed": (
        {"cat/1.png": 1, "dog/2.png": b"", "fish/3.png": 3},
        1.0,
        "class 'dog' can",
    ),
    "class in train": (
        {"train/cat/1.png": b"", "train/dog/2.png": 2, "val/cat/3.png": 3},
        1.0,
        "class 'cat' in train",
    ),
    "class in val": (
        {"train/cat/1.png": 1, "train/dog/2.png": 2, "val/cat/3.png": 3, "val/dog/4.png": b""},
        None,
        "class 'dog' in val",
    ),
    "val": (
        {"train/cat/1.png": 1, "train/dog/2.png": 2, "val/cat/3.png": b""},
        1.0,
        "None of the val photos",
    ),
    "test": (
        {"train/cat/1.png": 1, "train/dog/2.png": 2, "test/cat/3.png": b""},
        1.0,
        "None of the test photos",
    ),
    "everything": ({"cat/1.png": b"", "dog/2.png": b""}, 1.0, "None of the photos can be read"),
}


@pytest.mark.parametrize("case", EMPTIED)
def test_a_class_or_split_without_photos_stops_the_run(tree, case):
    files, allowed, expected = EMPTIED[case]
    with pytest.raises(DataError) as caught:
        check_images(read_folder(tree(files)), allowed)
    assert expected in str(caught.value)
    assert "empty file" in str(caught.value)
    assert ".png'" in str(caught.value)
    assert "headstart check" not in str(caught.value)  # which would refuse them, too


def test_a_class_emptied_in_val_is_accepted_where_quarantine_is_allowed(tree):
    files, _, _ = EMPTIED["class in val"]
    assert len(check_images(read_folder(tree(files)), 0.25).records) == 3


@pytest.mark.parametrize("allowed", [-0.1, 1.1, 5])
def test_what_is_allowed_must_be_a_fraction(tree, allowed):
    with pytest.raises(ConfigError, match="from 0 to 1"):
        check_images(read_folder(tree(SIX_PHOTOS)), allowed)


def test_progress_is_called_once_per_photo_in_the_callers_thread(tree):
    threads = []
    check_images(
        read_folder(tree({**SIX_PHOTOS, "cat/x.png": b""})),
        progress=lambda: threads.append(threading.current_thread()),
    )
    assert threads == [threading.current_thread()] * 7


def test_a_bug_while_reading_is_not_taken_for_a_bad_photo(tree, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(check_module, "decode", fail)
    with pytest.raises(ZeroDivisionError):
        check_images(read_folder(tree(SIX_PHOTOS)))


def test_check_photo_depends_on_the_file_alone(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(JPEG)
    assert check_photo(Photo(str(path))) == check_photo(Photo(str(path)))
    assert check_photo(Photo(str(path))).reason is None
    path.write_bytes(b"hello")
    assert check_photo(Photo(str(path))).sha256 == hashlib.sha256(b"hello").hexdigest()
    assert check_photo(Photo(str(tmp_path / "b.jpg"))).sha256 == ""


NAMES = [
    "plain.png",
    'comma, and "quotes"',
    "line\nbreak",
    "return\rtoo",
    "both\r\n",
    "🐶",
    os.fsdecode(b"\xe9\xff"),
]


def test_quarantine_csv_brings_every_name_back(tmp_path):
    quarantined = tuple(
        Quarantined(f"photos/{name}", split, 'why, "so"') for name in NAMES for split in (None, "val")
    )
    dataset = Dataset("photos", (), ("a", "b"), quarantined, (), len(quarantined))
    write_whole(tmp_path / "quarantine.csv", quarantine_csv(dataset))
    with open(tmp_path / "quarantine.csv", newline="", encoding="utf-8", errors="surrogateescape") as file:
        header, *rows = csv.reader(file)
    assert header == ["path", "split", "reason"]
    names = [photo.path.removeprefix("photos/") for photo in quarantined]  # as in photos.csv
    assert rows == [
        [name, photo.split or "", photo.reason] for name, photo in zip(names, quarantined, strict=True)
    ]


def test_quarantine_csv_is_the_same_however_the_data_folder_is_named():
    texts = [
        quarantine_csv(Dataset(root, (), ("a",), (Quarantined(f"{root}/x.png", None, reason),), (), 1))
        for root in ("my photos", "/home/me/my photos")
        for reason in [f"{root}/t.csv, line 2: no such photo: '{root}/x.png'"]
    ]
    assert texts[0] == texts[1]
    assert '"x.png","","t.csv, line 2: no such photo: \'x.png\'"' in texts[0]


def test_quarantine_csv_is_written_when_nothing_is_quarantined(tmp_path, tree):
    dataset = check_images(read_folder(tree(SIX_PHOTOS)))
    write_whole(tmp_path / "quarantine.csv", quarantine_csv(dataset))
    assert (tmp_path / "quarantine.csv").read_text() == '"path","split","reason"\n'


def test_one_photo_of_a_class_and_names_of_any_kind_go_all_the_way(tree):
    root = tree(
        {f"{name.replace('/', '')}/{name}.png": number for number, name in enumerate(NAMES)}
        | {"🐶/2.png": 99}
    )
    dataset = check_images(read_folder(root))
    splits = split_dataset(dataset, val_fraction=0.2, seed=0)
    assert len(dataset.class_names) == len(NAMES) == len({record.label for record in splits.train})
    assert [dataset.class_names[record.label] for record in splits.val] == ["🐶"]


ORIENTATIONS = [
    (orientation, (6, 8) if orientation in (5, 6, 7, 8) else (8, 6)) for orientation in range(1, 9)
]


@pytest.mark.parametrize("format_name", ["JPEG", "WEBP", "PNG"])
@pytest.mark.parametrize(("orientation", "size"), ORIENTATIONS)
def test_a_box_is_cut_off_at_the_edge_of_the_photo_as_a_viewer_shows_it(tree, format_name, orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    root = tree({"a.bin": encode(PLAIN, format_name, exif=exif), "b.png": 1})
    (root / "t.csv").write_text("image,xmin,ymin,xmax,ymax\na.bin,1,1,99,99\nb.png,1,1,2,2\n")
    dataset = check_images(read_source(root / "t.csv"))
    assert dataset.records[0].size == size
    assert dataset.records[0].box == (1.0, 1.0, *map(float, size))


def test_a_class_whose_boxes_all_lie_outside_is_an_error(tree):
    root = tree({"a.png": 0, "b.png": 1})
    (root / "t.csv").write_text("image,label,xmin,ymin,xmax,ymax\na.png,x,50,50,99,99\nb.png,y,1,1,2,2\n")
    with pytest.raises(DataError, match=r"None of the photos of class 'x' can be used.*\n.*line 2.*8 × 6"):
        check_images(read_source(root / "t.csv"))


def test_photos_under_two_labels_are_named_with_both_files(tree):
    root = tree({**SIX_PHOTOS, "cat/7.png": 7, "dog/8.png": 7, "dog/9.png": 4})
    [note] = check_images(read_folder(root)).notes
    assert "1 photo occurs twice" in note  # dog/9.png is dog/1.png, which is right
    assert f"{str(root / 'cat' / '7.png')!r} (cat) and {str(root / 'dog' / '8.png')!r} (dog)" in note


@pytest.mark.parametrize(
    ("columns", "one", "other", "options", "shown"),
    [
        ("labels", "x|y", "x", {}, ("(x|y)", "(x)")),
        ("size", "1.5", "2", {"target": "size"}, ("(1.5)", "(2)")),
        ("xmin,ymin,xmax,ymax", "1,1,2,2", "1,1,3,3", {}, ("(box 1, 1, 2, 2)", "(box 1, 1, 3, 3)")),
    ],
)
def test_photos_under_two_labels_are_named_for_every_task(tree, columns, one, other, options, shown):
    root = tree({"a.png": 1, "b.png": 1, "c.png": 2, "d.png": 2, "e.png": 3})
    rows = f"a.png,{one}\nb.png,{other}\nc.png,{one}\nd.png,{one}\ne.png,{other}\n"
    (root / "t.csv").write_text(f"image,{columns}\n{rows}")
    [note] = [n for n in check_images(read_source(root / "t.csv", **options)).notes if "twice" in n]
    assert "1 photo occurs twice" in note
    assert f"a.png' {shown[0]} and " in note
    assert f"b.png' {shown[1]}. Remove" in note


def test_a_label_whose_photos_cannot_be_read_is_an_error(tree):
    root = tree({"a.png": b"", "b.png": 1, "c.png": 2})
    (root / "t.csv").write_text("image,labels\na.png,x|y\nb.png,y\nc.png,\n")
    with pytest.raises(DataError, match="class 'x' can be read"):
        check_images(read_source(root / "t.csv"))
