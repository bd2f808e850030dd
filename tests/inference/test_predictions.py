from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import pytest
from tests.windows import HeldFiles

from headstart.errors import FileWriteError, ImageError, UsageError
from headstart.images.photo import Photo
from headstart.images.settings import Preprocessing
from headstart.inference.model_file import ModelInfo
from headstart.inference.predictions import write_csv, write_jsonl, write_table
from headstart.inference.predictions_file import PredictionsFile
from headstart.tasks.prediction import Prediction, SimilarPhoto


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
    similar = tuple(SimilarPhoto(**each) for each in fields["similar"])
    return Prediction(**{**fields, "labels": tuple(fields["labels"]), "box": box, "similar": similar})


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


# A file of predictions outlives interruptions.

SETTINGS = {"model": "0" * 64, "--top-k": 1}
FORMATS: dict[str, Callable[..., int]] = {
    "csv": write_csv,
    "jsonl": lambda file, predictions, _: write_jsonl(file, predictions),
    "table": write_table,
}
MODEL = info("classification", "cat", "dog")


class Model:
    """Predicts by the file's first byte, and counts what it has predicted."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def predict(self, photos: Iterable[Photo]) -> Iterator[Prediction]:
        for photo in photos:
            self.seen.append(Path(photo.key).name)
            try:
                share = photo.content()[0] / 3 / 256
            except (ImageError, IndexError):
                yield Prediction(photo.key, error="missing or empty")
                continue
            shares = {"cat": 1 - share, "dog": share}
            yield Prediction(photo.key, "cat", 1 - share, shares)


@pytest.fixture
def pictures(tmp_path: Path) -> list[str]:
    (tmp_path / "in").mkdir()
    names = [f"{number}.jpg" for number in range(8)]
    names[3] = 'a\nb, "c" \udcff.jpg'
    for number, name in enumerate(names):
        (tmp_path / "in" / name).write_bytes(bytes([number * 30 + 1]) * 2000)
    return [str(tmp_path / "in" / name) for name in names]


class Interruption(BaseException):
    pass


def predict_into(
    out: Path, photos: Iterable[str], *, stop_after: int | None = None, format_: str = "csv", **settings: Any
) -> list[str]:
    """Predict into a file; return the names of the photos that went through the model."""
    model = Model()
    file = PredictionsFile(out, SETTINGS | settings, "runs/a" if settings else "runs/b")

    def rows() -> Iterator[Prediction]:
        for number, prediction in enumerate(file.predictions(photos, model.predict)):
            if number == stop_after:
                raise Interruption
            yield prediction

    with contextlib.suppress(Interruption), file as text:
        FORMATS[format_](text, rows(), MODEL)
    return model.seen


def beside(out: Path) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir() if path.is_file())


@pytest.mark.parametrize("format_", FORMATS)
def test_an_interrupted_file_is_continued_and_ends_as_an_uninterrupted_one(
    format_: str, pictures: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert len(predict_into(whole, pictures, format_=format_)) == 8
    predict_into(out, pictures, stop_after=5, format_=format_)
    assert not out.exists()
    (part,) = tmp_path.glob("out.*.part")
    assert whole.read_bytes().startswith(part.read_bytes())  # what there is can be read as it is
    assert part.read_bytes().count(b".jpg") >= 5
    assert part.name in capsys.readouterr().err
    assert predict_into(out, pictures, format_=format_) == [Path(each).name for each in pictures[6:]]
    assert out.read_bytes() == whole.read_bytes()
    assert beside(out) == ["out", "whole"]


def test_each_interruption_keeps_what_the_ones_before_it_have_kept(
    pictures: list[str], tmp_path: Path
) -> None:
    out, num_predicted = tmp_path / "out", 0
    for stop_after in (2, 4, 1, 6):
        num_predicted += len(predict_into(out, pictures, stop_after=stop_after))
    num_predicted += len(predict_into(out, pictures))
    assert num_predicted <= 8 + 1
    predict_into(tmp_path / "whole", pictures)
    assert out.read_bytes() == (tmp_path / "whole").read_bytes()


def test_only_photos_that_have_not_changed_are_skipped_in_whatever_order_they_come(
    pictures: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    predict_into(out, pictures, stop_after=6)
    Path(pictures[1]).write_bytes(b"another photo")
    Path(pictures[2]).write_bytes(b"")
    new = tmp_path / "in" / "new.jpg"
    new.write_bytes(b"new")
    photos = [pictures[5], str(new), *pictures[:5], pictures[7], pictures[0]]
    seen = predict_into(out, photos)
    assert set(seen) == {"new.jpg", "1.jpg", "2.jpg", "7.jpg"}
    predict_into(tmp_path / "whole", photos)
    assert out.read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_killed_process_and_a_flipped_bit_cost_single_rows(pictures: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict_into(out, pictures, stop_after=6)
    (state,) = tmp_path.glob("out.state")
    lines = state.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"cat", b"cut", 1)
    lines[-1] = lines[-1][:-20]
    state.write_bytes(b"".join(lines))
    seen = predict_into(out, pictures)
    assert len(seen) <= 2 + 2
    predict_into(tmp_path / "whole", pictures)
    assert out.read_bytes() == (tmp_path / "whole").read_bytes()


def test_what_is_kept_is_the_hash_of_the_bytes_that_were_predicted(
    pictures: list[str], tmp_path: Path
) -> None:
    def predict(photos: Iterable[Photo]) -> Iterator[Prediction]:
        for number, photo in enumerate(photos):
            if number == 2:
                raise Interruption
            photo.content()
            Path(photo.key).write_bytes(b"replaced in the meantime")
            yield Prediction(photo.key, "cat", 1.0, {"cat": 1.0})

    first = PredictionsFile(tmp_path / "out", SETTINGS)
    with contextlib.suppress(Interruption), first:
        list(first.predictions(pictures, predict))
    again, model = PredictionsFile(tmp_path / "out", SETTINGS), Model()
    with again:
        assert len(list(again.predictions(pictures, model.predict))) == len(pictures)
    assert (again.num_known, again.num_changed) == (2, 2)
    assert len(model.seen) == len(pictures)


def test_a_photo_that_could_not_be_read_is_tried_again(pictures: list[str], tmp_path: Path) -> None:
    out, missing = tmp_path / "out", str(tmp_path / "in" / "missing.jpg")
    predict_into(out, [missing, *pictures], stop_after=4)
    Path(missing).write_bytes(b"now it is there")
    assert "missing.jpg" in predict_into(out, [missing, *pictures])


@pytest.mark.parametrize("content", [b"notes", b"notes\n", b'{"a": 1}\n', b"\0" * 100])
def test_no_foreign_file_is_taken_for_a_state(content: bytes, pictures: list[str], tmp_path: Path) -> None:
    out, state = tmp_path / "out", tmp_path / "out.state"
    state.write_bytes(content)
    with pytest.raises(UsageError, match="was not written by"):
        predict_into(out, pictures)
    assert state.read_bytes() == content
    assert beside(out) == ["out.state"]


def test_other_files_beside_it_and_the_file_itself_stay_until_it_is_complete(
    pictures: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for name in ("out", "out.part", "out.0123abcd.part"):
        (tmp_path / name).write_text("somebody's")
    predict_into(out, pictures, stop_after=5)
    assert out.read_text() == "somebody's"  # never taken for rows of its own either
    predict_into(out, pictures)
    assert out.read_bytes().startswith(b"path,label,probability")
    assert (tmp_path / "out.part").read_text() == (tmp_path / "out.0123abcd.part").read_text() == "somebody's"


def test_predictions_of_other_settings_are_neither_used_nor_lost(pictures: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict_into(out, pictures, stop_after=5)
    kept = (tmp_path / "out.state").read_bytes()
    with pytest.raises(UsageError, match=r"an interrupted prediction by the model runs/b\. Run"):
        predict_into(out, pictures, model="1" * 64)
    with pytest.raises(UsageError, match=r"with other settings \(--top-k\)\. Run"):
        predict_into(out, pictures, **{"--top-k": 2})
    with pytest.raises(UsageError, match="by another version of the model runs/b, with other settings"):
        PredictionsFile(out, {"model": "1" * 64, "--top-k": 2}, "runs/b")
    assert (tmp_path / "out.state").read_bytes() == kept
    assert len(predict_into(out, pictures)) == 2


def test_two_processes_do_not_write_one_file(pictures: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict_into(out, pictures, stop_after=5)
    first = PredictionsFile(out, SETTINGS)
    with pytest.raises(UsageError, match="Another process"):
        PredictionsFile(out, SETTINGS)
    del first
    assert len(predict_into(out, pictures)) == 2


def test_a_file_that_is_open_elsewhere_is_replaced_by_the_next_call(
    pictures: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.inference.predictions_file.retried", lambda function: function())
    out = tmp_path / "out"
    out.write_text("an older file, in a spreadsheet")
    held = HeldFiles(monkeypatch, out.__eq__)
    with pytest.raises(FileWriteError, match=r"The new content is in .*out\..*\.part") as caught:
        predict_into(out, pictures)
    assert caught.value.kept is not None
    assert Path(caught.value.kept).read_bytes().count(b".jpg") == 8
    held.let_go()
    assert predict_into(out, pictures) == []
    assert out.read_bytes().count(b".jpg") == 8


def test_nothing_is_left_where_nothing_was_predicted(pictures: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict_into(out, pictures, stop_after=0)
    assert len(predict_into(out, pictures)) <= 8
    assert beside(out) == ["out"]


@pytest.mark.parametrize("name", TASKS)
def test_predictions_of_every_task_come_back_as_they_were(name: str, tmp_path: Path) -> None:
    _, predictions, _, _ = TASKS[name]
    named = {str(tmp_path / str(number)): each for number, each in enumerate([*predictions, BROKEN])}
    named = {path: dataclasses.replace(each, path=path) for path, each in named.items()}
    for path in named:
        Path(path).write_text(path)
    photos = [*named, *named]  # the second time around they are interrupted

    def predict(photos: Iterable[Photo]) -> Iterator[Prediction]:
        for number, photo in enumerate(photos):
            if number == len(named):
                raise Interruption
            assert photo.content() == photo.key.encode()
            yield named[photo.key]

    first = PredictionsFile(tmp_path / "out", SETTINGS)
    with contextlib.suppress(Interruption), first:
        list(first.predictions(photos, predict))
    again = PredictionsFile(tmp_path / "out", SETTINGS)
    assert again.num_known == len(named)
    with again:
        assert list(again.predictions(named, predict)) == list(named.values())
