"""``hs.check``, and what training finds on the way: on photos with planted faults."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.frozen.test_onnx_file import network, saved

import headstart as hs
from headstart.data.split import split_dataset
from headstart.errors import ConfigError, DataError, UsageError
from headstart.findings.survey import with_near_duplicates
from headstart.frozen.cache import list_stores
from headstart.images.photo import Photo
from headstart.records import Dataset, Record

HALF = (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A tiny feature extractor of 16 px, which is opened quickly."""
    file = str(saved(network(shape="map"), tmp_path_factory.mktemp("file")))
    return {"backbone": file, "mean": HALF, "std": HALF, "verbose": False}


@pytest.fixture
def leaky(tmp_path: Path, make_photos: Callable[..., Path]) -> Path:
    """Photos of which one validation photo is a copy and one a smaller version of a training photo."""
    root = make_photos(tmp_path / "photos", {"train": 6, "val": 4})
    red, blue = root / "train" / "red" / "red0.jpg", root / "train" / "blue" / "blue0.jpg"
    shutil.copy(red, root / "val" / "red" / "copy.jpg")
    with Image.open(blue) as image:
        image.save(root / "val" / "green" / "again.png")
    shutil.copy(red, root / "train" / "red" / "twice.jpg")
    return root


def found(findings: hs.Findings) -> set[tuple[str, str, str, str]]:
    return {(each.kind, each.severity, each.path, each.other_path) for each in findings}


PLANTED = {
    ("leak", "warning", "val/red/copy.jpg", "train/red/red0.jpg"),
    ("leak", "error", "val/green/again.png", "train/blue/blue0.jpg"),
    ("copy", "note", "train/red/twice.jpg", "train/red/red0.jpg"),
}


def test_planted_copies_are_found_and_nothing_is_changed(
    leaky: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    before = {path: path.read_bytes() for path in leaky.rglob("*.*")}
    findings = hs.check(leaky, tmp_path / "findings.csv", **options)
    assert found(findings) >= PLANTED
    assert findings.num_photos == 33
    assert {path: path.read_bytes() for path in leaky.rglob("*.*")} == before
    with open(tmp_path / "findings.csv", newline="") as file:
        assert {row["path"] for row in csv.DictReader(file)} >= {row[2] for row in PLANTED}


def test_quick_finds_copies_and_says_what_it_left_out(leaky: Path, options: dict[str, Any]) -> None:
    findings = hs.check(leaky, quick=True, **options)
    assert {row[2] for row in found(findings) if row[0] in ("leak", "copy")} == {
        "val/red/copy.jpg",
        "train/red/twice.jpg",
    }
    assert "near-duplicates and wrong labels" in findings.unchecked[0]


def test_decisions_are_used_and_never_lost(leaky: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "findings.csv"
    hs.check(leaky, path, **options)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    for row in rows:
        row["decision"] = {"leak": "drop", "copy": "keep"}.get(row["kind"], "")
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(UsageError, match=r"contains 3 decisions of yours.*--decisions"):
        hs.check(leaky, path, **options)
    again = hs.check(leaky, path, decisions=path, **options)
    assert (again.num_photos, again.num_kept) == (31, 1)
    assert not again.of_kind("leak")
    assert not again.of_kind("copy")
    kept = [row["decision"] for row in csv.DictReader(path.read_text().splitlines())]
    assert sorted(filter(None, kept)) == ["drop", "drop", "keep"]


def test_a_run_reports_the_same_leaks_and_the_score_without_them(
    leaky: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    run = hs.train(leaky, tmp_path / "run", recipe="probe", **options)
    rows = list(csv.DictReader((run.path / "findings.csv").read_text().splitlines()))
    assert {(row["kind"], row["severity"], row["path"], row["other_path"]) for row in rows} >= PLANTED
    assert run.metrics["findings"]["leak"] == {"error": 1, "warning": 1}
    answers = [
        row
        for row in csv.DictReader((run.path / "answers.csv").read_text().splitlines())
        if row["source"] == "val" and row["path"] not in {leak[2] for leak in PLANTED}
    ]
    right = sum(row["label"] == row["prediction"] for row in answers)
    without = run.metrics["without_leaks"]["val"]
    assert (without["num_photos"], without["accuracy"]) == (12, pytest.approx(right / 12))


def test_strict_training_refuses_leaks_unless_they_are_kept(
    leaky: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    settings: dict[str, Any] = {"recipe": "probe", "strict": True, **options}
    with pytest.raises(DataError, match=r"strict is set, and 2 of 14 .*'val/red/copy\.jpg' repeats 'train/"):
        hs.train(leaky, tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()
    path = tmp_path / "findings.csv"
    hs.check(leaky, path, **options)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(row | {"decision": "keep" if row["kind"] == "leak" else ""} for row in rows)
    assert hs.train(leaky, tmp_path / "run", decisions=path, **settings).metrics["images"]["val"] == 14


def test_a_run_is_resumed_and_repeated_with_the_decisions_that_it_began_with(
    leaky: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    given, begun, moved = tmp_path / "mine.CSV", tmp_path / "begun", tmp_path / "moved"
    given.write_text("kind,path,other_path,decision\nleak,val/red/copy.jpg,,drop\n")
    content = given.read_bytes()
    run = hs.train(leaky, begun, recipe="probe", decisions=given, **options)
    assert run.metrics["images"]["val"] == 13
    assert (begun / "decisions.csv").read_bytes() == content
    given.write_text("kind,path,other_path,decision\nleak,train/red/twice.jpg,,drop\n")
    config = hs.TrainConfig.from_toml(begun / "config.toml")
    again = hs.train(config=config, out=tmp_path / "again", verbose=False)
    assert (again.path / "model.onnx").read_bytes() == (begun / "model.onnx").read_bytes()
    (begun / "metrics.json").unlink()  # as if it had been stopped
    begun.rename(moved)
    assert hs.resume(moved, verbose=False).metrics["images"]["val"] == 13
    assert (moved / "report.html").read_bytes() == (again.path / "report.html").read_bytes()


def test_near_duplicates_stay_on_one_side(tmp_path: Path, make_photos: Callable[..., Path]) -> None:
    """The compressed versions of ten photos go where these go, whatever the seed."""
    root = make_photos(tmp_path / "photos", {"": 10})
    for path in sorted((root / "red").iterdir()):  # before there are more
        with Image.open(path) as image:
            image.save(path.with_name(f"{path.stem}-small.jpg"), quality=60)
    file = str(saved(network(shape="map"), tmp_path))
    for seed in range(2):
        run = hs.train(
            root,
            tmp_path / f"run{seed}",
            recipe="probe",
            backbone=file,
            mean=HALF,
            std=HALF,
            seed=seed,
            verbose=False,
        )
        rows = csv.DictReader((run.path / "photos.csv").read_text().splitlines())
        split = {row["path"]: row["split"] for row in rows}
        pairs = [(f"red/red{number}.jpg", f"red/red{number}-small.jpg") for number in range(10)]
        assert all(split[one] == split[other] for one, other in pairs)
        assert {split[one] for one, _ in pairs} == {"train", "val"}


def test_unknown_settings_and_other_files_are_refused(
    leaky: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match="check has no setting 'epochs'"):
        hs.check(leaky, **options, epochs=3)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=r"must end in \.csv"):
        hs.check(leaky, tmp_path / "findings.txt", **options)
    (tmp_path / "mine.csv").write_text("image,label\na.jpg,cat\n")
    with pytest.raises(UsageError, match="not a file of the kind"):
        hs.check(leaky, tmp_path / "mine.csv", **options)


def dataset_of(*splits_and_labels: tuple[str | None, int]) -> Dataset:
    records = [
        Record(Photo(f"{row}.jpg"), label, split, f"{row:064x}")
        for row, (split, label) in enumerate(splits_and_labels)
    ]
    return Dataset("photos", tuple(records), ("a", "b"), (), (), len(records))


def groups(dataset: Dataset) -> list[int | None]:
    """Return the first row of the near-duplicates that each photo is kept together with, if any."""
    return [
        None if record.alike is None or record.is_divided else int(record.alike, 16)
        for record in dataset.records
    ]


def test_folds_are_like_a_given_split_that_mostly_leaks() -> None:
    dataset = dataset_of(*[("train", 0)] * 16, *[("val", 0)] * 4, *[("test", 0)] * 2)
    near = [(0, 16), (17, 1), (2, 17), (18, 3)]
    assert groups(with_near_duplicates(dataset, near)) == [None] * 22
    found = groups(with_near_duplicates(dataset, near[:3]))  # two of four leak
    assert [found[row] for row in (0, 16, 1, 2, 17, 18)] == [0, 0, 1, 1, 1, None]
    assert with_near_duplicates(dataset, None) is dataset


def test_a_class_that_looks_alike_altogether_is_divided_nevertheless() -> None:
    dataset = dataset_of(*[(None, 0)] * 6, *[(None, 1)] * 4)
    found = with_near_duplicates(dataset, [(0, 1), (1, 2), (2, 3), (6, 7)])
    assert groups(found) == [None] * 6 + [6, 6, None, None]
    (note,) = found.notes
    assert "4 of 6 photos of 'a' look nearly the same" in note
    assert [record.alike for record in found.records[:4]] == [found.records[0].sha256] * 4  # for intervals
    splits = split_dataset(found, val_fraction=0.3, seed=0)
    assert {record.label for record in splits.val} == {0, 1}


def test_the_split_does_not_depend_on_whether_features_are_stored(
    tmp_path: Path, make_photos: Callable[..., Path], options: dict[str, Any]
) -> None:
    root = make_photos(tmp_path / "photos", {"": 8})
    for path in sorted((root / "red").iterdir())[:3]:
        with Image.open(path) as image:
            image.save(path.with_name(f"{path.stem}-small.jpg"), quality=60)
    runs = [
        hs.train(root, tmp_path / features, recipe="probe", features=features, **options).path
        for features in ("store", "live")
    ]
    for name in ("photos.csv", "model.onnx", "answers.csv"):
        assert (runs[0] / name).read_bytes() == (runs[1] / name).read_bytes(), name
    kinds = [row["kind"] for row in csv.DictReader((runs[1] / "findings.csv").read_text().splitlines())]
    assert kinds.count("near-duplicate") == 3


@pytest.mark.parametrize("quick", [False, True])
def test_without_a_store_a_check_leaves_nothing_in_the_cache(
    leaky: Path, options: dict[str, Any], quick: bool
) -> None:
    live = hs.check(leaky, quick=quick, features="live", **options)
    assert list_stores() == []
    assert found(live) == found(hs.check(leaky, quick=quick, **options))
    assert list_stores()
