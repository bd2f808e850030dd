"""``export --to pth`` and ``--to timm``: networks that others load without Headstart; the same answers."""

from __future__ import annotations

import dataclasses
import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from tests.commands import here
from tests.images.test_colour import DISPLAY_P3, cmyk_profile, grey_profile, rgb_profile
from tests.labelled import INFOS

import headstart as hs
from headstart.images.preprocess import load_pixels
from headstart.images.settings import Preprocessing
from headstart.inference.model_file import ModelInfo
from headstart.inference.run_self_test import seal_with_self_test
from headstart.model.backbones import create_native, resolve
from headstart.model.head import logit_layers
from headstart.model.weights import put_head_of
from headstart.products.onnx import onnx_graph
from headstart.products.plain_photo import square_of
from headstart.products.safetensors import save_network

pytestmark = pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # which Pillow reports itself

TASKS = ("classification", "multilabel", "two numbers", "box with classes")
RESIZES: dict[str, Any] = {"classification": "crop", "multilabel": "pad", "box with classes": "pad"}


def write_run(folder: Path, info: ModelInfo, seed: int = 0) -> Path:
    """Write the two model files of a run whose head has random weights."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(seed)
    network = put_head_of(create_native(resolve(info.backbone)), info).eval()
    for name in logit_layers(network):
        torch.nn.init.normal_(network.get_submodule(name).weight, std=0.1)
    save_network(folder / "model.safetensors", network, info)
    (folder / "model.onnx").write_bytes(seal_with_self_test(onnx_graph(network, info), info))
    return folder


def info_of(task: str, backbone: str = "timm/test_resnet.r160_in1k") -> ModelInfo:
    settings = Preprocessing(size_px=64, interpolation="bicubic", resize=RESIZES.get(task, "squash"))
    return dataclasses.replace(INFOS[task], backbone=backbone, preprocessing=settings)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("runs")
    return {task: write_run(root / task.replace(" ", "-"), info_of(task)) for task in TASKS}


@pytest.fixture(scope="module")
def odd_photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Photos that programs often read differently: turned, transparent, with palettes, with profiles."""
    folder = tmp_path_factory.mktemp("odd")
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (9, 13, 4), dtype=np.uint8)
    rgba = Image.fromarray(small).resize((401, 287), Image.Resampling.BICUBIC)
    rgb, grey = rgba.convert("RGB"), rgba.convert("L")
    exif = Image.Exif()
    for orientation in (1, 2, 3, 4, 5, 6, 7, 8, 9):
        exif[0x0112] = orientation
        rgb.resize((801, 573)).save(folder / f"turned{orientation}.jpg", exif=exif)
    exif[0x0112] = 6
    rgb.save(folder / "turned.png", exif=exif)
    rgb.save(folder / "turned.tif", exif=exif)
    rgb.save(folder / "damaged-exif.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01")
    rgba.save(folder / "transparent.png")
    rgba.save(folder / "transparent.webp", lossless=True)
    rgba.convert("LA").save(folder / "grey-transparent.png")
    rgb.quantize(50).save(folder / "palette.png")
    rgb.quantize(50).save(folder / "palette.gif", transparency=3)
    grey.save(folder / "grey.jpg", icc_profile=grey_profile(1.0))
    rgb.save(folder / "p3.jpg", icc_profile=rgb_profile(DISPLAY_P3))
    rgb.save(folder / "damaged-profile.jpg", icc_profile=rgb_profile(DISPLAY_P3)[:99])
    rgb.convert("CMYK").save(folder / "inks.jpg", icc_profile=cmyk_profile())
    values = np.asarray(grey).astype(np.uint16) * 257
    Image.fromarray(values).save(folder / "16-bit.png")
    Image.fromarray(values / np.float32(65535)).save(folder / "float.tif")
    grey.point(lambda value: 255 * (value > 128), "1").save(folder / "one-bit.png")
    rgb.resize((1, 300)).save(folder / "narrow.png")
    rgb.resize((3, 2)).save(folder / "tiny.bmp")
    return sorted(folder.iterdir())


@pytest.mark.parametrize(
    "settings",
    [
        Preprocessing(size_px=64),
        Preprocessing(size_px=97, resize="pad", interpolation="bicubic"),
        Preprocessing(size_px=32, resize="squash", interpolation="lanczos"),
    ],
)
def test_photos_have_the_same_pixels_without_headstart(
    settings: Preprocessing, odd_photos: list[Path]
) -> None:
    size, share, filter_ = settings.size_px, settings.crop_fraction, settings.interpolation
    for path in odd_photos:
        square = square_of(str(path), size, settings.resize, share, filter_)[0]
        expected = load_pixels(path.read_bytes(), settings, path=str(path))
        assert np.array_equal(np.asarray(square), expected), path.name


@pytest.mark.parametrize("task", TASKS)
def test_the_script_beside_a_pth_predicts_as_headstart_does(
    task: str, runs: dict[str, Path], odd_photos: list[Path], tmp_path: Path
) -> None:
    code, _, err = here("export", runs[task] / "model.onnx", "--to", "pth", "--out", tmp_path / "a b.pth")
    assert code == 0, err
    assert f"Written: {tmp_path / 'a b_predict.py'}" in err
    text = (tmp_path / "a b_predict.py").read_text("utf-8")
    assert not re.search(r"^\s*(import|from) headstart", text, re.MULTILINE)
    script = runpy.run_path(str(tmp_path / "a b_predict.py"))
    with pytest.raises(SystemExit, match=r"Usage: python .*a b_predict\.py PHOTO"):
        runpy.run_path(str(tmp_path / "a b_predict.py"), run_name="__main__")
    net = script["load_network"]()
    for expected in hs.load(runs[task]).predict(odd_photos, top_k=99):
        found = script["predict"](net, expected.path)
        if expected.box:
            box, found = found
            np.testing.assert_allclose(box, expected.box, atol=1e-2)
        close = expected.probabilities or expected.numbers
        assert found == pytest.approx(close, rel=1e-4, abs=1e-5), expected.path
        assert expected.numbers or list(found) == list(close)  # the most probable class first


@pytest.mark.slow
def test_the_script_runs_where_headstart_cannot_be_imported(
    runs: dict[str, Path], odd_photos: list[Path], tmp_path: Path
) -> None:
    hs.export(runs["classification"], "pth", tmp_path / "model.pth")
    (tmp_path / "notes.jpg").write_text("no photo")
    missing, notes = str(tmp_path / "missing.jpg"), str(tmp_path / "notes.jpg")
    paths = [missing, notes, *map(str, odd_photos)]
    code = (
        "import runpy, sys\n"
        "sys.modules['headstart'] = None\n"
        f"sys.argv[1:] = {paths!r}\n"
        f"runpy.run_path({str(tmp_path / 'model_predict.py')!r}, run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert done.returncode == 1
    errors = done.stderr.decode()
    assert f"{missing}: [Errno 2]" in errors
    assert f"{notes}: cannot identify image file" in errors
    assert "Traceback" not in errors
    lines = done.stdout.decode().replace("\r\n", "\n")
    for expected in hs.load(runs["classification"]).predict(odd_photos):
        assert f"{expected.path}\t{expected.label}\t{expected.probability:.4f}\n" in lines


@pytest.mark.parametrize("task", TASKS[:3])
def test_timm_loads_the_folder_and_computes_the_same(
    task: str, runs: dict[str, Path], odd_photos: list[Path], tmp_path: Path
) -> None:
    exported = hs.export(runs[task], "timm", tmp_path / "written")
    moved = (tmp_path / "written").rename(tmp_path / "moved")
    net = timm.create_model(f"local-dir:{moved}", pretrained=True).eval()
    info = hs.load(runs[task]).info
    assert net.pretrained_cfg["label_names"] == list(info.targets or info.class_names)
    expected = list(hs.load(runs[task]).outputs(odd_photos))
    settings = info.preprocessing
    mean, std = (torch.tensor(each) for each in (settings.mean, settings.std))
    with torch.inference_mode():
        for path, row in zip(odd_photos, expected, strict=True):
            pixels = torch.from_numpy(load_pixels(path.read_bytes(), settings, path=str(path)))
            found = net(((pixels / 255 - mean) / std).permute(2, 0, 1)[None])[0].numpy()
            np.testing.assert_allclose(found, row, rtol=1e-4, atol=1e-4)
    assert "headstart" not in exported.usage
    assert f"local-dir:{tmp_path / 'written'}" in exported.usage.replace("\\\\", "\\")


def test_timms_transform_prepares_an_ordinary_photo_nearly_as_headstart_does(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    hs.export(runs["classification"], "timm", tmp_path / "net")
    net = timm.create_model(f"local-dir:{tmp_path / 'net'}", pretrained=True)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(net))
    noise = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    photo = Image.fromarray(noise).resize((321, 243), Image.Resampling.BICUBIC)
    photo.save(tmp_path / "photo.png")
    settings = hs.load(runs["classification"]).info.preprocessing
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (settings.mean, settings.std))
    found = (transform(photo) * std + mean).permute(1, 2, 0).numpy() * 255
    expected = load_pixels((tmp_path / "photo.png").read_bytes(), settings, path="photo.png")
    assert np.abs(found - expected).mean() < 6  # squashed: 54


def test_the_model_card_names_score_data_licence_and_limits(photos: Path, tmp_path: Path) -> None:
    run = hs.train(photos, tmp_path / "run", recipe="probe", size_px=32, head="linear", verbose=False, seed=0)
    exported = hs.export(run.path, "timm")
    assert exported.path == run.path / "timm"
    text = (exported.path / "README.md").read_text("utf-8")
    assert text.startswith("---\nlibrary_name: timm\npipeline_tag: image-classification\n")
    assert "of 12 test photos: accuracy" in text
    assert re.search(r"\d+ photos to train, \d+ to validate and 12 to test", text)
    assert "`apache-2.0`" in text
    assert "## Limits" in text
    assert str(tmp_path) not in text
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    shutil.copy(next((photos / "test" / "red").iterdir()), tmp_path / "photo.jpg")
    code = code.replace("local-dir:FOLDER", f"local-dir:{exported.path.as_posix()}")
    variables: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        exec(code, variables)
    (expected,) = hs.load(run.path).predict(tmp_path / "photo.jpg")
    assert variables["names"][variables["probabilities"].argmax()] == expected.label


def test_what_timm_cannot_express_is_refused_by_name(runs: dict[str, Path], tmp_path: Path) -> None:
    torchvision = write_run(tmp_path / "run", info_of("classification", "squeezenet1_1.IMAGENET1K_V1"))
    with pytest.raises(hs.UsageError, match=r"torchvision, squeezenet1_1.* --to pth or --to onnx"):
        hs.export(torchvision, "timm")
    with pytest.raises(hs.UsageError, match=r"predicts boxes.* --to pth or --to onnx"):
        hs.export(runs["box with classes"], "timm")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "README.md").write_text("theirs")
    with pytest.raises(hs.UsageError, match="already exists"):
        hs.export(runs["classification"], "timm", tmp_path / "theirs")
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(runs["classification"] / "model.onnx", alone)
    with pytest.raises(hs.UsageError, match=r"model\.onnx does not hold the weights by name"):
        hs.export(alone / "model.onnx", "pth")


@pytest.mark.parametrize("to", ["pth", "timm"])
def test_weights_of_another_model_are_not_exported(to: Any, runs: dict[str, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs["classification"], run)
    other = write_run(tmp_path / "other", info_of("classification"), seed=1)
    shutil.copy(other / "model.safetensors", run)
    with pytest.raises(hs.ParityError, match=r"self-test differ: logits by .*different runs"):
        hs.export(run, to, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out_predict.py").exists()


def test_the_script_of_somebody_else_stays(runs: dict[str, Path], tmp_path: Path) -> None:
    for _ in range(2):  # the second replaces the first
        hs.export(runs["classification"], "pth", tmp_path / "model.pth")
    (tmp_path / "model_predict.py").write_text("print('theirs')\n")
    with pytest.raises(hs.UsageError, match=r"model_predict\.py exists"):
        hs.export(runs["classification"], "pth", tmp_path / "model.pth")
    assert (tmp_path / "model_predict.py").read_text() == "print('theirs')\n"


def test_timm_resizes_to_the_pixels_that_the_backbone_was_trained_with(tmp_path: Path) -> None:
    info = info_of("classification")
    settings = dataclasses.replace(info.preprocessing, crop_fraction=64 / 93)
    assert int(64 / settings.crop_fraction) == 92  # the quotient is just below 93
    run = write_run(tmp_path / "run", dataclasses.replace(info, preprocessing=settings))
    config = json.loads((hs.export(run, "timm").path / "config.json").read_text())
    assert int(64 / config["pretrained_cfg"]["crop_pct"]) == 93
