"""The examples in other languages give the bytes of a test vector."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL import __version__ as pillow_version

import headstart as hs
from colours import INFO, colours_model
from headstart.images.settings import Preprocessing
from headstart.inference.model_file import seal_onnx

EXAMPLES = Path(__file__).parents[1] / "examples"
SETTINGS = {
    "crop": Preprocessing(16, 0.875, "bicubic", "crop"),
    "pad": Preprocessing(16, 1.0, "bilinear", "pad"),
    "squash": Preprocessing(16, 1.0, "lanczos", "squash"),
}

pytestmark = pytest.mark.compiler


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Test vectors of a wide photo, and of a tall one, whose height is reduced first since Pillow 13."""
    folder = tmp_path_factory.mktemp("vectors")
    levels = np.random.default_rng(0).integers(0, 256, (90, 41, 3), dtype=np.uint8)
    Image.fromarray(levels).save(folder / "tall.png")
    found = []
    for name, preprocessing in SETTINGS.items():
        info = replace(INFO, preprocessing=preprocessing, versions={"pillow": pillow_version})
        model = folder / f"{name}.onnx"
        model.write_bytes(seal_onnx(colours_model(), info))
        for kind, photo in (("wide", None), ("tall", folder / "tall.png")):
            found.append(
                hs.export(hs.load(model), "test-vector", folder / f"{name}-{kind}", photo=photo).path
            )
    return found


def run(*command: object) -> str:
    done = subprocess.run([str(each) for each in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_java(vectors: list[Path], tmp_path: Path) -> None:
    run("javac", "-d", tmp_path, EXAMPLES / "java" / "Preprocessing.java")
    for vector in vectors:
        assert run("java", "-cp", tmp_path, "Preprocessing", vector) == "0 of 768 bytes differ\n"


def test_cpp(vectors: list[Path], tmp_path: Path) -> None:
    source = EXAMPLES / "cpp" / "compare.cpp"
    run("g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", source, "-o", tmp_path / "compare")
    for vector in vectors:
        with Image.open(vector / "decoded.png") as decoded:
            decoded.save(tmp_path / "decoded.ppm")
        info = json.loads((vector / "model.json").read_text())
        settings = [
            info["preprocessing"][key] for key in ("size_px", "crop_fraction", "interpolation", "resize")
        ]
        pillow = info["versions"]["pillow"].partition(".")[0]
        files = tmp_path / "decoded.ppm", vector / "pixels.bin"
        assert run(tmp_path / "compare", *files, *settings, pillow) == "0 of 768 bytes differ\n"
