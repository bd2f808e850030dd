"""A probe's file recognises photos of none of its classes, for every user of the file."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import headstart as hs
from headstart.images.preprocess import load_pixels
from headstart.inference.predictions import write_csv, write_jsonl, write_table
from headstart.probe import unknown

PROBE: dict[str, Any] = {"recipe": "probe", "size_px": 32, "device": "cpu", "verbose": False}


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> hs.TrainResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unknown, "FEWEST", 20)
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
    monkeypatch.setattr(unknown, "FEWEST", 20)
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
    monkeypatch.setattr(unknown, "FEWEST", 20)
    again = hs.train(
        photos, tmp_path / "run", backbone=str(run.path / "model.onnx"), recipe="probe", verbose=False
    )
    assert again.predictor.info.unknown_threshold is not None
    assert again.metrics["best"]["val_accuracy"] == run.metrics["best"]["val_accuracy"]
