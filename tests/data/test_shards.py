"""Tar files as collections of labelled photos: samples of WebDataset, and class folders."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from PIL import Image
from tests.images.test_tars import tar_of

from headstart.data.check import check_images
from headstart.data.sources.source import read_source
from headstart.errors import DataError


def photo(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8 + number, 8), (number, 0, 0)).save(file, "PNG")
    return file.getvalue()


def samples(numbers: range, kind: str = "cls") -> dict[str, bytes]:
    """Return members KEY.png and KEY.cls, KEY.txt or KEY.json, of the classes even and odd."""
    members = {}
    for number in numbers:
        label = ("even", "odd")[number % 2]
        members[f"{number:06}.png"] = photo(number)
        text = json.dumps({"label": label, "caption": "a square"}) if kind == "json" else f"{label}\n"
        members[f"{number:06}.{kind}"] = text.encode()
    return members


@pytest.mark.parametrize("kind", ["cls", "txt", "json"])
def test_samples_are_labelled_by_the_member_beside_them(tmp_path: Path, kind: str) -> None:
    tar = tar_of(tmp_path / "s-000.tar", samples(range(6), kind))
    listing = read_source(tar)
    assert listing.root == str(tmp_path)
    assert [(each.path, each.class_name) for each in listing.candidates] == [
        (f"{tar}/{number:06}.png", ("even", "odd")[number % 2]) for number in range(6)
    ]
    assert ("caption" in "".join(listing.notes)) == (kind == "json")
    assert len(check_images(listing).records) == 6


def test_fields_of_json_are_columns(tmp_path: Path) -> None:
    members = {}
    for number in range(4):
        members[f"{number}.jpg"] = photo(number)
        members[f"{number}.json"] = json.dumps({"weight": number / 2, "plant": f"p{number}"}).encode()
    listing = read_source(tar_of(tmp_path / "0.tar", members), target="weight", group_by="plant")
    assert [(each.numbers, each.group) for each in listing.candidates] == [
        ((number / 2,), f"p{number}") for number in range(4)
    ]


def test_numbers_of_classes_are_named_by_classnames_txt(tmp_path: Path) -> None:
    (tmp_path / "classnames.txt").write_text("tench\ngoldfish\n")
    tar = tar_of(tmp_path / "0.tar", {"a.png": photo(1), "a.cls": b"1", "b.png": photo(2), "b.cls": b"0"})
    assert read_source(tar).class_names == ("goldfish", "tench")


@pytest.mark.parametrize(
    "names", [("train-0.tar", "train-1.tar", "val-0.tar"), ("train/0.tar", "train/1.tar", "val/0.tar")]
)
def test_splits_are_named_by_tar_files_or_folders(tmp_path: Path, names: tuple[str, ...]) -> None:
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        tar_of(tmp_path / name, samples(range(4 * number, 4 * number + 4)))
    listing = read_source(tmp_path)
    assert [each.split for each in listing.candidates] == ["train"] * 8 + ["val"] * 4
    assert listing.candidates[-1].path == f"{tmp_path / names[-1]}/000011.png"


def test_validation_samples_may_be_elsewhere(tmp_path: Path) -> None:
    for number in range(3):
        tar_of(tmp_path / f"{number}.tar", samples(range(4 * number, 4 * number + 4)))
    listing = read_source(str(tmp_path / "{0..1}.tar"), str(tmp_path / "2.tar"))
    assert [each.split for each in listing.candidates] == ["train"] * 8 + ["val"] * 4
    with pytest.raises(DataError, match="cannot be both"):
        read_source(str(tmp_path / "{0..1}.tar"), str(tmp_path / "{0..1}.tar"))


@pytest.mark.parametrize("above", ["", "photos/", "./a/b/"])
def test_class_folders_in_a_tar_file_are_classes(tmp_path: Path, above: str) -> None:
    names = [f"{above}{name}/{number}.png" for name in ("cat", "dog") for number in range(2)]
    tar = tar_of(
        tmp_path / "pets.tar",
        {
            **{name: photo(number) for number, name in enumerate(names)},
            f"{above}cat/.x.png": b"",
            f"{above}README.md": b"",
        },
    )
    listing = read_source(tar)
    assert [(each.path, each.class_name) for each in listing.candidates] == [
        (f"{tar}/{name.removeprefix('./')}", name.split("/")[-2]) for name in names
    ]
    assert (listing.found, len(listing.ignored)) == (6, 2)


def test_class_folders_in_several_tar_files_and_splits_are_one_collection(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "train", "val")):
        names = [f"{name}/{number}.png" for name in ("cat", "dog")]
        tar_of(tmp_path / f"{split}-{number}.tar", {name: photo(number) for name in names})
    listing = read_source(tmp_path)
    assert [(each.class_name, each.split) for each in listing.candidates] == [
        *[("cat", "train")] * 2,
        *[("dog", "train")] * 2,
        ("cat", "val"),
        ("dog", "val"),
    ]


def test_captions_in_class_folders_do_not_hide_the_classes(tmp_path: Path) -> None:
    members = {}
    for name in ("cat", "dog"):
        members |= {f"{name}/1.png": photo(1), f"{name}/1.txt": b"a caption"}
    assert read_source(tar_of(tmp_path / "0.tar", members)).class_names == ("cat", "dog")


def test_a_table_may_name_photos_in_a_tar_file(tmp_path: Path) -> None:
    tar = tar_of(tmp_path / "0.tar", {f"{number}.png": photo(number) for number in range(4)})
    rows = [f"0.tar/{number}.png,{('even', 'odd')[number % 2]}" for number in range(5)]
    (tmp_path / "labels.csv").write_text("\n".join(["image,label", *rows]))
    listing = read_source(tmp_path / "labels.csv")
    assert [each.path for each in listing.candidates] == [f"{tar}/{number}.png" for number in range(4)]
    assert [each.path for each in listing.quarantined] == [f"{tar}/4.png"]


def test_a_sample_without_a_label_is_quarantined_and_a_wrong_one_is_an_error(tmp_path: Path) -> None:
    members = samples(range(8))
    del members["000003.cls"]
    tar = tar_of(tmp_path / "0.tar", members)
    assert [each.path for each in read_source(tar).quarantined] == [f"{tar}/000003.png"]
    tar = tar_of(tmp_path / "1.tar", {**samples(range(8), "json"), "9.png": photo(9), "9.json": b"[1"})
    with pytest.raises(DataError, match=r"1\.tar/9\.json: Expecting"):
        read_source(tar)


@pytest.mark.parametrize(
    "contents",
    [
        {f"{name}/{number}.png": photo(number) for name in ("a", "b") for number in range(9)},
        samples(range(9)),
    ],
)
def test_no_part_of_a_damaged_tar_file_is_lost_silently(tmp_path: Path, contents: dict[str, bytes]) -> None:
    tar = Path(tar_of(tmp_path / "0.tar", contents))
    tar.write_bytes(tar.read_bytes()[:-12_000])
    with pytest.raises(DataError, match=r"0\.tar.*damaged after its member.*download it again"):
        read_source(tar)


def test_hidden_members_between_photo_and_label_do_not_part_them(tmp_path: Path) -> None:
    """As macOS writes them: ``._0.png`` before ``0.png``."""
    members = {}
    for name, content in samples(range(4)).items():
        members |= {f"._{name}": b"AppleDouble", name: content}
    assert read_source(tar_of(tmp_path / "0.tar", members)).class_names == ("even", "odd")


@pytest.mark.parametrize("num_sorted", [0, 4])
def test_samples_in_parts_are_refused_with_advice(tmp_path: Path, num_sorted: int) -> None:
    scattered = samples(range(num_sorted, 8))
    first = samples(range(num_sorted))
    members = {**first, **{name: scattered[name] for name in sorted(scattered, key=lambda name: name[-3:])}}
    with pytest.raises(DataError, match=r"label of '00000\d' are not neighbours.*tar --sort=name"):
        read_source(tar_of(tmp_path / "0.tar", members))


def test_a_number_without_a_name_is_an_error_and_not_a_class(tmp_path: Path) -> None:
    (tmp_path / "classnames.txt").write_text("tench \ngoldfish\n\n")
    members = samples(range(4)) | {"000001.cls": b"2", "000003.cls": b"1"}
    with pytest.raises(DataError, match=r"000001\.cls: class 2, but classnames\.txt .* the classes 0 to 1"):
        read_source(tar_of(tmp_path / "0.tar", members))


def test_a_name_twice_in_json_is_an_error(tmp_path: Path) -> None:
    members = samples(range(4), "json") | {"000001.json": b'{"label": "odd", "label": "even"}'}
    with pytest.raises(DataError, match=r"000001\.json: an object has the name 'label' 2 times"):
        read_source(tar_of(tmp_path / "0.tar", members))


def test_of_two_members_with_one_name_one_is_listed(tmp_path: Path) -> None:
    tar = tar_of(tmp_path / "0.tar", {f"{name}/0.png": photo(1) for name in ("cat", "dog")})
    with tarfile.open(tar, "a") as archive:
        member = tarfile.TarInfo("cat/0.png")
        member.size = len(photo(2))
        archive.addfile(member, io.BytesIO(photo(2)))
    listing = read_source(tar)
    assert [each.path for each in listing.candidates] == [f"{tar}/cat/0.png", f"{tar}/dog/0.png"]
    assert (listing.found, len(listing.ignored)) == (3, 1)
    assert listing.candidates[0].photo.content() == photo(2)
