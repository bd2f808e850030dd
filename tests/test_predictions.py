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

from headstart.images.preprocess import Preprocessing
from headstart.model_file import ModelInfo
from headstart.predictions import write_csv, write_jsonl, write_table
from headstart.predictor import Prediction


def info(task: str, *class_names: str, targets: tuple[str, ...] = ()) -> ModelInfo:
    return ModelInfo(task, "resnet18", class_names, Preprocessing(size_px=32), targets=targets)


INFO = info("classification", "cat", "dog", "owlet")
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
    assert write_csv(file, [CAT, FAILED, FROM_MEMORY], INFO, top_k=top_k) == 1
    assert list(csv.reader(io.StringIO(file.getvalue(), newline=""))) == rows


def test_json_lines_have_an_object_for_every_photo() -> None:
    file = io.StringIO()
    assert write_jsonl(file, [CAT, FAILED, FROM_MEMORY]) == 1
    assert [read_back(line) for line in file.getvalue().splitlines()] == [CAT, FAILED, FROM_MEMORY]


def read_back(line: str) -> Prediction:
    fields = json.loads(line)
    box = fields["box"] and tuple(fields["box"])
    return Prediction(**{**fields, "labels": tuple(fields["labels"]), "box": box})


def test_a_table_has_a_header_and_aligned_columns() -> None:
    file = io.StringIO()
    assert write_table(file, [CAT, FAILED, FROM_MEMORY], INFO) == 1
    assert file.getvalue().splitlines() == [
        "probability  class  photo",
        '      0.750  cat    a "b", c\\nd.jpg',
        "          –  –      broken.jpg: truncated or damaged JPEG",
        "      0.500  dog",
    ]


def test_a_table_has_columns_for_each_of_the_most_probable_classes() -> None:
    file = io.StringIO()
    of_long_name = info("classification", "cat", "dog", "a class of a name of more than thirty characters")
    write_table(file, [CAT, FAILED], of_long_name, top_k=2)
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
    ("write", "written"),
    [(partial(write_csv, info=INFO), b"caf\xe9.jpg"), (write_jsonl, rb"caf\udce9.jpg")],
    ids=["csv", "jsonl"],
)
def test_names_that_are_not_utf8_are_written(
    write: Callable[[TextIO, list[Prediction]], int], written: bytes, tmp_path: Path
) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    with open(tmp_path / "out", "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        write(file, [Prediction(name, error="empty file")])
    assert written in (tmp_path / "out").read_bytes()


@pytest.mark.parametrize(
    "write",
    [
        write_jsonl,
        *(partial(write, info=INFO) for write in (write_csv, write_table)),
        *(partial(write, info=info("multilabel", "cat")) for write in (write_csv, write_table)),
    ],
    ids=["jsonl", "csv", "table", "csv-multilabel", "table-multilabel"],
)
def test_every_prediction_is_written_before_the_next_is_made(
    write: Callable[[TextIO, Iterator[Prediction]], int],
) -> None:
    file = io.StringIO()

    def predictions() -> Iterator[Prediction]:
        for number in range(3):
            assert file.getvalue().count(".jpg") == number
            yield Prediction(f"photo{number}.jpg", error="empty file")

    assert write(file, predictions()) == 3


BROKEN = Prediction("broken.jpg", error="damaged")

# What each task says of two photos, and how that is written: the rows of the CSV, the lines of the table.
TASKS: dict[str, tuple[ModelInfo, list[Prediction], list[list[str]], list[str]]] = {
    "multilabel": (
        info("multilabel", "cat", "labels", "owl"),  # a class may be called as a column
        [
            Prediction("a.jpg", labels=("cat", "owl"), probabilities={"cat": 0.9, "owl": 0.7, "labels": 0.1}),
            Prediction("b.jpg", probabilities={"labels": 0.25, "cat": 1e-9, "owl": 0.0}),
        ],
        [
            ["path", "labels", "error", "cat", "labels", "owl"],
            ["a.jpg", "cat|owl", "", "0.9", "0.1", "0.7"],
            ["b.jpg", "", "", "1e-09", "0.25", "0"],
            ["broken.jpg", "", "damaged", "", "", ""],
        ],
        [
            "labels         photo",
            "cat|owl        a.jpg",
            "–              b.jpg",
            "–              broken.jpg: damaged",
        ],
    ),
    "regression": (
        info("regression", targets=("weight", "a length in millimetres")),
        [
            Prediction("a.jpg", numbers={"weight": 12.3456789, "a length in millimetres": -1e-7}),
            Prediction("b.jpg", numbers={"weight": 0.0, "a length in millimetres": 250000.0}),
        ],
        [
            ["path", "weight", "a length in millimetres", "error"],
            ["a.jpg", "12.3457", "-1e-07", ""],
            ["b.jpg", "0", "250000", ""],
            ["broken.jpg", "", "", "damaged"],
        ],
        [
            "    weight  a length in millimetres  photo",
            "   12.3457                   -1e-07  a.jpg",
            "         0                   250000  b.jpg",
            "         –                        –  broken.jpg: damaged",
        ],
    ),
    "box": (
        info("box", "cat"),
        [Prediction("a.jpg", box=(1.04, 2.0, 30.06, 4000.0)), Prediction("b.jpg", box=(0.0, 0.0, 1.0, 1.0))],
        [
            ["path", "xmin", "ymin", "xmax", "ymax", "error"],
            ["a.jpg", "1.0", "2.0", "30.1", "4000.0", ""],
            ["b.jpg", "0.0", "0.0", "1.0", "1.0", ""],
            ["broken.jpg", "", "", "", "", "damaged"],
        ],
        [
            "      xmin        ymin        xmax        ymax  photo",
            "       1.0         2.0        30.1      4000.0  a.jpg",
            "       0.0         0.0         1.0         1.0  b.jpg",
            "         –           –           –           –  broken.jpg: damaged",
        ],
    ),
    "box and class": (
        info("box", "cat", "dog"),
        [
            Prediction("a.jpg", "dog", 0.75, {"dog": 0.75, "cat": 0.25}, box=(1.0, 2.0, 30.0, 40.0)),
            Prediction("b.jpg", "cat", 1.0, {"cat": 1.0, "dog": 0.0}, box=(0.0, 0.0, 1.0, 1.0)),
        ],
        [
            [
                "path",
                "xmin",
                "ymin",
                "xmax",
                "ymax",
                "label",
                "probability",
                "error",
                "label_2",
                "probability_2",
            ],
            ["a.jpg", "1.0", "2.0", "30.0", "40.0", "dog", "0.75", "", "cat", "0.25"],
            ["b.jpg", "0.0", "0.0", "1.0", "1.0", "cat", "1", "", "dog", "0"],
            ["broken.jpg", "", "", "", "", "", "", "damaged", "", ""],
        ],
        [
            "      xmin        ymin        xmax        ymax  label  probability  photo",
            "       1.0         2.0        30.0        40.0  dog           0.75  a.jpg",
            "       0.0         0.0         1.0         1.0  cat              1  b.jpg",
            "         –           –           –           –  –                –  broken.jpg: damaged",
        ],
    ),
}


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_columns_of_its_own(name: str) -> None:
    model, predictions, rows, lines = TASKS[name]
    file = io.StringIO(newline="")
    assert write_csv(file, [*predictions, BROKEN], model, top_k=2) == 1
    assert list(csv.reader(io.StringIO(file.getvalue(), newline=""))) == rows
    file = io.StringIO()
    assert write_table(file, [*predictions, BROKEN], model, top_k=2) == 1
    assert file.getvalue().splitlines() == lines
    file = io.StringIO()
    write_jsonl(file, [*predictions, BROKEN])
    assert [read_back(line) for line in file.getvalue().splitlines()] == [*predictions, BROKEN]
