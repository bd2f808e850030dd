"""Decisions of the owner in a findings.csv: what they do to a listing, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from headstart.data.decisions import read_decisions
from headstart.data.sources.source import read_source
from headstart.errors import DataError
from headstart.records import Listing

HEADER = "path,kind,severity,other_path,suggestion,decision,message"


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory, make_photos: Callable[..., Path]) -> Path:
    return make_photos(tmp_path_factory.mktemp("few") / "photos", {"": 3})


def decided(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "findings.csv"
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return path


def row(path: str, decision: str, kind: str = "copy", other: str = "") -> str:
    return f"{path},{kind},note,{other},,{decision},"


def classes(listing: Listing) -> dict[str, str]:
    return {Path(each.path).name: each.class_name for each in listing.candidates}


def test_photos_are_dropped_and_relabelled_and_counted(few: Path, tmp_path: Path) -> None:
    before = read_source(few)
    file = decided(
        tmp_path,
        row("blue/blue0.jpg", "drop"),
        row("blue/blue1.jpg", "label red"),
        row("red/red0.jpg", "keep", other="red/red1.jpg"),
        row("red/red2.jpg", ""),
    )
    after = read_source(few, decisions=file)
    expected = classes(before) | {"blue1.jpg": "red"}
    del expected["blue0.jpg"]
    assert classes(after) == expected
    assert after.found == before.found
    assert [Path(path).name for path in after.ignored] == ["blue0.jpg"]
    assert f"Decisions of {file}: 1 photo dropped, 1 relabelled" in after.notes
    assert read_decisions(file).kept == {("copy", "red/red0.jpg", "red/red1.jpg")}
    assert (few / "blue" / "blue0.jpg").exists()


def test_a_class_that_is_relabelled_away_is_gone(few: Path, tmp_path: Path) -> None:
    file = decided(tmp_path, *(row(f"blue/blue{number}.jpg", "label red") for number in range(3)))
    assert read_source(few, decisions=file).class_names == ("green", "red")


def test_what_a_spreadsheet_makes_of_the_file_is_read(few: Path, tmp_path: Path) -> None:
    path = tmp_path / "findings.csv"
    path.write_bytes(b"\xef\xbb\xbf" + b"path;kind;other_path;decision\r\nblue/blue0.jpg;copy;;drop\r\n")
    assert read_decisions(path).dropped == {"blue/blue0.jpg": 2}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [row("blue/blue0.jpg", "remove")],
            r"line 2: 'blue/blue0.jpg' has the decision 'remove'.*drop, keep",
        ),
        ([row("blue/blue0.jpg", "label")], "has the decision 'label'"),
        ([row("blue/blue0.jpg", "label rde")], "label 'rde' is not a class of the data. Did you mean 'red'"),
        ([row("a.jpg", "drop"), row("a.jpg", "label red")], "line 3: 'a.jpg' is both dropped and relabelled"),
        ([row("a.jpg", "label red"), row("a.jpg", "label blue")], "line 3: .* also has .*'label red'"),
        ([row(f"{c}/{c}{n}.jpg", "drop") for c in ("blue", "green", "red") for n in range(3)], "drops all"),
    ],
)
def test_wrong_decisions_are_refused_with_their_lines(
    few: Path, tmp_path: Path, rows: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_source(few, decisions=decided(tmp_path, *rows))


def test_other_files_are_refused(few: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no file .*nothing\.csv"):
        read_source(few, decisions=tmp_path / "nothing.csv")
    with pytest.raises(DataError, match="no column 'kind', 'other_path', 'decision'"):
        read_source(few, decisions=decided(tmp_path, "a.jpg,cat", header="path,label"))


def test_decisions_that_match_no_photo_are_reported(few: Path, tmp_path: Path) -> None:
    file = decided(
        tmp_path,
        row("blue/gone.jpg", "drop"),
        row("red/red0.jpg", "drop"),
        row("blue", "keep", "small-class"),
    )
    (note,) = (note for note in read_source(few, decisions=file).notes if "no photo" in note)
    assert (
        f"1 decision of {file} is about a path that is no photo of these data: 'blue/gone.jpg' (line 2)"
        in note
    )
    with pytest.raises(DataError, match=r"1 decision .*no photo of these data"):
        read_source(few, decisions=decided(tmp_path, row("blue/gone.jpg", "drop")))


def test_a_file_that_a_spreadsheet_has_saved_in_its_encoding_is_read(few: Path, tmp_path: Path) -> None:
    few = Path(shutil.copytree(few, tmp_path / "photos"))
    (few / "blue" / "blue0.jpg").rename(few / "blue" / "grün.jpg")
    file = tmp_path / "findings.csv"
    text = "\n".join([HEADER, row("blue/grün.jpg", "drop"), ""])
    file.write_bytes(text.replace(",", ";").encode("cp1252"))
    assert "grün.jpg" not in classes(read_source(few, decisions=file))


def test_a_decision_in_other_words_comes_with_the_word_that_is_meant(few: Path, tmp_path: Path) -> None:
    rows = [row("blue/blue0.jpg", "dropp"), row("red/red0.jpg", "remove")]
    with pytest.raises(DataError) as caught:
        read_source(few, decisions=decided(tmp_path, *rows))
    assert str(caught.value).count("Did you mean 'drop'?") == 2


def test_paths_may_be_written_in_full_and_words_in_capitals(few: Path, tmp_path: Path) -> None:
    rows = [row(str(few / "blue" / "blue0.jpg"), "DROP"), row("red\\red0.jpg", "Label blue")]
    after = classes(read_source(few, decisions=decided(tmp_path, *rows)))
    assert "blue0.jpg" not in after
    assert after["red0.jpg"] == "blue"


def test_classes_cannot_be_dropped_and_must_not_be_left_to_one_split(few: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'blue' is no photo, so it can only be kept"):
        read_source(few, decisions=decided(tmp_path, row("blue", "drop", "small-class")))
    drops = [row(f"{name}/{name}{number}.jpg", "drop") for name in ("blue", "green") for number in range(3)]
    with pytest.raises(DataError, match="'red' is the only class left"):
        read_source(few, decisions=decided(tmp_path, *drops))
    rows = [
        f"{path},{path.parent.name},{'val' if path.stem[-1] == '2' else 'train'}"
        for path in few.rglob("*.jpg")
    ]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["image,label,split", *rows]))
    drops = [row(str(few / "blue" / f"blue{number}.jpg"), "drop") for number in range(2)]
    with pytest.raises(DataError, match="no training photos of 'blue' are left, but validation"):
        read_source(table, decisions=decided(tmp_path, *drops))


def test_several_labels_and_numbers_are_relabelled(few: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    photos = sorted(few.rglob("*.jpg"))
    table.write_text(
        "\n".join(["image,labels,height", *(f"{p},{p.parent.name},{n}" for n, p in enumerate(photos))])
    )
    path = str(photos[0])
    file = decided(tmp_path, row(path, '"label [""red"", ""blue""]"'))
    listing = read_source(table, task="multilabel", decisions=file)
    assert listing.candidates[0].labels == ("blue", "red")
    file = decided(tmp_path, row(path, "label green|red"))
    assert read_source(table, task="multilabel", decisions=file).candidates[0].labels == ("green", "red")
    file = decided(tmp_path, row(path, "label 2.5"))
    assert read_source(table, target="height", decisions=file).candidates[0].numbers == (2.5,)
    with pytest.raises(DataError, match="label 'tall' is not a number"):
        read_source(table, target="height", decisions=decided(tmp_path, row(path, "label tall")))
