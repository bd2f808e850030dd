"""Tables as spreadsheets save them: their encodings, empty cells, and decimal commas."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from headstart.data.sources.source import read_source
from headstart.errors import DataError
from headstart.records import Listing


@pytest.fixture
def saved(tree: Callable[..., Path]) -> Callable[..., Listing]:
    """Read a table that is saved in an encoding beside photos whose names are not ASCII."""

    def read(text: str, encoding: str, **options: object) -> Listing:
        root = tree({f"{name}{number}.png": number for name in ("Größe", "图片", "b") for number in range(4)})
        (root / "table.csv").write_bytes(text.encode(encoding))
        return read_source(root / "table.csv", **options)

    return read


def rows(name: str, *labels: str, separator: str = ";") -> str:
    return "".join(f"{name}{number}.png{separator}{label}\r\n" for number, label in enumerate(labels))


def test_a_table_of_a_german_excel_is_read_and_the_note_names_the_encoding(saved: Callable) -> None:
    text = "image;label;;\r\n" + rows("Größe", "schön;;", "trüb;;", "schön;;", "trüb;;") + ";;;\r\n;;;\r\n"
    listing = saved(text, "cp1252")
    assert listing.class_names == ("schön", "trüb")
    assert listing.found == len(listing.candidates) == 4
    assert any("read as Windows-1252" in note for note in listing.notes)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_certain_encoding_needs_no_note(saved: Callable, encoding: str) -> None:
    listing = saved("image\tlabel\r\n" + rows("图片", "晴天", "多云", "晴天", separator="\t"), encoding)
    assert listing.class_names == ("多云", "晴天")
    assert not listing.notes


def test_a_chinese_table_is_not_taken_for_a_western_one(saved: Callable) -> None:
    listing = saved("image,label\n" + rows("图片", "晴天", "多云", "晴天", "多云", separator=","), "gb18030")
    assert listing.class_names == ("多云", "晴天")
    assert any("read as GB 18030" in note for note in listing.notes)


def test_a_table_in_utf_8_with_a_broken_cell_stays_one_in_utf_8(tree: Callable[..., Path]) -> None:
    root = tree({f"{number}.png": number for number in range(21)})
    good = "".join(f"{number}.png,{chr(0xC0 + number)}{'x' * (number % 3)}\n" for number in range(20))
    (root / "t.csv").write_bytes(b"image,label\n" + good.encode() + b"20.png,\xe4\n")
    listing = read_source(root / "t.csv")
    assert len(listing.candidates) == 20
    assert "not UTF-8" in listing.quarantined[0].reason


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl"])
def test_a_table_with_nul_bytes_is_refused_by_name(tree: Callable[..., Path], name: str) -> None:
    path = tree({"a.png": 1}) / name
    path.write_bytes(b"image,label\na.png,x\n" + b"\0" * 9)
    with pytest.raises(DataError, match=rf"{name}' is not a text file: byte 21 is a NUL byte.*UTF-8"):
        read_source(path)


@pytest.mark.parametrize(
    ("separator", "numbers", "expected"),
    [
        (";", ["1,5", "2", "-3,25", "1,000"], (1.5, 2, -3.25, 1)),
        ("\t", ["1,5", "2", "0,125", "1,250"], (1.5, 2, 0.125, 1.25)),
        (";", ["1.5", "2", "3e1", "4"], (1.5, 2, 30, 4)),
    ],
)
def test_decimal_commas_are_read_where_they_are_certain(
    saved: Callable, separator: str, numbers: list[str], expected: tuple[float, ...]
) -> None:
    text = f"image{separator}t\n" + rows("b", *numbers, separator=separator)
    listing = saved(text, "utf-8", target="t")
    assert tuple(each.numbers[0] for each in listing.candidates) == expected
    assert any("decimal commas are read in 't'" in note for note in listing.notes) == ("," in numbers[0])


@pytest.mark.parametrize(
    ("separator", "numbers"),
    [
        (";", ["1,5", "2.5", "3", "4"]),
        (";", ["1,250", "900", "800", "12,100"]),
        ("\t", ["1,500", "2", "3", "4"]),
        (",", ['"1,5"', "2", "3", "4"]),
    ],
    ids=["points, too", "perhaps thousands", "perhaps thousands, with tabs", "separated by commas"],
)
def test_commas_that_could_separate_thousands_are_refused(
    saved: Callable, separator: str, numbers: list[str]
) -> None:
    text = f"image{separator}t\n" + rows("b", *numbers, separator=separator)
    listing = saved(text, "utf-8", target="t")
    assert "with a point for the decimals" in listing.quarantined[0].reason


def test_sides_of_boxes_have_decimal_commas_too(saved: Callable) -> None:
    text = "image;label;xmin;ymin;xmax;ymax\nb0.png;x;1,125;2;8,5;9\nb1.png;y;1;2;3;4\n"
    assert saved(text, "cp1252").candidates[0].box == (1.125, 2, 8.5, 9)
