"""The benchmark that judges the defaults, on pictures made here; its probes are trained for real."""

from __future__ import annotations

import shutil
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from benchmarks.defaults import main, read_rows
from benchmarks.folds import write_tables
from PIL import Image

from headstart.answers.file import read_answers, write_answers

OPTIONS = ["--recipes", "prob", "probe", "--backbones", "default", "--seeds", "0"]


def picture(number: int) -> Image.Image:
    """A picture of soft blobs, with a different seed for each number."""
    coarse = np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(coarse).resize((128, 96), Image.Resampling.BICUBIC)


def paint(folder: Path, counts: dict[str, int], first: int = 0) -> Path:
    for place, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            picture(100 * place + first + number).save(folder / name / f"{number}.png")
    return folder


def test_folds_keep_near_duplicates_identical_photos_and_groups_together(tmp_path: Path) -> None:
    data = paint(tmp_path / "data", {"a": 6, "b": 6})
    picture(0).crop((14, 3, 118, 90)).save(data / "a" / "cropped.png")
    shutil.copy(data / "a" / "1.png", data / "b" / "copy.png")
    files = sorted(data.rglob("*.png"))
    rows = [f"{file},{file.parent.name},{'tree' if file.stem in '23' else file}" for file in files]
    (tmp_path / "table.csv").write_text("\n".join(["image,label,group", *rows]))
    write_tables(tmp_path / "table.csv", tmp_path / "folds")
    tables = [read_rows(path) for path in sorted((tmp_path / "folds").iterdir())]
    assert len(tables) == 5
    held_out = [[row["image"] for row in table if row["split"] == "val"] for table in tables]
    assert sorted(chain(*held_out)) == list(map(str, files))
    fold_of = {
        Path(name).relative_to(data).as_posix(): n for n, names in enumerate(held_out) for name in names
    }
    assert fold_of["a/0.png"] == fold_of["a/cropped.png"]
    assert fold_of["a/1.png"] == fold_of["b/copy.png"]
    assert len({fold_of[f"{name}/{number}.png"] for name in "ab" for number in (2, 3)}) == 1


@pytest.mark.parametrize(("plain", "names"), [(False, ["0", "1", "2", "3", "4"]), (True, ["given"])])
def test_a_given_split_that_leaks_is_used_only_if_asked_for(
    tmp_path: Path, plain: bool, names: list[str]
) -> None:
    paint(tmp_path / "data" / "train", {"a": 3, "b": 3})
    val = paint(tmp_path / "data" / "val", {"a": 1, "b": 1}, first=50)
    picture(0).resize((64, 48)).save(val / "a" / "smaller.png")
    write_tables(tmp_path / "data", tmp_path / "tables", plain=plain)
    assert sorted(path.stem for path in (tmp_path / "tables").iterdir()) == names


def test_runs_and_failures_are_rows_which_are_made_once_and_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paint(tmp_path / "sets" / "good" / "train", {"a": 4, "b": 4})
    paint(tmp_path / "sets" / "good" / "val", {"a": 4, "b": 4}, first=50)
    (tmp_path / "sets" / "empty").mkdir()
    new, old = tmp_path / "new.csv", tmp_path / "old.csv"
    main([str(tmp_path / "sets"), "--out", str(new), *OPTIONS])
    rows = read_rows(new)
    assert [(row["data"], row["fold"], bool(row["error"])) for row in rows] == [
        ("empty", "", True),
        ("good", "given", True),
        ("good", "given", False),
    ]
    assert "'prob'" in rows[1]["error"]
    text = new.read_text()
    main([str(tmp_path / "sets"), "--out", str(new), *OPTIONS])
    assert new.read_text() == text

    old.write_text(text)
    shutil.copytree(new.with_suffix(".answers"), old.with_suffix(".answers"))
    (path,) = old.with_suffix(".answers").iterdir()
    answers = read_answers(path)
    answers.loss[:] += 0.5
    answers.prediction[:] = ["neither"] * len(answers)
    write_answers(path, answers)
    capsys.readouterr()
    main(["--out", str(new), "--report", "--against", str(old)])
    header, _, row, *failed = capsys.readouterr().out.splitlines()
    cells = [each.strip() for each in row.split("|")[1:-1]]
    assert cells[:5] == ["good", "default", "probe", "1", "8"]
    assert cells[5].startswith(f"{float(rows[2]['accuracy']):.3f} [")
    assert cells[8].startswith(f"+{float(rows[2]['accuracy']):.3f} [")
    assert not cells[8].endswith("*")  # eight photos prove little
    assert cells[9] == "-0.500 [-0.500, -0.500] *"
    assert header.count("|") == row.count("|")

    # The other recipe of the same CSV has the answers that were changed above.
    text = new.read_text()
    copy = text.splitlines()[-1].replace(",probe,", ",other,")
    new.write_text(f"{text}{copy}\n", newline="")
    shutil.copy(path, new.with_suffix(".answers") / path.name.replace("-probe-", "-other-"))
    main(["--out", str(new), "--report", "--versus", "other"])
    _, _, probe, other, *_ = capsys.readouterr().out.splitlines()
    assert [each.strip() for each in probe.split("|")[9:11]] == cells[8:]
    assert [each.strip() for each in other.split("|")[9:11]] == ["", ""]
    assert [each.split(": ")[1] for each in failed] == ["empty, , , , ", "good, default, prob, 0, given"]
