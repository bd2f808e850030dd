from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TextIO

import pytest

from headstart.predictions import write_csv, write_jsonl, write_table
from headstart.predictor import Prediction

CAT = Prediction('a "b", c\nd.jpg', "cat", 0.75, {"cat": 0.75, "dog": 0.2, "owl": 1e-9})
FAILED = Prediction("broken.jpg", error="truncated or damaged JPEG")
FROM_MEMORY = Prediction(None, "dog", 0.5, {"dog": 0.5})


@pytest.mark.parametrize(
    ("top_k", "rows"),
    [
        (
            1,
            [
                ["path", "label", "probability", "error"],
                ['a "b", c\nd.jpg', "cat", "0.75", ""],
                ["broken.jpg", "", "", "truncated or damaged JPEG"],
                ["", "dog", "0.5", ""],
            ],
        ),
        (
            3,
            [
                [
                    "path",
                    "label",
                    "probability",
                    "error",
                    "label_2",
                    "probability_2",
                    "label_3",
                    "probability_3",
                ],
                ['a "b", c\nd.jpg', "cat", "0.75", "", "dog", "0.2", "owl", "1e-09"],
                ["broken.jpg", "", "", "truncated or damaged JPEG", "", "", "", ""],
                ["", "dog", "0.5", "", "", "", "", ""],
            ],
        ),
    ],
)
def test_csv_has_a_row_for_every_photo(top_k: int, rows: list[list[str]]) -> None:
    file = io.StringIO(newline="")
    assert write_csv(file, [CAT, FAILED, FROM_MEMORY], top_k=top_k) == 1
    assert list(csv.reader(io.StringIO(file.getvalue(), newline=""))) == rows


def test_json_lines_have_an_object_for_every_photo() -> None:
    file = io.StringIO()
    assert write_jsonl(file, [CAT, FAILED, FROM_MEMORY]) == 1
    assert [Prediction(**json.loads(line)) for line in file.getvalue().splitlines()] == [
        CAT,
        FAILED,
        FROM_MEMORY,
    ]


def test_a_table_has_a_header_and_aligned_columns() -> None:
    file = io.StringIO()
    assert write_table(file, [CAT, FAILED, FROM_MEMORY], ["cat", "dog", "owlet"]) == 1
    assert file.getvalue().splitlines() == [
        "probability  class  photo",
        '      0.750  cat    a "b", c\\nd.jpg',
        "          –  –      broken.jpg: truncated or damaged JPEG",
        "      0.500  dog",
    ]


def test_a_table_has_columns_for_each_of_the_most_probable_classes() -> None:
    file = io.StringIO()
    write_table(
        file, [CAT, FAILED], ["cat", "dog", "a class of a name of more than thirty characters"], top_k=2
    )
    header, *rows = file.getvalue().splitlines()
    assert header.split() == ["probability", "class", "probability", "2", "class", "2", "photo"]
    assert [row[header.index("photo") :] for row in rows] == [
        'a "b", c\\nd.jpg',
        "broken.jpg: truncated or damaged JPEG",
    ]
    assert [row[: header.index("photo")].split() for row in rows] == [
        ["0.750", "cat", "0.200", "dog"],
        ["–"] * 4,
    ]


@pytest.mark.parametrize(
    ("write", "written"), [(write_csv, b"caf\xe9.jpg"), (write_jsonl, rb"caf\udce9.jpg")]
)
def test_names_that_are_not_utf8_are_written(
    write: Callable[[TextIO, list[Prediction]], int], written: bytes, tmp_path: Path
) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    with open(tmp_path / "out", "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        write(file, [Prediction(name, error="empty file")])
    assert written in (tmp_path / "out").read_bytes()


@pytest.mark.parametrize("write", [write_csv, write_jsonl, partial(write_table, class_names=["cat"])])
def test_every_prediction_is_written_before_the_next_is_made(
    write: Callable[[TextIO, Iterator[Prediction]], int],
) -> None:
    file = io.StringIO()

    def predictions() -> Iterator[Prediction]:
        for number in range(3):
            assert file.getvalue().count(".jpg") == number
            yield Prediction(f"photo{number}.jpg", error="empty file")

    assert write(file, predictions()) == 3
