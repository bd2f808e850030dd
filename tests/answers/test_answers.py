from __future__ import annotations

import csv
import dataclasses
import tracemalloc
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest
from tests.labelled import INFO, INFOS, photos

from headstart.answers.file import read_answers, read_parts, write_answers
from headstart.answers.table import Answers
from headstart.errors import DamagedFileError, UsageError
from headstart.images.photo import Photo
from headstart.inference.model_file import ModelInfo
from headstart.records import Record


def answers_of(info: ModelInfo, number: int = 5) -> Answers:
    records, outputs = photos(info, number)
    return Answers.from_outputs(
        records, outputs, info, "out-of-fold", root="/data", folds=np.arange(number) % 3
    )


def assert_equal(one: Answers, other: Answers) -> None:
    assert one.columns == other.columns
    for name in one.columns:
        assert one[name] is not other[name]
        np.testing.assert_array_equal(one[name], other[name], strict=True)


@pytest.mark.parametrize("name", INFOS)
def test_a_file_gives_back_what_was_written(name: str, tmp_path: Path) -> None:
    answers = answers_of(INFOS[name])
    write_answers(tmp_path / "answers.csv", answers)
    read = read_answers(tmp_path / "answers.csv")
    assert_equal(read, answers)
    assert (read.outputs.dtype, read.loss.dtype) == (np.float32, np.float32)
    assert read.path[0] == "photos/0, \udcff.jpg"
    assert b"\xff.jpg" in (tmp_path / "answers.csv").read_bytes()


def test_rows_of_several_sources_are_written_one_after_the_other(tmp_path: Path) -> None:
    records, outputs = photos(INFO, 6)
    parts = [
        Answers.from_outputs(records[:3], outputs[:3], INFO, "out-of-fold", folds=[0, 1, 0]),
        Answers.from_outputs(records[3:5], outputs[3:5], INFO, "val"),
        Answers.from_outputs(records[5:], outputs[5:], INFO, "test"),
    ]
    write_answers(tmp_path / "answers.csv", iter(parts))
    read = read_answers(tmp_path / "answers.csv")
    assert read.split == ["train"] * 3 + ["val"] * 2 + ["test"]
    assert read.fold.tolist() == [0, 1, 0, -1, -1, -1]
    assert read.group == ["", "plant 1"] * 3
    assert_equal(read.of_source("val"), parts[1])
    assert_equal(read[3:5], parts[1])
    assert "6 photos (3 out-of-fold, 2 val, 1 test), 10 outputs each, mean loss" in repr(read)
    assert [len(part) for part in read_parts(tmp_path / "answers.csv", 4)] == [4, 2]
    with pytest.raises(ValueError, match="join equal ones"):
        write_answers(tmp_path / "other.csv", [*parts, answers_of(INFOS["box"])])
    with pytest.raises(ValueError, match="no answers"):
        write_answers(tmp_path / "other.csv", [])
    assert not (tmp_path / "other.csv").exists()


def test_any_csv_reader_opens_it(tmp_path: Path) -> None:
    answers = answers_of(INFO)
    write_answers(tmp_path / "answers.csv", answers)
    text = (tmp_path / "answers.csv").read_bytes().decode("utf-8", "surrogateescape")
    assert text.startswith(
        "path,sha256,split,group,alike,fold,source,label,prediction,loss,logit:label,logit:loss,"
    )
    assert ',"logit: cat ",' in text  # which some readers would strip
    rows = list(csv.DictReader(text.splitlines(keepends=True)))
    assert [row["label"] for row in rows] == answers.label
    assert [np.float32(row["logit:猫"]) for row in rows] == answers["logit:猫"].tolist()
    table = answers.to_dict()
    assert list(table) == list(rows[0])
    assert {len(column) for column in table.values()} == {5}


@pytest.mark.parametrize(
    ("name", "label", "prediction"),
    [
        ("one number", "7.25", "0.1"),
        ("two numbers", "7.25 -1e-07", "0.1 -3.0"),
        ("box", "6.0 4.0 30.5 20.0", "6.0 10.0 30.0 30.0"),
        ("box of one class", "a cat 6.0 4.0 30.5 20.0", "a cat 6.0 10.0 30.0 30.0"),
        ("box with classes", "loss 6.0 4.0 30.5 20.0", "xmin 6.0 10.0 30.0 30.0"),
        ("classification", "loss", "xmin"),
        ("multilabel", '["label", "猫"]', '["loss", "xmin"]'),
    ],
)
def test_labels_and_predictions_have_one_form(name: str, label: str, prediction: str) -> None:
    info = INFOS[name]
    box = (6.0, 4.0, 30.5, 20.0) if info.task == "box" else None
    numbers = (7.25, -1e-07)[: len(info.targets)]
    labels = (0, 6) if info.task == "multilabel" else ()
    index = min(1, len(info.class_names) - 1)
    record = Record(Photo("a.jpg"), index, None, "", labels, numbers, box, (60, 40))
    outputs = np.full(info.num_outputs, -1, np.float32)
    if info.task == "box":
        outputs[:4] = 0.1, 0.25, 0.5, 0.75
    if info.task == "regression":
        outputs[:] = (0.1, -3)[: len(outputs)]
    elif len(outputs) >= 10:
        outputs[[-9, -5]] = 0.5, 1
    answers = Answers.from_outputs([record], outputs[None], info, "test")
    assert (answers.label, answers.prediction) == ([label], [prediction])
    if info.task == "box":
        assert answers.outputs[0, :4].tolist() == [6, 10, 30, 30]


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("one number", ["label:loss"]),
        ("two numbers", ["label:a", "label:b c"]),
        ("box", ["label:xmin", "label:ymin", "label:xmax", "label:ymax"]),
        ("box of one class", ["label:xmin", "label:ymin", "label:xmax", "label:ymax"]),
        ("box with classes", ["label:xmin", "label:ymin", "label:xmax", "label:ymax"]),
        ("classification", []),
        ("multilabel", []),
    ],
)
def test_numbers_of_a_label_have_columns_of_their_own(name: str, columns: list[str], tmp_path: Path) -> None:
    answers = answers_of(INFOS[name])
    records, _ = photos(INFOS[name], 5)
    write_answers(tmp_path / "answers.csv", answers)
    with open(tmp_path / "answers.csv", encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [column for column in rows[0] if column.startswith("label:")] == columns
    for row, record in zip(rows, records, strict=True):
        assert [float(row[column]) for column in columns] == list(record.box or record.numbers)
    numbers = [record.box or record.numbers for record in records]
    for place, column in enumerate(columns):
        assert answers[column].tolist() == [each[place] for each in numbers]


def test_a_file_without_the_numbers_of_labels_one_by_one_is_read(tmp_path: Path) -> None:
    answers = answers_of(INFOS["two numbers"])
    write_answers(tmp_path / "answers.csv", answers)
    with open(tmp_path / "answers.csv", encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.reader(file))
    with open(tmp_path / "old.csv", "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        csv.writer(file).writerows(row[:10] + row[12:] for row in rows)
    assert_equal(read_answers(tmp_path / "old.csv"), answers)


def test_float32_is_written_in_its_shortest_form_and_comes_back_exactly(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 20_000, np.uint32)
    values = np.concatenate([bits.view(np.float32), np.float32([0.1, 1e-45, 3.4028235e38, -0.0, np.inf])])
    info = dataclasses.replace(INFO, class_names=tuple("abcde"))
    answers = answers_of(info, len(values) // 5)
    outputs = values.reshape(-1, 5)
    write_answers(tmp_path / "answers.csv", dataclasses.replace(answers, outputs=outputs))
    np.testing.assert_array_equal(read_answers(tmp_path / "answers.csv").outputs, outputs, strict=True)
    assert (
        (tmp_path / "answers.csv")
        .read_text("utf-8", "surrogateescape")
        .endswith("0.1,1e-45,3.4028235e+38,-0.0,inf\n")
    )


def test_a_file_without_rows_has_its_columns(tmp_path: Path) -> None:
    empty = Answers.from_outputs([], np.zeros((0, 10)), INFO, "test")
    write_answers(tmp_path / "answers.csv", empty)
    assert_equal(read_answers(tmp_path / "answers.csv"), empty)
    assert repr(empty) == "<Answers for 0 photos (none), 10 outputs each>"


def test_a_spreadsheets_mark_and_line_ends_are_read(tmp_path: Path) -> None:
    answers = answers_of(dataclasses.replace(INFO, class_names=("a", "b")))
    write_answers(tmp_path / "answers.csv", answers)
    saved = b"\xef\xbb\xbf" + (tmp_path / "answers.csv").read_bytes().replace(b"\n", b"\r\n")
    (tmp_path / "answers.csv").write_bytes(saved)
    assert_equal(read_answers(tmp_path / "answers.csv"), answers)


HEADER = "path,sha256,split,group,alike,fold,source,label,prediction,loss,logit:a,logit:b\n"
ROW = "a.jpg,00,val,,,,val,a,b,0.5,1.0,2.0\n"


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("", UsageError, "line 1: these are not the columns of an answers.csv"),
        ("path,class,split,sha256\na.jpg,a,val,00\n", UsageError, "line 1: these are not the columns"),
        (HEADER.replace("alike,", ""), UsageError, "older Headstart: it has no column alike. Train again"),
        (HEADER.replace(",", ";"), UsageError, "with commas between them"),
        (HEADER.replace("logit:b", "notes"), UsageError, "line 1: these are not the columns"),
        (HEADER.replace("logit:b", "logit:a"), UsageError, "line 1: there are two columns 'logit:a'"),
        (
            HEADER + ROW + ROW.replace("2.0", '"2,0"'),
            DamagedFileError,
            "line 3: logit:b is '2,0'; it must be a n",
        ),
        (
            HEADER + '"a\nb' + ROW[1:5] + '"' + ROW[5:] + ROW[6:],
            DamagedFileError,
            "line 4: 11 cells, but there are 12 c",
        ),
        (
            HEADER + ROW + ROW.replace("val", "vla", 1),
            DamagedFileError,
            "split is 'vla'; it must be train, val, test",
        ),
        (
            HEADER + ROW.replace(",val,a", ",valid,a"),
            DamagedFileError,
            "source is 'valid'; it must be out-of-fold,",
        ),
        (
            HEADER + ROW.replace(",,,,", ",,,1.5,"),
            DamagedFileError,
            "fold is '1.5'; it must be a whole number",
        ),
        (HEADER + ROW.replace("0.5", ""), DamagedFileError, "line 2: loss is ''; it must be a number"),
        (HEADER + ROW + ROW[:-3], DamagedFileError, "cut short"),
        (HEADER + ROW + '"' + ROW, DamagedFileError, "line 3: unexpected end of data"),
    ],
)
def test_a_file_that_is_damaged_or_not_ours_is_refused_by_line(
    content: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "answers.csv"
    path.write_text(content, newline="")
    with pytest.raises(error, match=message) as raised:
        read_answers(path)
    assert str(raised.value).startswith(str(path))


def test_a_file_that_is_not_there_is_a_mistake_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"answers\.csv cannot be read: No such file"):
        read_answers(tmp_path / "answers.csv")


def test_columns_are_found_by_name() -> None:
    answers = answers_of(INFO)
    assert answers["path"] is answers.path
    assert answers["logit:loss"].tolist() == answers.outputs[:, 1].tolist()
    with pytest.raises(KeyError, match="is not a column; there are path, sha256"):
        answers["cat"]


def test_outputs_that_do_not_fit_are_refused() -> None:
    records, outputs = photos(INFO, 3)
    with pytest.raises(ValueError, match=r"outputs of shape \(3, 9\) for 3 photos: give \(3, 10\)"):
        Answers.from_outputs(records, outputs[:, :9], INFO, "val")


def test_memory_does_not_grow_with_the_number_of_rows(tmp_path: Path) -> None:
    part = answers_of(INFO, 200)

    def peak(number: int) -> int:
        tracemalloc.start()
        write_answers(tmp_path / "answers.csv", repeat(part, number))
        num_rows = sum(len(part) for part in read_parts(tmp_path / "answers.csv", 200))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert num_rows == 200 * number
        return found

    assert peak(12) < 1.1 * peak(3)
