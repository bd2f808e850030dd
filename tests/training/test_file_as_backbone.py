"""A run and a file of features from a user's ONNX file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.frozen.test_onnx_file import network, saved

import headstart as hs
from headstart.config import TrainConfig
from headstart.errors import ConfigError, NetworkError
from headstart.frozen.extract import extract_features
from headstart.training.tools.extractor import open_extractor

FILE: dict[str, Any] = {"backbone": "net.onnx", "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


@pytest.fixture(autouse=True)
def _in_a_folder_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(network(shape="map"), tmp_path)
    monkeypatch.chdir(tmp_path)


def test_a_run_on_a_file_is_a_probe_whose_model_needs_the_file_no_more(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = hs.train(photos, tmp_path / "run", **FILE)
    assert "An ONNX file cannot be fine-tuned" in capsys.readouterr().err
    config = TrainConfig.from_toml(tmp_path / "run" / "config.toml")
    assert (config.recipe, config.mean, config.backbone) == (
        "probe",
        (0.5, 0.5, 0.5),
        str(tmp_path / "net.onnx"),
    )
    (tmp_path / "net.onnx").unlink()
    model = hs.load(tmp_path / "run")
    assert model.info.backbone == "net.onnx"
    assert [each.label for each in model.predict([photos / "test" / "red" / "red0.jpg"])] == ["red"]
    assert result.metrics["test"]["accuracy"] > 0.9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recipe": "finetune"}, "An ONNX file cannot be fine-tuned, and 'net.onnx' is one"),
        ({"precision": "bf16"}, "precision is 'bf16', but the features of an ONNX file are computed on the"),
        ({"device": "cuda"}, "device is 'cuda', but the features of an ONNX file are computed on the CPU"),
        ({"head": "stages"}, "net.onnx has no earlier stages that a head could read. Use head = 'linear'"),
        ({"head": "spatial"}, "head is 'spatial', which needs a network"),
        ({"size_px": 32}, "size_px is 32, but net.onnx takes photos of 16 pixels"),
    ],
)
def test_what_a_file_cannot_do_is_refused_before_photos_are_read(
    settings: dict[str, Any], message: str, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        hs.train(photos, tmp_path / "run", **FILE, **settings)
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_looking_for_a_learning_rate_of_a_file_is_refused(photos: Path) -> None:
    with pytest.raises(ConfigError, match="An ONNX file cannot be fine-tuned"):
        hs.lr_find(photos, backbone="net.onnx")


def test_features_of_a_file_are_those_that_its_graph_computes(photos: Path, tmp_path: Path) -> None:
    said: list[str] = []
    settings = {name: value for name, value in FILE.items() if name != "backbone"}
    extracted = extract_features(
        photos, tmp_path / "f.npz", "net.onnx", open_extractor=open_extractor, say=said.append, **settings
    )
    assert (extracted.num_rows, extracted.num_features) == (48, 8)
    with np.load(tmp_path / "f.npz") as columns:
        assert np.ptp(columns["vector"], axis=0).max() > 0


def test_a_file_of_no_use_on_the_users_photos_is_refused(
    tmp_path: Path, make_photos: Callable[..., Path]
) -> None:
    model = network(shape="map")
    for each in model.graph.initializer:
        if each.name == "w":
            each.raw_data = bytes(len(each.raw_data))
    saved(model, tmp_path)
    photos = make_photos(tmp_path / "photos", {"": 5})
    with pytest.raises(NetworkError, match="gives the same features for 15 different photos"):
        hs.train(photos, tmp_path / "run", **FILE)
