from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colours import INFO, colours_model
from headstart.answers.evaluate import answer_photos, evaluate
from headstart.answers.scores import scores_of
from headstart.answers.seen import chosen_on_validation, notes_on_seen, num_seen_by
from headstart.errors import DataError
from headstart.images.photo import Photo
from headstart.inference.model_file import seal_onnx
from headstart.inference.predictor import Predictor, load
from headstart.records import Record


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.from_bytes(seal_onnx(colours_model(), INFO))


Paint = Callable[[dict[str, str]], Path]


@pytest.fixture
def paint(tmp_path: Path) -> Paint:
    """Make photos of one colour by path; "" makes a folder, "broken" a file that is no photo."""

    def make(files: dict[str, str]) -> Path:
        for name, colour in files.items():
            path = tmp_path / "photos" / name
            if not colour:
                path.mkdir(parents=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if colour == "broken":
                path.write_text("<html>")
            else:
                Image.new("RGB", (16, 16), colour).save(path)
        return tmp_path / "photos"

    return make


# By class name (blue, red), which is not the order of the model's outputs (red, green, blue).
MIXED = {"blue/1.png": "blue", "blue/2.png": "red", "red/3.png": "red", "red/4.png": "red"}


DIFFERENT = {"blue/1.png": "blue", "red/3.png": "red", "green/5.png": "green"}


def test_photos_are_scored_by_class_name(predictor: Predictor, paint: Paint) -> None:
    result = evaluate(predictor, paint(MIXED))
    scores = result.scores
    assert (result.split, result.unreadable) == (None, ())
    assert scores.class_names == ("red", "green", "blue")
    assert scores.accuracy == 0.75
    assert scores.support == (2, 0, 2)
    assert scores.confusion == ((2, 0, 0), (0, 0, 0), (1, 0, 1))
    assert scores.recall[0] == 1
    assert math.isnan(scores.recall[1])
    right, wrong = math.log(2 + math.exp(5)) - 5, math.log(2 + math.exp(5))  # of logits 5, 0, 0
    assert scores.loss == pytest.approx((3 * right + wrong) / 4, rel=1e-5)


def test_scores_are_those_of_the_predictions(predictor: Predictor, paint: Paint) -> None:
    root = paint(MIXED)
    paths = [str(path) for path in sorted(root.rglob("*.png"))]
    labels = [Path(path).parent.name for path in paths]
    records = [
        Record(Photo(path), INFO.class_names.index(label), None, "")
        for path, label in zip(paths, labels, strict=True)
    ]
    answers, unreadable = answer_photos(predictor, records, "test", root=str(root))
    predictions = predictor.predict(paths)
    assert not unreadable
    assert answers.path == ["blue/1.png", "blue/2.png", "red/3.png", "red/4.png"]
    assert (answers.label, answers.prediction) == (labels, [p.label for p in predictions])
    accuracy = np.mean([p.label == label for p, label in zip(predictions, labels, strict=True)])
    assert scores_of(answers, INFO).accuracy == accuracy == evaluate(predictor, root).scores.accuracy


def test_decisions_of_the_run_are_mentioned_for_the_same_photos_only(paint: Paint, tmp_path: Path) -> None:
    photos, run = paint(MIXED), tmp_path / "run"
    run.mkdir()
    (run / "config.toml").write_text(f"data = {str(photos)!r}\ndecisions = 'my-findings.csv'\n")
    (run / "model.onnx").write_bytes(seal_onnx(colours_model(), INFO))
    of_run = load(run)
    (note,) = evaluate(of_run, photos).notes
    assert "trained with the decisions of my-findings.csv, which are not applied" in note
    other = shutil.copytree(photos, tmp_path / "other photos")
    assert not evaluate(of_run, other).notes


SPLITS = {
    "train/red/1.png": "red",
    "val/red/2.png": "blue",
    "test/red/3.png": "red",
    "test/blue/4.png": "red",
}


@pytest.mark.parametrize(
    ("left_out", "asked", "taken", "accuracy"),
    [
        ((), None, "test", 0.5),
        ((), "val", "val", 0.0),
        ((), "train", "train", 1.0),
        (("test",), None, "val", 0.0),
        (("val", "test"), None, None, 1.0),
    ],
)
def test_the_test_split_is_taken_unless_another_is_asked_for(
    left_out: tuple[str, ...],
    asked: str | None,
    taken: str | None,
    accuracy: float,
    predictor: Predictor,
    paint: Paint,
) -> None:
    files = {name: colour for name, colour in SPLITS.items() if not name.startswith(left_out or "-")}
    result = evaluate(predictor, paint(files), asked)
    assert (result.split, result.scores.accuracy) == (taken, accuracy)


@pytest.mark.parametrize(
    "files",
    [
        {"red/1.png": "red"},
        {"test/red/1.png": "red"},
        {"red/1.png": "red", "green": ""},
        {"train/red": "", "test/red/1.png": "red", "val": ""},
    ],
    ids=str,
)
def test_a_folder_that_could_not_be_trained_on_is_scored(
    files: dict[str, str], predictor: Predictor, paint: Paint
) -> None:
    scores = evaluate(predictor, paint(files)).scores
    assert (scores.accuracy, sum(scores.support)) == (1.0, 1)


def test_unreadable_photos_are_told_and_do_not_count(predictor: Predictor, paint: Paint) -> None:
    root = paint({**MIXED, "blue/0.jpg": "broken"})
    result = evaluate(predictor, root)
    assert result.scores.accuracy == 0.75
    (unreadable,) = result.unreadable
    assert Photo(str(unreadable.path)) in result.photos
    assert Photo(str(unreadable.path)) not in result.scored
    assert len(result.scored) == result.num_photos
    assert unreadable.path == str(root / "blue" / "0.jpg")
    assert "HTML page" in str(unreadable.error)
    assert f"Note: {unreadable.path}: {unreadable.error}" in str(result)
    assert "HTML page" in result._repr_html_()


@pytest.mark.parametrize(
    ("files", "split", "message"),
    [
        ({**MIXED, "bleu/5.png": "blue"}, None, "a class that the model does not know: 'bleu'.*mean 'blue'"),
        (MIXED, "test", "has no 'test' photos; it has no splits. Leave out --split"),
        (SPLITS, "tets", "has no 'tets' photos; it has test, train, val. Name one"),
        (
            {"red/1.jpg": "broken", "blue/2.jpg": "broken"},
            None,
            "None of the 2 photos can be read.*HTML page",
        ),
        ({"1.png": "red"}, None, "no class folders"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_the_reason(
    files: dict[str, str], split: str | None, message: str, predictor: Predictor, paint: Paint
) -> None:
    with pytest.raises(DataError, match=message):
        evaluate(predictor, paint(files), split)


def test_a_run_knows_the_photos_that_had_a_part_in_it_wherever_they_lie(paint: Paint, tmp_path: Path) -> None:
    photos, run = paint({**MIXED, "green/5.png": "green"}), tmp_path / "run"
    used = [Photo(os.fspath(path)) for path in sorted(photos.rglob("*.png"))]
    run.mkdir()
    assert num_seen_by(run, used) == {"train": 0, "val": 0}
    blue, red, green = (
        hashlib.sha256((photos / name).read_bytes()).hexdigest()
        for name in ("blue/1.png", "blue/2.png", "green/5.png")
    )
    rows = [
        f"a photo that was moved,red,train,{red}",
        f"b.png,blue,val,{blue}",
        f"a copy of a training photo,red,val,{red}",  # counts once
        f"c.png,green,test,{green}",  # had no part
    ]
    (run / "photos.csv").write_text("\n".join(["path,class,split,sha256", *rows]))
    assert num_seen_by(run, [*used, Photo("gone.png")]) == {"train": 3, "val": 1}
    for content in ("another program's", "path,split\na.png,train"):
        (run / "photos.csv").write_text(content)
        assert num_seen_by(run, used) == {"train": 0, "val": 0}


@pytest.mark.parametrize(
    ("used", "epochs", "of_run", "note"),
    [
        (
            {"blue/1.png": "train", "red/3.png": "val"},
            2,
            1,
            "the model was trained on 1 of these 3 photos (exact copies), "
            "and its weights were chosen on 1 of them",
        ),
        (
            {"red/3.png": "val"},
            2,
            1,
            "the model's weights were chosen on 1 of these 3 photos, so these scores",
        ),
        ({"red/3.png": "val"}, 1, 1, "1 of these 3 photos are validation photos of the run. Nothing"),
        (
            dict.fromkeys(DIFFERENT, "val"),
            1,
            4,
            "3 of these 3 photos are validation photos of the run. Nothing",
        ),
        (dict.fromkeys(DIFFERENT, "val"), 1, 3, "the run's validation photos, so its metrics.json has these"),
    ],
    ids=str,
)
def test_photos_that_had_a_part_in_the_run_are_told_in_one_sentence(
    used: dict[str, str], epochs: int, of_run: int, note: str, paint: Paint, tmp_path: Path
) -> None:
    photos = paint(DIFFERENT)
    rows = [
        f"{name},c,{split},{hashlib.sha256((photos / name).read_bytes()).hexdigest()}"
        for name, split in used.items()
    ]
    (tmp_path / "photos.csv").write_text("\n".join(["path,class,split,sha256", *rows]))
    phases = [{"epochs": [{}] * epochs}]
    metrics = {"task": "classification", "phases": phases, "images": {"val": of_run}}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    digests = [Photo(os.fspath(photos / name)).sha256() for name in DIFFERENT]
    (told,) = notes_on_seen(tmp_path, digests)
    assert note in told


@pytest.mark.parametrize(
    ("task", "epochs", "chosen"),
    [
        ("classification", [1], ""),
        ("classification", [1, 3], "weights"),
        ("multilabel", [1], "thresholds"),
        ("multilabel", [2], "weights and thresholds"),
    ],
)
def test_validation_photos_of_a_solved_head_choose_nothing_but_thresholds(
    task: str, epochs: list[int], chosen: str, tmp_path: Path
) -> None:
    assert chosen_on_validation(tmp_path) == "weights"  # nobody knows
    metrics = {"task": task, "phases": [{"epochs": [{}] * number} for number in epochs]}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    assert chosen_on_validation(tmp_path) == chosen
