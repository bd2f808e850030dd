"""Every task through the whole story, on photos that a network of random weights can learn."""

from __future__ import annotations

import csv
import dataclasses
import importlib.util
import json
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from tests.labelled import in_metrics

import headstart as hs
from headstart import tasks
from headstart.answers.evaluate import evaluate
from headstart.errors import ConfigError, DataError, UsageError
from headstart.inference.model_file import open_onnx
from headstart.products.pth import write_pth
from headstart.products.safetensors import load_network
from headstart.training.run.history import EpochRecord
from headstart.training.steps.phase import make_ready

TINY: dict[str, Any] = {"backbone": "timm/test_resnet", "weights": "random", "size_px": 64, "batch_size": 8}
HEAD = [{"name": "probe", "unfreeze": "head", "epochs": 2, "head_lr": 0.01}]


def write_table(path: Path, header: list[str], rows: list[list[Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def paint(path: Path, generator: np.random.Generator, box: tuple[int, int, int, int], colour: Any) -> None:
    pixels = generator.normal(110, 25, (48, 64, 3))
    left, top, right, bottom = box
    pixels[top:bottom, left:right] = colour
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, quality=95)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same 40 photos of a rectangle, labelled in every way."""
    root = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    colours = {"red": (230, 40, 40), "blue": (40, 40, 230)}
    boxes, classed, several, numbers = [], [], [], []
    for i in range(40):
        left, top = int(generator.integers(0, 30)), int(generator.integers(0, 20))
        right, bottom = left + int(generator.integers(12, 32)), top + int(generator.integers(10, 26))
        name, colour = list(colours.items())[i % 2]
        file = f"{i}.jpg"
        paint(root / file, generator, (left, top, right, bottom), colour)
        split = "test" if i >= 34 else ""
        boxes.append([file, left, top, right, bottom, split])
        classed.append([file, left, top, right, bottom, name, split])
        large = (right - left) * (bottom - top) > 350
        several.append([file, "|".join([name, *(["large"] if large else [])]), split])
        numbers.append([file, right - left, bottom - top, split])
    sides = ["xmin", "ymin", "xmax", "ymax"]
    return {
        "box": write_table(root / "box.csv", ["image", *sides, "split"], boxes),
        "box and class": write_table(root / "classed.csv", ["image", *sides, "label", "split"], classed),
        "multilabel": write_table(root / "several.csv", ["image", "labels", "split"], several),
        "regression": write_table(root / "numbers.csv", ["image", "width", "height", "split"], numbers),
    }


SETTINGS: dict[str, dict[str, Any]] = {
    "box": {},
    "box and class": {},
    "multilabel": {},
    "regression": {"target": "width,height"},
}
METRICS = {
    "box": {"loss", "iou", "iou50"},
    "box and class": {"loss", "iou", "iou50", "accuracy"},
    "multilabel": {"loss", "accuracy", "map", "f1", "calibrated_loss"},
    "regression": {"loss", "mae", "rmse", "r2"},
}


def test_every_task_is_trained_here_or_by_the_other_tests_of_training() -> None:
    trained = {"classification", *(name.partition(" ")[0] for name in SETTINGS)}
    assert trained == set(tasks.TASKS), "add rows to tables, SETTINGS and METRICS"
    assert set(METRICS) == set(SETTINGS)


@pytest.fixture(scope="module")
def runs(tables: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, hs.TrainResult]:
    folder = tmp_path_factory.mktemp("runs")
    phases = [*HEAD, {"name": "last", "unfreeze": 1, "epochs": 1, "head_lr": 1e-3, "wise_ft": True}]
    return {
        name: hs.train(table, folder / name.replace(" ", "-"), phases=phases, **TINY, **SETTINGS[name])
        for name, table in tables.items()
    }


def trained_numbers(run: Path) -> np.ndarray:
    with (run / "photos.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    return np.array([[float(number) for number in row["class"].split()] for row in rows])


def numbers_with_a_damaged_photo(tables: dict[str, Path], folder: Path) -> Path:
    """Copy the photos and their numbers, and add a photo that does not decode, whose number is huge."""
    folder.mkdir()
    for path in tables["regression"].parent.glob("*.jpg"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "damaged.jpg").write_bytes((folder / "0.jpg").read_bytes()[:200])
    text = tables["regression"].read_text() + "damaged.jpg,4000000,4000000,\n"
    (folder / "numbers.csv").write_text(text)
    return folder / "numbers.csv"


NUMBERS: dict[str, Any] = {
    "phases": [*HEAD, {"name": "last", "unfreeze": 1, "epochs": 1, "head_lr": 1e-3}],
    "target": "width,height",
    **TINY,
}


@pytest.fixture(scope="module")
def numbers_run(tables: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> hs.TrainResult:
    folder = tmp_path_factory.mktemp("numbers")
    return hs.train(numbers_with_a_damaged_photo(tables, folder / "photos"), folder / "run", **NUMBERS)


def test_numbers_are_standardised_by_the_photos_that_are_trained_on_alone(
    numbers_run: hs.TrainResult,
) -> None:
    assert numbers_run.metrics["images"]["quarantined"] == 1
    numbers = trained_numbers(numbers_run.path)
    assert len(numbers) == numbers_run.metrics["images"]["train"] < 34  # the rest is held back
    scale = hs.load(numbers_run.path).info.scale
    np.testing.assert_array_equal(scale, (numbers.mean(0), numbers.std(0)))


def test_a_run_with_numbers_resumes_to_the_same_bits_and_by_force_in_the_scale_it_began_with(
    numbers_run: hs.TrainResult, tables: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, table = numbers_run.path, numbers_with_a_damaged_photo(tables, tmp_path / "photos")

    class Killed(BaseException):
        pass

    def die_in_the_second_phase(setup: Any, features: Any, *others: Any) -> Any:
        if features.phase.name == "last":
            raise Killed
        return make_ready(setup, features, *others)

    with monkeypatch.context() as patch:
        patch.setattr("headstart.training.upper.make_ready", die_in_the_second_phase)
        with pytest.raises(Killed):
            hs.train(table, tmp_path / "run", **NUMBERS)
    shutil.copytree(tmp_path / "run", tmp_path / "forced")
    hs.resume(tmp_path / "run")
    for name in ("model.onnx", "model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (whole / name).read_bytes()

    numbers = trained_numbers(whole)
    table.write_text(table.read_text().replace("\n1.jpg,", "\n1.jpg,9"))  # 14 becomes 914, for example
    with pytest.raises(hs.RunFolderError, match=r"changed in content, class or split: 1\.jpg"):
        hs.resume(tmp_path / "forced")
    hs.resume(tmp_path / "forced", force=True)
    np.testing.assert_array_equal(hs.load(tmp_path / "forced").info.scale, (numbers.mean(0), numbers.std(0)))


@pytest.mark.parametrize("name", SETTINGS)
def test_metrics_and_files_of_every_task(runs: dict[str, hs.TrainResult], name: str) -> None:
    run = runs[name]
    metrics = json.loads((run.path / "metrics.json").read_text())
    assert metrics["task"] == name.split()[0]
    found = {key.removeprefix("val_") for key in metrics["best"] if key.startswith("val_")}
    assert found == METRICS[name] | {f"{metric}_interval" for metric in METRICS[name] - {"calibrated_loss"}}
    images = metrics["images"]
    assert images["found"] == images["used"] + images["quarantined"] + images["ignored"]
    assert images["test"] == 6
    assert metrics["parity"]["max_difference"] < 1e-3
    header = (run.path / "history.csv").read_text().splitlines()[0].split(",")
    assert {f"val_{metric}" for metric in METRICS[name]} <= set(header)
    # The test score is what evaluating the deployed file gives.
    evaluation = evaluate(hs.load(run.path), _data(run), "test")
    assert in_metrics(evaluation) == metrics["test"]


def _data(run: hs.TrainResult) -> str:
    return str(tomllib.loads((run.path / "config.toml").read_text())["data"])


@pytest.mark.parametrize("name", SETTINGS)
def test_predictions_have_the_fields_of_their_task(
    runs: dict[str, hs.TrainResult], tables: dict[str, Path], name: str
) -> None:
    model = hs.load(runs[name].path)
    (prediction,) = model.predict(tables[name].parent / "0.jpg")
    assert prediction.error is None
    if "box" in name:
        assert prediction.box is not None
        left, top, right, bottom = prediction.box
        assert 0 <= left <= right <= 64
        assert 0 <= top <= bottom <= 48
        assert (prediction.label in ("red", "blue")) == (name == "box and class")
    elif name == "regression":
        assert set(prediction.numbers) == {"width", "height"}
        assert 5 < prediction.numbers["width"] < 60  # pixels, not standard deviations
    else:
        assert prediction.label is None
        thresholds = dict(zip(model.class_names, model.info.thresholds, strict=True))
        said = {name for name, share in prediction.probabilities.items() if share >= thresholds[name]}
        assert set(prediction.labels) == said


@pytest.mark.parametrize("name", SETTINGS)
def test_the_weights_give_the_same_network_again(
    runs: dict[str, hs.TrainResult], tables: dict[str, Path], name: str
) -> None:
    network, info = load_network(runs[name].path / "model.safetensors")
    model, onnx_info = open_onnx(runs[name].path / "model.onnx")
    assert info == dataclasses.replace(onnx_info, self_test=None)
    session = onnxruntime.InferenceSession(model)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    answers = session.run(None, {"images": pixels})
    mean, std = (torch.tensor(each) for each in (info.preprocessing.mean, info.preprocessing.std))
    images = ((torch.from_numpy(pixels) / 255 - mean) / std).permute(0, 3, 1, 2)
    with torch.no_grad():
        outputs = network(images)
    if name == "regression":
        expected = outputs * torch.tensor(info.scale[1]) + torch.tensor(info.scale[0])
    elif "box" in name:
        expected = outputs[:, :4].clamp(0, 1)
    else:
        expected = outputs
    assert np.allclose(answers[0], expected, atol=1e-3)


def test_a_state_dict_is_written_where_the_native_network_has_a_place_for_the_head(
    runs: dict[str, hs.TrainResult], tmp_path: Path
) -> None:
    lines, _ = write_pth(runs["regression"].path / "model.safetensors", tmp_path / "numbers.pth")
    assert "num_classes=2" in lines  # outputs, though there are no classes
    network = torch.load(tmp_path / "numbers.pth", weights_only=True)
    assert network["fc.weight"].shape == (2, 96)
    with pytest.raises(UsageError, match="does not support"):
        write_pth(runs["box"].path / "model.safetensors", tmp_path / "box.pth")
    assert not (tmp_path / "box.pth").exists()


@pytest.mark.parametrize(("task", "score"), [("multilabel", "accuracy"), ("regression", "mae")])
def test_the_probe_of_labels_and_numbers_is_solved(
    task: str, score: str, tables: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = hs.train(tables[task], tmp_path / "run", recipe="probe", **TINY, **SETTINGS[task])
    head = run.metrics["head"]
    assert list(head) == ["kind", "penalties", "cv_loss", f"cv_{score}", "stages", "stage_errors"]
    assert len(head["penalties"]) == len(hs.load(run.path).info.class_names or "wh")
    shown = f"chosen by cross-validation on the training photos: loss {head['cv_loss']:.3f} {score} "
    assert shown + f"{head[f'cv_{score}']:.3f}" in capfd.readouterr().err
    if task == "regression":  # in pixels, of which the sides' standard deviations are about five
        assert 1 < head["cv_mae"] < 10


@pytest.mark.slow
def test_the_default_recipe_finds_boxes(tables: dict[str, Path], tmp_path: Path) -> None:
    run = hs.train(tables["box"], tmp_path / "run")  # the default backbone, whose weights come with pip
    losses = [row["train_loss"] for phase in run.metrics["phases"] for row in phase["epochs"]]
    assert losses[-1] < 0.5 * losses[0]
    assert run.metrics["test"]["iou"] > 0.6


def test_a_box_run_gives_the_same_bits_again_and_moves_boxes_with_views(
    tables: dict[str, Path], tmp_path: Path
) -> None:
    phases = [
        {**HEAD[0], "augment": "medium"},
        {"name": "all", "unfreeze": 1, "epochs": 1, "augment": "light"},
    ]
    runs = [
        hs.train(tables["box"], tmp_path / str(workers), phases=phases, workers=workers, **TINY)
        for workers in (0, 2)
    ]
    first, second = ((run.path / "model.safetensors").read_bytes() for run in runs)
    assert first == second


def test_a_pooled_row_is_never_taken_for_a_map(tables: dict[str, Path], tmp_path: Path) -> None:
    """Both heads cut at "head", on prefixes with the same parameters."""
    for head in ("linear", "spatial"):
        run = hs.train(tables["box"], tmp_path / head, head=head, phases=HEAD, **TINY)
        assert run.metrics["head"]["kind"] == head


def test_what_a_task_does_not_have_is_refused(tables: dict[str, Path], tmp_path: Path) -> None:
    def train(name: str, **settings: Any) -> None:
        hs.train(tables[name], tmp_path / "run", **{**TINY, **SETTINGS[name], **settings})

    with pytest.raises(ConfigError, match=r"val_accuracy.*'box'.*val_iou"):
        train("box", select="val_accuracy")
    with pytest.raises(ConfigError, match="is only for boxes"):
        train("multilabel", head="spatial")
    with pytest.raises(ConfigError, match="the task 'box' does not support mixup"):
        train("box", phases=[{**HEAD[0], "mixup": 0.2}])
    with pytest.raises(ConfigError, match="the task 'box' does not support mirror"):
        train("box", phases=[{**HEAD[0], "unfreeze": 1, "mirror": True}])
    with pytest.raises(ConfigError, match="the task 'box' does not support optimizer = 'exact'"):
        train("box", phases=[{"unfreeze": "head", "optimizer": "exact"}])
    with pytest.raises(ConfigError, match="class_weights = 'balanced'"):
        train("regression", phases=[{**HEAD[0], "class_weights": "balanced"}])
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def example() -> Any:
    path = Path(__file__).parents[2] / "examples" / "own_network.py"
    spec = importlib.util.spec_from_file_location("own_network", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_network_of_ones_own_is_trained_and_exported_and_must_be_there_when_its_run_goes_on(
    example: Any, tables: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    settings = {"backbone": example.BACKBONE, "size_px": 64, "batch_size": 8}
    phases = [*HEAD, {"name": "last", "unfreeze": 1, "epochs": 1}]
    net: torch.nn.Module = example.Net(weights="random")
    before = net.xmin.weight.clone()
    with monkeypatch.context() as patch:
        patch.setattr("headstart.training.upper.make_ready", stop)
        with pytest.raises(KeyboardInterrupt):
            hs.train(tables["box"], tmp_path / "run", network=net, phases=phases, **settings)
    with pytest.raises(ConfigError, match=rf"hs.resume\(.{re.escape(str(tmp_path))}/run., network=net\)"):
        hs.resume(tmp_path / "run")
    run = hs.resume(tmp_path / "run", network=net)
    assert not torch.equal(net.xmin.weight, before)
    assert run.metrics["head"]["kind"] == "own"
    (prediction,) = hs.load(run.path).predict(tables["box"].parent / "0.jpg")
    assert prediction.box is not None
    with pytest.raises(UsageError, match="a network that its user wrote"):
        load_network(run.path / "model.safetensors")


def test_a_crop_that_loses_boxes_is_refused(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    rows = []
    for i in range(12):
        paint(tmp_path / f"{i}.png", generator, (0, 0, 8, 40), (200, 0, 0))
        rows.append([f"{i}.png", 0, 0, 8, 40])
    table = write_table(tmp_path / "edge.csv", ["image", "xmin", "ymin", "xmax", "ymax"], rows)
    with pytest.raises(DataError, match="less than 50% of the box in 12 of 12"):
        hs.train(table, tmp_path / "run", resize="crop", phases=HEAD, **TINY)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("resnet18", "it must be an instance of torch.nn.Module"),
        (torch.nn.Flatten(), "no parameters"),
        (torch.nn.Linear(7, 4), "fails on two images of 64 × 64"),
    ],
)
def test_what_is_no_network_is_refused(
    tables: dict[str, Path], tmp_path: Path, network: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        hs.train(tables["box"], tmp_path / "run", network=network, size_px=64)


def test_columns_stand_in_one_order_whatever_order_scores_come_in() -> None:
    val = {"loss": 1.0, "iou": 0.5, "iou50": 0.4}
    backwards = dict(reversed(val.items()))
    rows = [
        EpochRecord("a", 1, {"loss": 1.0, "iou": 0.5}, each, 0.1, 1.0).flat() for each in (val, backwards)
    ]
    assert list(rows[0]) == list(rows[1])
    assert list(rows[0])[2:7] == ["train_loss", "train_iou", "val_loss", "val_iou", "val_iou50"]


def test_a_network_with_the_wrong_outputs_is_refused(
    example: Any, tables: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"shape \(2, 4\) for two images.*needs \(2, 3\)"):
        hs.train(
            tables["multilabel"],
            tmp_path / "run",
            network=example.Net(weights="random"),
            backbone=example.BACKBONE,
            size_px=64,
        )
