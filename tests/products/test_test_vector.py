"""The files of a test vector agree with each other, computed without Headstart."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import headstart as hs
from colours import INFO, colours_model
from headstart.files import write_whole
from headstart.inference.model_file import seal_onnx


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vectors") / "run"
    folder.mkdir()
    write_whole(folder / "model.onnx", seal_onnx(colours_model(), INFO))
    return folder


@pytest.fixture(scope="module")
def vector(run: Path) -> Path:
    exported = hs.export(run, "test-vector")
    assert exported.path == run / "test-vector"
    assert repr(exported) == f"Written: {exported.path}"
    return exported.path


def test_every_step_follows_from_the_one_before(run: Path, vector: Path) -> None:
    settings = json.loads((vector / "model.json").read_text())["preprocessing"]
    side = settings["size_px"]
    photo, decoded = (Image.open(vector / name).convert("RGB") for name in ("photo.png", "decoded.png"))
    assert photo.tobytes() == decoded.tobytes()
    assert settings["resize"] == "crop"
    part = settings["crop_fraction"] * min(decoded.size)
    width, height = decoded.size
    box = ((width - part) / 2, (height - part) / 2, (width + part) / 2, (height + part) / 2)
    small = decoded.resize((side, side), Image.Resampling[settings["interpolation"].upper()], box=box)
    pixels = np.fromfile(vector / "pixels.bin", np.uint8).reshape(side, side, 3)
    assert np.array_equal(np.asarray(small), pixels)
    assert np.array_equal(np.asarray(Image.open(vector / "pixels.png")), pixels)

    session = onnxruntime.InferenceSession(run / "model.onnx")
    (shares,) = session.run(["probabilities"], {"images": pixels[np.newaxis]})
    assert np.array_equal(np.fromfile(vector / "probabilities.bin", "<f4"), shares[0])
    assert np.allclose(json.loads((vector / "outputs.json").read_text())["probabilities"], shares[0])
    with open(vector / "outputs.csv", newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file) if row["output"] == "probabilities"}
    prediction = json.loads((vector / "prediction.json").read_text())
    label = INFO.class_names[shares[0].argmax()]
    assert prediction["label"] == label
    assert float(rows[label]["value"]) == pytest.approx(prediction["probability"])


def test_every_file_is_described(vector: Path) -> None:
    names = {path.name for path in vector.iterdir()}
    text = (vector / "README.md").read_text()
    assert all(name in text for name in names - {"README.md"})
    page = (Path(__file__).parents[2] / "docs" / "reference" / "compatibility.md").read_text("utf-8")
    section = page.partition("## Test vectors")[2].partition("\n## ")[0]
    files = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert set(re.findall("`([^`]+)`", " ".join(files))) == names


def test_the_photo_can_be_given_and_is_decoded_in_full(run: Path, tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    Image.fromarray(levels).resize((1200, 900)).save(tmp_path / "large.jpg")
    model = hs.load(run)
    folder = hs.export(model, "test-vector", tmp_path / "vector", photo=tmp_path / "large.jpg").path
    assert (folder / "photo.jpeg").read_bytes() == (tmp_path / "large.jpg").read_bytes()
    with Image.open(folder / "decoded.png") as decoded:
        assert decoded.size == (1200, 900)
    again = hs.export(run, "test-vector", tmp_path / "again", photo=str(tmp_path / "large.jpg")).path
    assert [path.read_bytes() for path in sorted(again.iterdir())] == [
        path.read_bytes() for path in sorted(folder.iterdir())
    ]


def test_nothing_is_replaced_and_mistakes_have_messages(run: Path, vector: Path, tmp_path: Path) -> None:
    with pytest.raises(hs.UsageError, match=r"test-vector already exists\. Delete it, or name another"):
        hs.export(run, "test-vector")
    with pytest.raises(hs.UsageError, match=r"the folder .*nowhere does not exist"):
        hs.export(run, "test-vector", tmp_path / "nowhere" / "vector")
    with pytest.raises(hs.ImageError, match="no such file"):
        hs.export(run, "test-vector", tmp_path / "vector", photo=tmp_path / "none.jpg")
    assert not (tmp_path / "vector").exists()
    with pytest.raises(hs.UsageError, match="photo is for a test vector; to is 'onnx'"):
        hs.export(run, "onnx", photo="a.jpg")
    with pytest.raises(hs.ConfigError, match=r"it must be onnx, onnx-fp16, pth, timm, test-vector or web\."):
        hs.export(run, "vector")  # type: ignore[arg-type]
    with pytest.raises(hs.RunFolderError, match="no file or folder"):
        hs.export(tmp_path / "nothing", "test-vector")
