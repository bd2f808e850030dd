"""Runs that are scored by folds: on the ground floor in one run, on the upper floor in one run per fold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headstart as hs
from headstart.answers.by_folds import sentence_on_folds
from headstart.answers.file import read_answers, write_answers
from headstart.answers.scores import scores_of
from headstart.data.split import Splits
from headstart.images.photo import Photo
from headstart.images.settings import Preprocessing
from headstart.inference.model_file import ModelInfo
from headstart.probe import outer_folds
from headstart.records import Record
from headstart.training import solve_folds, upper
from headstart.training.by_folds import read_folds

PROBE: dict[str, Any] = {"recipe": "probe", "device": "cpu", "size_px": 32, "verbose": False}


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> hs.TrainResult:
    return hs.train(photos, tmp_path_factory.mktemp("folds") / "run", folds=3, **PROBE)


def test_every_photo_but_the_test_photos_is_scored_once(run: hs.TrainResult) -> None:
    answers = run.answers
    listed = [line.split('","') for line in (run.path / "photos.csv").read_text().splitlines()[1:]]
    trained = sorted(cells[0].strip('"') for cells in listed if cells[2] == "train")
    of_folds = answers.of_source("folds")
    assert sorted(of_folds.path) == trained
    assert len(trained) == 36
    assert np.bincount(of_folds.fold).tolist() == [12, 12, 12]
    assert set(answers.source) == {"folds", "test"}
    assert run.metrics["answers"] == {"out_of_fold": 0, "without": 0, "folds": 36, "val": 0, "test": 12}
    assert run.metrics["images"]["val"] == 0


def test_the_scores_are_those_of_the_folds_and_every_output_says_so(
    run: hs.TrainResult, capsys: pytest.CaptureFixture[str]
) -> None:
    folds = run.metrics["folds"]
    scores = scores_of(run.answers.of_source("folds"), run.predictor.info)
    assert folds["accuracy"] == scores.summary["accuracy"] > 0.8
    assert folds["scores_of"].endswith("not model.onnx, which was trained on all of these photos")
    assert [each["num_photos"] for each in folds["by_fold"]] == [12, 12, 12]
    assert not [name for name in run.metrics["best"] if name.startswith("val_")]
    assert set(run.metrics["best"]) == {"phase", "epoch"}
    assert set(run.history[0]) == {
        *("phase", "epoch", "train_loss", "train_accuracy", "lr", "seconds", "completed")
    }
    for text in (repr(run), run._repr_html_()):
        assert sentence_on_folds(3, 36, 0) in text
        assert "alidation" not in text
    assert repr(run).startswith("Folds: accuracy")
    report = (run.path / "report.html").read_text("utf-8")
    assert "The model is right on" in report  # on the test photos, which the file has answered
    assert "By folds, on 36 other photos: accuracy" in report
    assert sentence_on_folds(3, 36, 0) in report
    without_test = hs.report(run.path)
    assert without_test.path.is_file()
    assert capsys.readouterr().out == ""


def test_a_report_without_test_photos_says_whose_score_it_is(make_photos: Any, tmp_path: Path) -> None:
    data = make_photos(tmp_path / "data", {"": 8}, seed=3)
    found = hs.train(data, tmp_path / "run", folds=2, test=0, **PROBE)
    report = (found.path / "report.html").read_text("utf-8")
    assert "Models trained without the photo are right on" in report
    assert sentence_on_folds(2, 24, 0) in report


def test_the_same_command_gives_the_same_bits(run: hs.TrainResult, photos: Path, tmp_path: Path) -> None:
    again = hs.train(photos, tmp_path / "again", folds=3, **PROBE)
    for name in ("answers.csv", "model.onnx", "model.safetensors", "findings.csv"):
        assert (again.path / name).read_bytes() == (run.path / name).read_bytes()


def test_a_run_that_is_stopped_between_folds_gives_the_same_rows(
    run: hs.TrainResult, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, calls = solve_folds._answer, []

    def stopped(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return answer(*args)

    with monkeypatch.context() as patch:
        patch.setattr(solve_folds, "_answer", stopped)
        with pytest.raises(KeyboardInterrupt):
            hs.train(photos, tmp_path / "run", folds=3, **PROBE)
    resumed = hs.resume(tmp_path / "run", verbose=False)
    assert (resumed.path / "answers.csv").read_bytes() == (run.path / "answers.csv").read_bytes()


def table_of(folder: Path, labels: Sequence[str], column: str, *, is_coloured: bool = True) -> Path:
    """Paint a photo for each label, and write a table."""
    rng, rows = np.random.default_rng(0), [f"image,{column}"]
    colours = {name: rng.uniform(60, 200, 3) for name in sorted(set(labels))}
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    for number, label in enumerate(labels):
        pixels = rng.normal(0, 40, (32, 32, 3)) + (colours[label] if is_coloured else 0)
        path = folder / "photos" / f"{number}.png"
        if not path.exists():
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
        rows.append(f"photos/{number}.png,{label}")
    table = folder / "table.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


@pytest.mark.parametrize(
    ("column", "names", "options"),
    [
        ("label", ("cat", "dog", "owl"), {}),
        pytest.param("label", ("cat", "dog", "owl"), {"select": "val_macro_f1"}, marks=pytest.mark.slow),
        pytest.param("labels", ("cat", "dog", "cat;dog"), {}, marks=pytest.mark.slow),
        ("weight", ("1.5", "2.5", "9"), {"target": "weight"}),
    ],
    ids=["classes", "adjusted", "labels", "numbers"],
)
def test_labels_of_a_fold_have_no_effect_on_its_answers(
    column: str,
    names: tuple[str, ...],
    options: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def by_number(records: Sequence[Record], *_: Any) -> np.ndarray:
        return np.array([int(Path(record.path).stem) // 10 for record in records])

    monkeypatch.setattr(outer_folds, "folds_of", by_number)
    labels = [names[number % 3] for number in range(30)]
    first = hs.train(table_of(tmp_path, labels, column), tmp_path / "1", folds=3, **options, **PROBE)
    labels[:10] = [names[(number * number + 1) % 3] for number in range(10)]
    other = hs.train(table_of(tmp_path, labels, column), tmp_path / "2", folds=3, **options, **PROBE)
    one, two = (read_answers(each.path / "answers.csv").of_source("folds") for each in (first, other))
    assert one.label != two.label
    assert one.outputs[one.fold == 0].tobytes() == two.outputs[two.fold == 0].tobytes()
    assert one.outputs[one.fold != 0].tobytes() != two.outputs[two.fold != 0].tobytes()
    main = {"label": "accuracy", "labels": "map", "weight": "mae"}[column]
    assert first.metrics["folds"][main] == pytest.approx(
        scores_of(one, first.predictor.info).summary[main], rel=1e-9
    )


def test_pure_noise_is_not_scored_better_than_chance(tmp_path: Path) -> None:
    labels = [("cat", "dog")[number % 2] for number in range(60)]
    noise = hs.train(
        table_of(tmp_path, labels, "label", is_coloured=False), tmp_path / "run", folds=5, **PROBE
    )
    low, high = noise.metrics["folds"]["accuracy_interval"]
    assert low <= 0.5 <= high


def test_views_are_trained_on_and_photos_are_scored_as_they_are(make_photos: Any, tmp_path: Path) -> None:
    data = make_photos(tmp_path / "data", {"": 5}, seed=4)
    views = {"probe": {"augment": "light", "views": 2}}
    found = hs.train(data, tmp_path / "run", folds=2, phase_settings=views, **PROBE)
    assert len(found.answers.of_source("folds")) == 15
    assert "unknown" not in found.metrics


def test_runs_by_folds_are_compared_on_all_their_photos(
    run: hs.TrainResult, photos: Path, tmp_path: Path
) -> None:
    linear = hs.train(photos, tmp_path / "linear", folds=3, head="linear", test=0, **PROBE)
    for each in (run, linear):  # test photos, which they also have, are compared first
        answers = each.answers
        write_answers(each.path / "answers.csv", answers.of_source("folds"))
    try:
        found = hs.compare(run.path, linear.path)
    finally:
        for each in (run, linear):
            write_answers(each.path / "answers.csv", each.answers)
    assert (found.photos, found.num_photos) == ("held-out", 36)
    assert "linear was scored by folds" in " ".join(found.notes)


def test_one_fold_alone_is_an_ordinary_run_with_the_fold_as_test_photos(
    run: hs.TrainResult, photos: Path, tmp_path: Path
) -> None:
    one = hs.train(photos, tmp_path / "run", folds=3, fold=2, **PROBE)
    of_fold = run.answers[run.answers.fold == 1]
    assert sorted(one.answers.of_source("test").path) == sorted(of_fold.path)
    assert "folds" not in one.metrics
    assert one.metrics["images"]["val"] > 0


def test_answers_of_the_runs_of_folds_are_gathered_in_the_order_of_the_photos(tmp_path: Path) -> None:
    info = ModelInfo("classification", "tiny", ("cat", "dog"), Preprocessing(size_px=32, resize="squash"))
    records = [Record(Photo(f"{row}.jpg"), row % 2, None, f"{row:064x}") for row in range(6)]
    outputs = np.arange(12, dtype=np.float32).reshape(6, 2)
    for fold, rows in enumerate(([4, 1, 0], [2, 5, 3])):
        folder = tmp_path / str(fold + 1)
        folder.mkdir()
        part = hs.Answers.from_outputs([records[row] for row in rows], outputs[rows], info, "test")
        write_answers(folder / "answers.csv", part)
        calibration = {"temperatures": [2.0**fold]}
        (folder / "metrics.json").write_text(json.dumps({"calibration": calibration}))
    splits = Splits(tuple(records[:4]), tuple(records[4:]), ())
    found = read_folds(tmp_path, 2, info, splits, "")
    assert found.answers.path == [record.path for record in records]
    assert found.answers.fold.tolist() == [0, 0, 1, 1, 0, 1]
    assert found.answers.split == ["train"] * 4 + ["val"] * 2
    assert set(found.answers.source) == {"folds"}
    assert found.answers.outputs.tolist() == outputs.tolist()
    assert found.raw.tolist() == (outputs * np.array([1, 1, 2, 2, 1, 2])[:, None]).tolist()
    with pytest.raises(hs.RunFolderError, match=r"once\. They have 6 answers, and 0 of these"):
        read_folds(tmp_path, 2, info, Splits(tuple(records[:4]), (), ()), "")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"folds": 1}, "folds is 1; it must be at least 2"),
        ({"fold": 1}, "fold is 1, but folds is not set"),
        ({"folds": 3, "fold": 4}, "fold is 4, but folds is 3. Use 1 to 3"),
        ({"folds": 3, "val": "photos"}, "folds is 3, but val names photos"),
        ({"folds": 3, "recipe": "best"}, "folds is 3, but recipe is 'best'"),
        (
            {"folds": 13, "recipe": "probe"},
            "folds is 13, but the class 'blue' has only 12 photos",
        ),
    ],
)
def test_what_folds_cannot_be_combined_with_is_refused(
    settings: dict[str, Any], told: str, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(hs.UsageError) as caught:
        hs.train(photos, tmp_path / "run", verbose=False, **settings)
    assert told in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_several_processes_or_a_network_of_ones_own_are_refused(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network: Any = object()
    with pytest.raises(hs.ConfigError, match="network is given, which can be trained only once"):
        hs.train(photos, tmp_path / "run", folds=3, network=network, verbose=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(hs.ConfigError, match="once for each fold, with --fold 1 to --fold 3"):
        hs.train(photos, tmp_path / "run", folds=3, verbose=False)


@pytest.mark.slow
def test_training_in_steps_is_scored_by_a_run_per_fold_also_after_an_interruption(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {
        "backbone": "timm/test_resnet",
        "weights": "random",
        "size_px": 64,
        "device": "cpu",
        "recipe": "finetune",
        "epochs": 2,
        "folds": 2,
        "verbose": False,
    }
    whole = hs.train(photos, tmp_path / "whole", **settings)
    finish, calls = upper.finish, []

    def stopped(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return finish(*args)

    with monkeypatch.context() as patch:
        patch.setattr(upper, "finish", stopped)
        with pytest.raises(KeyboardInterrupt):
            hs.train(photos, tmp_path / "stopped", **settings)
    assert (tmp_path / "stopped" / "folds" / "1" / "metrics.json").is_file()
    resumed = hs.resume(tmp_path / "stopped", verbose=False)
    for name in ("answers.csv", "model.onnx"):
        assert (resumed.path / name).read_bytes() == (whole.path / name).read_bytes()
    of_folds = whole.answers.of_source("folds")
    assert len(of_folds) == len(set(of_folds.path)) == 36
    assert set(whole.answers.source) == {"folds", "test"}
    for number in (1, 2):
        photos_of_run = (whole.path / "folds" / str(number) / "photos.csv").read_text()
        lines = [line for line in photos_of_run.splitlines() if '"test"' not in line]
        trained = {line.split('","')[0].strip('"') for line in lines}
        assert not trained & set(of_folds[of_folds.fold == number - 1].path)
    images = whole.metrics["images"]
    assert images["train"] + images["val"] == 36
    used = (
        f"chose its weights on {images['val']} of these photos and was trained on the other {images['train']}"
    )
    report = (whole.path / "report.html").read_text("utf-8")
    assert all(used in text for text in (repr(whole), report, whole.metrics["folds"]["scores_of"]))
    assert whole.metrics["folds"]["num_folds"] == 2
    assert "val_loss" not in whole.metrics["best"]
    assert hs.resume(whole.path, verbose=False).metrics == whole.metrics
