"""Every form of a finished model has the calibrated probabilities, and training does not see them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.numpy
import torch
from tests.labelled import INFOS, SQUASH
from tests.labelled import photos as photos_of
from torch import Tensor, nn

import headstart as hs
from headstart.config import PhaseConfig
from headstart.data.split import Splits
from headstart.images.preprocess import load_pixels
from headstart.inference.model_file import ModelInfo
from headstart.model.backbones import create_native, resolve
from headstart.model.head import put_head, replace_head
from headstart.model.stages_head import with_stages_head
from headstart.probe.photos import OutOfFold
from headstart.products import calibration
from headstart.products.calibration import Calibration, Quality, calibrate
from headstart.products.multiplied import multiply_outputs
from headstart.products.safetensors import load_network
from headstart.records import Record
from headstart.training.finish import head_is_solved

GROUND: dict[str, Any] = {"recipe": "probe", "size_px": 32, "device": "cpu"}
UPPER: dict[str, Any] = {
    "backbone": "timm/test_resnet",
    "weights": "random",
    "size_px": 32,
    "batch_size": 12,
    "device": "cpu",
    "phases": [
        {"name": "head", "optimizer": "exact"},
        {"name": "fine", "unfreeze": 1, "epochs": 1, "head_lr": 10.0},  # which the loss is lower after
    ],
}
SOLVED_BY_TORCH = UPPER | {"phases": UPPER["phases"][:1]}
HANDED_OVER = UPPER | {"phases": [UPPER["phases"][0], UPPER["phases"][1] | {"head_lr": 1e-8}]}
"""Fine-tuning does not lower the loss, so the best weights are those of the solved head."""


def drawn(task: str, number: int, factor: float, seed: int = 0) -> tuple[ModelInfo, list[Record], np.ndarray]:
    """Photos whose labels are drawn from calibrated logits, and these logits times a factor."""
    info = INFOS[task]
    records, outputs = photos_of(info, number)
    generator = np.random.default_rng(seed)
    logits = outputs[:, -len(info.class_names) :] / 2
    if info.task == "multilabel":
        has = generator.random(logits.shape) < 1 / (1 + np.exp(-logits))
        labels = [{"labels": tuple(np.flatnonzero(row).tolist())} for row in has]
    else:
        labels = [{"label": int(each)} for each in (logits + generator.gumbel(size=logits.shape)).argmax(1)]
    records = [
        dataclasses.replace(record, **of_photo, group=None)  # type: ignore[arg-type]
        for record, of_photo in zip(records, labels, strict=True)
    ]
    outputs[:, -len(info.class_names) :] = factor * logits
    return info, records, outputs


def splits_of(val: list[Record], train: list[Record] | None = None) -> Splits:
    return Splits(train=tuple(train or ()), val=tuple(val), test=(), shared=())


@pytest.mark.parametrize("task", ["classification", "multilabel", "box with classes"])
@pytest.mark.parametrize("factor", [0.4, 3.0])
def test_logits_that_are_too_sure_or_not_sure_enough_are_divided(task: str, factor: float) -> None:
    info, records, outputs = drawn(task, 500, factor)
    found = calibrate(info, splits_of(records), outputs, None)
    assert found is not None
    assert len(found.temperatures) == (10 if task == "multilabel" else 1)
    assert found.temperatures == pytest.approx([factor] * len(found.temperatures), rel=0.35)
    assert found.after.loss < found.before.loss
    assert found.after.error < found.before.error
    assert (found.fitted_on, found.num_photos) == ("val", 500)
    assert "optimistic" in found.sentence
    factors = found.factors(info)
    assert factors.shape == (info.num_outputs,)
    assert (factors[: info.num_outputs - 10] == 1).all()  # the sides of a box


@pytest.mark.parametrize("task", ["classification", "multilabel"])
def test_logits_that_are_calibrated_stay_as_they_are(task: str) -> None:
    left = [
        np.array(found.temperatures) == 1
        for seed in range(4)
        for info, records, outputs in [drawn(task, 300, 1.0, seed)]
        if (found := calibrate(info, splits_of(records), outputs, None))
    ]
    assert np.mean(np.concatenate(left)) > 0.7


def test_the_answers_out_of_fold_are_used_if_there_are_any() -> None:
    info, records, outputs = drawn("classification", 400, 2.0)
    fold = np.arange(400) % 5
    fold[:10] = -1
    found = calibrate(info, splits_of(records[:50], records), outputs[:50] * 9, OutOfFold(outputs, fold))
    assert found is not None
    assert (found.fitted_on, found.num_photos) == ("out-of-fold", 390)
    assert found.temperatures[0] == pytest.approx(2, rel=0.25)
    assert "390 out-of-fold answers" in found.sentence


def test_with_too_few_photos_nothing_is_fitted() -> None:
    info, records, outputs = drawn("classification", 19, 5.0)
    for number in (1, 4, 19):
        found = calibrate(info, splits_of(records[:number]), outputs[:number], None)
        assert found is not None
        assert not found.is_needed


def test_logits_that_are_right_for_every_photo_do_not_become_certain() -> None:
    info, records, outputs = drawn("classification", 300, 0.5)
    records = [
        dataclasses.replace(record, label=int(each))
        for record, each in zip(records, outputs.argmax(1), strict=True)
    ]
    found = calibrate(info, splits_of(records), outputs, None)
    assert found is not None
    assert found.is_needed
    logits = outputs.astype(np.float64) / found.temperatures
    sure = 1 / np.exp(logits - logits.max(1, keepdims=True)).sum(1)
    assert 0.9 < sure.mean() < 0.999


def test_photos_of_adjusted_logits_count_by_the_frequency_of_their_class() -> None:
    """With tau 1, a photo of a class that is a hundred times as rare counts a hundred times."""
    info, records, outputs = drawn("classification", 600, 1.0)
    rare = [row for row, record in enumerate(records) if record.label < 5][:60]
    kept = [row for row, record in enumerate(records) if record.label >= 5] + rare
    outputs[:, :5] *= 6  # the rare classes are too sure of themselves
    chosen = [records[row] for row in kept]
    plain, adjusted = (calibrate(info, splits_of(chosen), outputs[kept], None, tau=tau) for tau in (0.0, 1.0))
    assert plain is not None
    assert adjusted is not None
    assert adjusted.temperatures[0] != plain.temperatures[0]


@pytest.mark.parametrize("task", ["one number", "two numbers", "box", "box of one class"])
def test_what_has_no_probabilities_is_not_calibrated(task: str) -> None:
    info = INFOS[task]
    records, outputs = photos_of(info, 30)
    assert calibrate(info, splits_of(records), outputs, None) is None


@pytest.fixture
def halved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every model gets the temperature 0.5."""
    monkeypatch.setattr(calibration, "_temperature", lambda *_: 0.5)


def in_plain_onnx_runtime(run: hs.TrainResult, photo: Path) -> tuple[np.ndarray, ...]:
    """The logits and the probabilities of a photo by ONNX Runtime alone."""
    pixels = load_pixels(photo.read_bytes(), run.predictor.info.preprocessing, path=str(photo))
    session = onnxruntime.InferenceSession(run.path / "model.onnx")
    logits, probabilities = session.run(["logits", "probabilities"], {"images": pixels[None]})
    return logits[0], probabilities[0]


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(GROUND, id="ground"),
        pytest.param(UPPER, id="steps"),
        pytest.param(SOLVED_BY_TORCH, id="solved", marks=pytest.mark.slow),
        pytest.param(HANDED_OVER, id="handed-over"),
    ],
)
def test_the_files_are_calibrated_and_the_history_is_not(
    settings: dict[str, Any], photos: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    plain = hs.train(photos, tmp_path / "plain", **settings)
    assert not any(each != 1 for each in plain.metrics["calibration"]["temperatures"])
    request.getfixturevalue("halved")
    run = hs.train(photos, tmp_path / "run", **settings)
    photo = photos / "test" / "red" / "red0.jpg"
    (before, _), (logits, probabilities) = (in_plain_onnx_runtime(each, photo) for each in (plain, run))
    np.testing.assert_allclose(logits, 2 * before, rtol=1e-4, atol=1e-5)
    shares = np.exp(logits - logits.max())
    np.testing.assert_allclose(probabilities, shares / shares.sum(), atol=1e-6)
    np.testing.assert_allclose(run.predictor.predict_proba(photo)[0], probabilities, atol=1e-6)

    for name in ("val_loss", "val_accuracy", "train_loss"):
        assert [row[name] for row in run.history] == [row[name] for row in plain.history]
    found = run.metrics["calibration"]
    assert found["temperatures"] == [0.5]
    assert run.predictor.info.temperatures == (0.5,)
    assert plain.predictor.info.temperatures == ()
    assert found["fitted_on"] == ("val" if settings is UPPER else "out-of-fold")
    assert found["loss"] == pytest.approx(run.metrics["best"]["val_loss"], rel=1e-5)
    assert found["loss_before"] == pytest.approx(plain.metrics["best"]["val_loss"], rel=1e-5)
    assert found["is_in_weights"]

    answers, others = run.answers, plain.answers
    assert answers.path == others.path
    factor = [2 if settings is not UPPER or each != "out-of-fold" else 1 for each in answers.source]
    expected = np.array(factor)[:, None] * others.outputs
    np.testing.assert_allclose(answers.outputs, expected, rtol=1e-4, atol=1e-5)
    evaluation = hs.evaluate(run.path, photos, split="test")
    assert evaluation.scores.loss == pytest.approx(run.metrics["test"]["loss"], rel=1e-5)

    if settings is not GROUND:
        again = hs.export(run.path, "onnx", tmp_path / "again.onnx").path
        np.testing.assert_allclose(hs.load(again).predict_proba(photo)[0], probabilities, atol=1e-5)
        network, info = load_network(run.path / "model.safetensors")
        assert info.task == "classification"
        assert not network.training
    else:
        weights = [safetensors.numpy.load_file(each.path / "model.safetensors") for each in (run, plain)]
        np.testing.assert_array_equal(weights[0]["head.weight"], 2 * weights[1]["head.weight"])


@pytest.mark.parametrize(
    ("optimizers", "unfrozen", "best", "share", "expected"),
    [
        (["exact"], ["head"], 0, 1.0, True),
        (["adam"], ["head"], 0, 1.0, False),
        (["exact", "adamw"], ["head", 1], 1, 1.0, False),
        (["exact", "adamw"], ["head", 1], 1, 0.2, False),
        (["exact", "adamw"], ["head", 1], 1, 0.0, True),
        (["exact", "adamw"], ["head", 1], 0, 1.0, True),
        (["exact", "adamw", "exact"], ["head", 1, "head"], 2, 1.0, False),
        (["exact", "adamw", "exact"], ["head", 1, "head"], 0, 1.0, False),
    ],
)
def test_whether_the_best_weights_have_a_solved_head(
    optimizers: list[Any], unfrozen: list[Any], best: int, share: float, expected: bool
) -> None:
    phases = [
        PhaseConfig(f"phase{number}", unfreeze, epochs=1, optimizer=optimizer)
        for number, (optimizer, unfreeze) in enumerate(zip(optimizers, unfrozen, strict=True))
    ]
    assert head_is_solved(phases, f"phase{best}", share) == expected


def test_a_network_of_ones_own_is_calibrated_in_its_graph_alone(
    photos: Path, tmp_path: Path, halved: None
) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, 8, 3, stride=2)
            self.fc = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.conv(x).relu().mean((2, 3)))

    network = Net()
    phases = [{"name": "all", "unfreeze": "all", "epochs": 1}]
    run = hs.train(photos, tmp_path / "run", network=network, phases=phases, size_px=32, batch_size=8)
    assert not run.metrics["calibration"]["is_in_weights"]
    saved = safetensors.numpy.load_file(run.path / "model.safetensors")
    np.testing.assert_array_equal(saved["fc.weight"], network.fc.weight.detach().numpy())
    photo = photos / "test" / "red" / "red0.jpg"
    settings = run.predictor.info.preprocessing
    pixels = load_pixels(photo.read_bytes(), settings, path="")
    mean, std = (torch.tensor(each).reshape(3, 1, 1) for each in (settings.mean, settings.std))
    with torch.no_grad():
        image = torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255
        expected = 2 * network.eval()(((image - mean) / std)[None])[0]
    np.testing.assert_allclose(in_plain_onnx_runtime(run, photo)[0], expected, rtol=1e-3, atol=1e-4)
    assert "Mul" in [node.op_type for node in onnx.load(run.path / "model.onnx").graph.node]


def test_thresholds_of_several_labels_are_chosen_after_calibration(
    photos: Path, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "labels.csv"
    rows = [f"{path},{path.parent.name},{path.parts[-3]}" for path in sorted(photos.rglob("*.jpg"))]
    table.write_text("\n".join(["image,labels,split", *rows]))
    plain = hs.train(table, tmp_path / "plain", **GROUND)
    request.getfixturevalue("halved")
    run = hs.train(table, tmp_path / "run", **GROUND)
    assert run.metrics["calibration"]["temperatures"] == [0.5] * 3
    assert run.predictor.info.temperatures == (0.5,) * 3
    assert run.metrics["best"]["val_f1"] == plain.metrics["best"]["val_f1"]
    assert run.answers.of_source("val").prediction == plain.answers.of_source("val").prediction
    assert run.predictor.info.thresholds != plain.predictor.info.thresholds
    assert (
        "Calibration: temperatures 0.50 to 0.50, fitted on 30 out-of-fold answers" in capsys.readouterr().err
    )


def native(kind: str) -> tuple[nn.Module, ModelInfo]:
    torch.manual_seed(0)
    info = dataclasses.replace(INFOS["classification"], class_names=("a", "b", "c"))
    name = {"conv": "squeezenet1_1", "auxiliary": "googlenet"}.get(kind, "timm/test_resnet")
    network: nn.Module = create_native(resolve(name)).eval()
    if kind == "box":
        info = dataclasses.replace(info, task="box", head="spatial")
        network = put_head(network, "spatial", 7, is_box=True, size_px=32)
    else:
        replace_head(network, 3)
    if kind == "stages":
        found = with_stages_head(network, 32)
        assert found is not None
        network = found
    elif kind == "squared":
        network.fc.register_forward_hook(lambda *told: told[2] ** 2)
    for tensor in network.parameters():
        nn.init.normal_(tensor, std=0.1)
    return network.eval(), info


@pytest.mark.parametrize("kind", ["linear", "conv", "auxiliary", "stages", "box"])
def test_the_last_layer_of_every_kind_of_network_is_multiplied(kind: str) -> None:
    network, info = native(kind)
    size = 64 if kind in ("conv", "auxiliary") else 32
    info = dataclasses.replace(info, preprocessing=dataclasses.replace(SQUASH, size_px=size))
    factors = np.ones(info.num_outputs, np.float32)
    factors[-3:] = [0.5, 2, 3]
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        before = network(images)
        assert multiply_outputs(network, info, factors)
        torch.testing.assert_close(network(images), before * torch.from_numpy(factors), rtol=1e-4, atol=1e-5)


def test_a_network_whose_outputs_are_no_multiple_of_its_last_layer_is_not_changed() -> None:
    network, info = native("squared")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert not multiply_outputs(network, info, np.full(3, 0.5, np.float32))
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_what_is_said_names_what_is_not_calibrated() -> None:
    quality = Quality(0.5, 0.1, 0.02)
    needed = Calibration((0.5, 2.0), "val", 9, quality, quality, is_in_weights=False)
    assert "temperatures 0.50 to 2.00" in needed.sentence
    assert "model.safetensors are not calibrated" in needed.sentence
    assert "not needed" in dataclasses.replace(needed, temperatures=(1.0, 1.0)).sentence
