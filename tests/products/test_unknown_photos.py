"""A probe's file recognises photos of none of its classes, for every user of the file."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import headstart as hs
from headstart.data.split import Splits
from headstart.images.photo import Photo
from headstart.images.preprocess import load_pixels
from headstart.inference.model_file import open_onnx
from headstart.inference.predictions import write_csv, write_jsonl, write_table
from headstart.probe import unknown
from headstart.probe.photos import OutOfFold
from headstart.probe.unknown import fit_unknown
from headstart.products import unknown as product
from headstart.products.kept_unknown import KeptUnknown
from headstart.records import Record

FINE_TUNED: dict[str, Any] = {
    "backbone": "timm/test_resnet",
    "weights": "random",
    "size_px": 32,
    "batch_size": 12,
    "device": "cpu",
    "val": 0.6,
    "phases": [{"name": "fine", "unfreeze": 1, "epochs": 1, "head_lr": 0.01}],
}
PROBE: dict[str, Any] = {"recipe": "probe", "size_px": 32, "device": "cpu", "verbose": False}


def of_few_photos(patch: pytest.MonkeyPatch) -> None:
    for module in (unknown, product):
        patch.setattr(module, "FEWEST", 20)


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> hs.TrainResult:
    with pytest.MonkeyPatch.context() as patch:
        of_few_photos(patch)
        return hs.train(photos, tmp_path_factory.mktemp("unknown") / "run", **PROBE)


@pytest.fixture(scope="module")
def foreign() -> np.ndarray:
    """A checked pattern, where training photos have one colour."""
    return (
        np.kron(np.indices((8, 8)).sum(0) % 2 * 255, np.ones((8, 8)))[..., None].repeat(3, 2).astype(np.uint8)
    )


def test_a_foreign_photo_is_unknown_and_a_known_one_is_not(
    run: hs.TrainResult, photos: Path, foreign: np.ndarray
) -> None:
    known = run.predictor.predict(sorted((photos / "test").rglob("*.jpg")))
    assert np.mean([each.unknown for each in known]) < 0.5
    (found,) = run.predictor.predict(foreign)
    assert found.unknown is True
    threshold = run.predictor.info.unknown_threshold
    assert threshold is not None
    assert found.unknown_score is not None
    assert found.unknown_score > threshold
    assert "unknown=True" in repr(found)
    assert sum(found.probabilities.values()) == pytest.approx(1, abs=1e-5)
    summary = run.metrics["unknown"]
    assert summary["threshold"] == threshold
    assert summary["num_photos"] == 30
    low, high = summary["val_interval"]
    assert low <= summary["val_rejected"] <= high


def test_plain_onnx_runtime_gives_the_score_of_the_prediction(run: hs.TrainResult, photos: Path) -> None:
    photo = photos / "test" / "red" / "red0.jpg"
    pixels = load_pixels(photo.read_bytes(), run.predictor.info.preprocessing, path="")
    session = onnxruntime.InferenceSession(run.path / "model.onnx")
    (score,) = session.run(["unknown"], {"images": pixels[None]})
    assert score.shape == (1, 1)
    (found,) = run.predictor.predict(photo)
    assert found.unknown_score == pytest.approx(float(score[0, 0]), rel=1e-4, abs=1e-4)
    assert found.unknown == (score[0, 0] > run.predictor.info.unknown_threshold)


def test_outputs_probabilities_and_copies_are_as_before(run: hs.TrainResult, photos: Path) -> None:
    photo = photos / "test" / "red" / "red0.jpg"
    (outputs,) = run.predictor.outputs([photo])
    assert isinstance(outputs, np.ndarray)
    assert outputs.shape == (3,)
    assert run.predictor.predict_proba(photo).shape == (1, 3)
    copied = pickle.loads(pickle.dumps(run.predictor))
    assert copied.predict(photo) == run.predictor.predict(photo)
    (views,) = hs.load(run.path, views=2).predict(photo)
    assert views.unknown_score is not None


def test_predictions_in_files_say_what_is_unknown(run: hs.TrainResult, foreign: np.ndarray) -> None:
    content = io.BytesIO()
    Image.fromarray(foreign).save(content, "PNG")
    found = run.predictor.predict([content.getvalue(), b"no photo"])
    found = [dataclasses.replace(each, path=name) for each, name in zip(found, "ab", strict=True)]
    info = run.predictor.info
    write_csv(table := io.StringIO(newline=""), found, info)
    rows = list(csv.DictReader(table.getvalue().splitlines()))
    assert list(rows[0])[:6] == ["path", "label", "probability", "error", "unknown", "unknown_score"]
    assert [row["unknown"] for row in rows] == ["1", ""]
    assert float(rows[0]["unknown_score"]) == pytest.approx(found[0].unknown_score, rel=1e-5)
    write_jsonl(lines := io.StringIO(), found)
    first, second = map(json.loads, lines.getvalue().splitlines())
    assert first["unknown"] is True
    assert second["unknown"] is None
    write_table(shown := io.StringIO(), found, info)
    assert "a: none of the classes?" in shown.getvalue()


def test_the_setting_leaves_it_out_and_so_do_few_photos(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = hs.train(photos, tmp_path / "few", **PROBE)
    of_few_photos(monkeypatch)
    off = hs.train(photos, tmp_path / "off", unknown="off", **PROBE)
    for each in (few, off):
        assert "unknown" not in each.metrics
        assert each.predictor.info.unknown_threshold is None
        (found,) = each.predictor.predict(photos / "test" / "red" / "red0.jpg")
        assert (found.unknown, found.unknown_score) == (None, None)
    with pytest.raises(hs.ConfigError, match="unknown"):
        hs.train(photos, tmp_path / "wrong", unknown="maybe", **PROBE)


def test_the_model_is_the_backbone_of_another_run(
    run: hs.TrainResult, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_few_photos(monkeypatch)
    again = hs.train(
        photos, tmp_path / "run", backbone=str(run.path / "model.onnx"), recipe="probe", verbose=False
    )
    assert again.predictor.info.unknown_threshold is not None
    assert again.metrics["best"]["val_accuracy"] == run.metrics["best"]["val_accuracy"]


def test_after_fine_tuning_validation_photos_decide(
    photos: Path,
    tmp_path: Path,
    foreign: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    of_few_photos(monkeypatch)
    run, again = (hs.train(photos, tmp_path / name, **FINE_TUNED) for name in ("run", "again"))
    assert (run.path / "model.onnx").read_bytes() == (again.path / "model.onnx").read_bytes()
    assert run.metrics["best"]["phase"] == "fine"
    summary = run.metrics["unknown"]
    assert (summary["fitted_on"], summary["num_photos"]) == ("val", run.metrics["images"]["val"])
    assert "each judged by a limit from the others" in capsys.readouterr().err
    known = run.predictor.predict(sorted((photos / "test").rglob("*.jpg")))
    assert np.mean([each.unknown for each in known]) < 0.5
    exported = hs.load(hs.export(run.path, "onnx", tmp_path / "exported.onnx").path)
    assert exported.info.unknown_threshold == run.predictor.info.unknown_threshold


def test_a_head_that_pytorch_solves_has_its_training_photos(
    photos: Path, tmp_path: Path, foreign: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_few_photos(monkeypatch)
    settings = FINE_TUNED | {"phases": [{"name": "head", "optimizer": "exact"}], "val": 0.2}
    run = hs.train(photos, tmp_path / "run", **settings)
    assert run.metrics["unknown"]["fitted_on"] == "out-of-fold"
    assert run.metrics["unknown"]["num_photos"] == run.metrics["answers"]["out_of_fold"]
    (found,) = run.predictor.predict(foreign)
    assert found.unknown_score is not None


def test_a_file_with_other_scores_is_refused(run: hs.TrainResult, photos: Path) -> None:
    record = Record(Photo(str(photos / "test" / "red" / "red0.jpg")), 0, None, "")
    (found,) = run.predictor.predict(record.path)
    assert found.unknown_score is not None
    score = fit_unknown(
        *(np.random.default_rng(0).normal(size=(90, 5)).astype(np.float32), np.arange(90) % 3),
        *(np.random.default_rng(1).normal(size=(90, 3)).astype(np.float32), np.arange(90) % 5),
    )
    assert score is not None
    same = product.Unknown(score, "val", 0, (0.0, 1.0), 1, [(record, found.unknown_score)])
    same.refuse_disagreement(run.predictor)
    other = dataclasses.replace(same, compared=[(record, found.unknown_score + 1)])
    with pytest.raises(hs.ParityError, match="red0"):
        other.refuse_disagreement(run.predictor)


@pytest.mark.parametrize(
    ("number", "reason"), [(30, "takes 50 validation photos"), (60, "1 class has fewer")]
)
def test_too_few_validation_photos_are_said(number: int, reason: str) -> None:
    labels = np.minimum(np.arange(number), 1) if number > 50 else np.arange(number) % 2
    val = tuple(Record(Photo(f"{row}"), int(each), None, f"{row:064x}") for row, each in enumerate(labels))
    splits = Splits(train=(), val=val, test=(), shared=())
    found = product.find_unknown(splits, np.zeros((number, 2), np.float32), None, lambda _: np.zeros((0, 0)))
    assert isinstance(found, str)
    assert reason in found


@pytest.mark.parametrize(
    ("number", "advice"), [(49, ""), (52, ""), (60, ". With --folds 6, there are enough")]
)
@pytest.mark.parametrize("by_folds", [False, True])
def test_more_folds_are_advised_if_they_leave_enough_photos(number: int, advice: str, by_folds: bool) -> None:
    labels = np.arange(number) % 5
    noise = np.random.default_rng(1).normal(size=(number, 8)).astype(np.float32)
    photos = tuple(Record(Photo(f"{row}"), int(each), None, f"{row:064x}") for row, each in enumerate(labels))
    train = photos if by_folds else photos[: number * 4 // 5]
    logits = np.eye(5, dtype=np.float32)[labels] + 0.1 * noise[:, :5]
    found = product.find_unknown(
        Splits(train=train, val=photos[len(train) :], test=()),
        logits[len(train) :],
        OutOfFold(logits[: len(train)], np.arange(len(train)) // 5 % 5),
        lambda some: np.stack([noise[int(photo.path)] for photo in some]),
        rejected=np.full(number, np.nan) if by_folds else None,
    )
    assert isinstance(found, str)
    assert ("too few photos are outside" in found) == (by_folds and number >= 50)
    assert found.partition(". With")[2] == advice.partition(". With")[2]


def test_a_rare_class_among_many_photos_is_described() -> None:
    labels = np.r_[np.arange(3000) % 3, np.full(6, 3)]
    centres = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)
    noise = np.random.default_rng(1).normal(size=(len(labels), 8)).astype(np.float32)
    photos = tuple(Record(Photo(f"{row}"), int(each), None, f"{row:064x}") for row, each in enumerate(labels))
    splits = Splits(train=photos, val=photos[::2], test=(), shared=())
    logits = (np.eye(4)[labels] + 0.1 * noise[:, :4]).astype(np.float32)
    row_of = {photo.path: row for row, photo in enumerate(photos)}
    found = product.find_unknown(
        *(splits, logits[::2], OutOfFold(logits, np.arange(len(labels)) // 2 % 5)),
        lambda some: np.stack([centres[photo.label] + noise[row_of[photo.path]] for photo in some]),
        most=100,
    )
    assert isinstance(found, product.Unknown)
    assert len(found.score.known) <= 102


def test_by_folds_training_photos_are_compared_by_logits_of_the_file() -> None:
    labels = np.arange(60) % 2
    noise = np.random.default_rng(1).normal(size=(60, 8)).astype(np.float32)
    features, logits = noise + 2 * labels[:, None], np.eye(2)[labels] + 0.1 * noise[:, :2]
    photos = tuple(Record(Photo(f"{row}"), int(each), None, f"{row:064x}") for row, each in enumerate(labels))
    found = product.find_unknown(
        Splits(train=photos, val=(), test=()),
        np.zeros((0, 2), np.float32),
        OutOfFold(logits.astype(np.float32), np.arange(60) // 2 % 5),
        lambda some: np.stack([features[int(photo.path)] for photo in some]),
        rejected=np.zeros(60),
        outputs_of=lambda some: 3 * np.stack([logits[int(photo.path)] for photo in some]),
    )
    assert isinstance(found, product.Unknown)
    assert len(found.compared) == 8
    photo, score = found.compared[3]
    row = int(photo.path)
    assert score == pytest.approx(found.score(features[[row]], 3 * logits[[row]])[0])


def test_an_export_of_the_run_keeps_the_score_and_warns_if_it_is_lost(
    run: hs.TrainResult, foreign: np.ndarray, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run.path, copy)
    exported = hs.export(copy, "onnx")
    assert exported.warning == ""
    again = hs.load(copy)
    assert again.info.unknown_threshold == run.predictor.info.unknown_threshold
    (expected,), (found,) = run.predictor.predict(foreign), again.predict(foreign)
    assert found.unknown is True
    assert found.unknown_score == pytest.approx(expected.unknown_score, rel=1e-3)

    (copy / "model.onnx").unlink()
    exported = hs.export(copy, "onnx")
    assert "does not recognise photos of none of the classes" in exported.warning
    assert exported.warning in repr(exported)
    assert hs.load(copy).predict(foreign)[0].unknown is None


def test_a_score_of_another_network_is_not_kept(run: hs.TrainResult, tmp_path: Path) -> None:
    kept = KeptUnknown.find(run.path / "model.onnx", run.predictor.info)
    assert kept is not None
    model, info = open_onnx(run.path / "model.onnx")
    size_px = info.preprocessing.size_px
    assert kept.agrees(model, size_px)
    others = {
        name: tuple(tuple(-each for each in row) for row in rows)
        for name, rows in kept.self_test.outputs.items()
    }
    other = dataclasses.replace(kept, self_test=dataclasses.replace(kept.self_test, outputs=others))
    assert not other.agrees(model, size_px)
    assert KeptUnknown.find(run.path / "model.onnx", dataclasses.replace(info, unknown_threshold=1.5)) is None
    (tmp_path / "model.onnx").write_bytes(model[:-100])
    assert KeptUnknown.find(tmp_path / "model.onnx", info) is None
