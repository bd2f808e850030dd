"""The whole story on small photos, with a network of random weights."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch

import headstart as hs
from headstart.answers.evaluate import evaluate
from headstart.data.check import check_images
from headstart.data.sources.folder import read_folder
from headstart.data.split import split_dataset
from headstart.errors import ConfigError, DataError, RunFolderError, UnknownBackboneError
from headstart.model.backbones import create_native, resolve
from headstart.model.freeze import digest
from headstart.products.product import PRODUCTS
from headstart.products.safetensors import load_network
from headstart.training.run.run_folder import RunFolder

TINY: dict[str, Any] = {"backbone": "timm/test_resnet", "weights": "random", "size_px": 32, "batch_size": 8}
HEAD_THEN_ALL = [
    {"name": "probe", "unfreeze": "head", "epochs": 2, "head_lr": 0.05},
    {"name": "last", "unfreeze": 1, "epochs": 1, "head_lr": 0.001},
    {"name": "everything", "unfreeze": "all", "epochs": 1, "head_lr": 0.0005, "optimizer": "adamw"},
]


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture(scope="module")
def result(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> hs.TrainResult:
    return hs.train(photos, tmp_path_factory.mktemp("runs") / "run", phases=HEAD_THEN_ALL, **TINY)


def test_a_run_folder_holds_what_is_promised(result: hs.TrainResult) -> None:
    names = {path.name for path in result.path.iterdir()}
    assert names == {
        *PRODUCTS,
        "config.toml",
        "history.csv",
        "metrics.json",
        "quarantine.csv",
        "curves.png",
        "photos.csv",
        "findings.csv",
        "model.safetensors",
        "model.onnx",
    }
    assert not list(result.path.rglob(".*"))  # no temporary files left


def test_the_metrics_are_those_of_the_contract(result: hs.TrainResult) -> None:
    metrics = json.loads((result.path / "metrics.json").read_text())
    assert metrics == result.metrics
    assert metrics["task"] == "classification"
    assert metrics["backbone"] == "timm/test_resnet.r160_in1k"
    assert (metrics["weights"], metrics["weights_from"]) == ("random", {"kind": "random"})
    assert metrics["class_names"] == ["blue", "green", "red"]
    assert metrics["images"] == {
        "found": 48,
        "used": 48,
        "quarantined": 0,
        "ignored": 0,
        "train": 30,
        "val": 6,
        "test": 12,
        "shared": 0,
    }
    assert [phase["name"] for phase in metrics["phases"]] == ["probe", "last", "everything"]
    assert [len(phase["epochs"]) for phase in metrics["phases"]] == [2, 1, 1]
    scores = ("loss", "accuracy", "calibrated_loss", "balanced_accuracy", "macro_f1")
    val = {f"val_{name}" for name in scores}
    keys = {"epoch", "train_loss", "train_accuracy", *val, "lr", "seconds"}
    assert set(metrics["phases"][0]["epochs"][0]) == keys
    intervals = {f"{name}_interval" for name in val - {"val_calibrated_loss"}}
    assert set(metrics["best"]) == {"phase", "epoch", *val, *intervals}
    assert {"loss", "accuracy"} <= set(metrics["test"])
    assert {"total", "features", "train", "export"} <= set(metrics["seconds"])
    assert metrics["versions"]["torch"] == torch.__version__


def test_the_best_epoch_is_the_one_of_least_loss_after_the_best_temperature(result: hs.TrainResult) -> None:
    rows = read_csv(result.path / "history.csv")
    assert [(row["phase"], row["epoch"]) for row in rows] == [
        ("probe", "1"),
        ("probe", "2"),
        ("last", "1"),
        ("everything", "1"),
    ]
    best = min(rows, key=lambda row: (float(row["val_calibrated_loss"]), float(row["val_loss"])))
    assert (best["phase"], int(best["epoch"])) == (
        result.metrics["best"]["phase"],
        result.metrics["best"]["epoch"],
    )


def test_the_model_file_is_the_best_epochs_whatever_was_trained_later(photos: Path, tmp_path: Path) -> None:
    phases = [
        {"name": "good", "optimizer": "exact"},
        {"name": "ruin", "unfreeze": "all", "epochs": 2, "head_lr": 0.03},
        {"name": "head", "unfreeze": "head", "epochs": 1, "head_lr": 1e-6},
    ]
    run = hs.train(photos, tmp_path / "run", phases=phases, val=photos / "test", **TINY)
    best = run.metrics["best"]
    assert best["phase"] == "good"
    assert run.metrics["phases"][1]["epochs"][-1]["val_loss"] > 2 * best["val_loss"]
    evaluation = evaluate(hs.load(run.path), photos, "test")
    assert evaluation.scores.loss == pytest.approx(best["val_loss"], rel=1e-3)
    assert evaluation.scores.accuracy == best["val_accuracy"]


def test_the_model_files_agree_with_each_other_and_with_the_test_score(
    result: hs.TrainResult, photos: Path
) -> None:
    paths = sorted((photos / "test").rglob("*.jpg"))
    predictions = hs.load(result.path).predict(paths)
    right = [
        prediction.label == path.parent.name for path, prediction in zip(paths, predictions, strict=True)
    ]
    assert np.mean(right) == pytest.approx(result.metrics["test"]["accuracy"])
    network, info = load_network(result.path / "model.safetensors")
    assert info == dataclasses.replace(hs.load(result.path).info, self_test=None)
    plain = timm.create_model("test_resnet", num_classes=3)
    plain.load_state_dict(network.state_dict(), strict=True)


def test_the_score_is_learned(result: hs.TrainResult) -> None:
    assert result.metrics["best"]["val_accuracy"] == 1.0  # three colours are easy even for random features


def test_one_seed_gives_one_model_bit_for_bit_and_another_seed_another(
    result: hs.TrainResult, photos: Path, tmp_path: Path
) -> None:
    torch.randn(5)  # what ran before must not matter
    moved = shutil.copytree(photos, tmp_path / "moved")
    again = hs.train(moved, tmp_path / "again", phases=HEAD_THEN_ALL, **TINY)
    other = hs.train(photos, tmp_path / "other", phases=HEAD_THEN_ALL, seed=1, **TINY)
    for name in ("model.safetensors", "model.onnx"):
        assert (again.path / name).read_bytes() == (result.path / name).read_bytes()
        assert (other.path / name).read_bytes() != (result.path / name).read_bytes()


def test_training_leaves_torch_as_it_was(photos: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    hs.train(photos, tmp_path / "run", phases=[{"epochs": 1}], **TINY)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()


def test_frozen_stages_are_those_of_the_pretrained_network(photos: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "weights.pth"
    plain = create_native(resolve(TINY["backbone"]))
    torch.save(plain.state_dict(), weights)
    phases = [{"name": "last", "unfreeze": 1, "epochs": 2, "head_lr": 0.001}]
    run = hs.train(photos, tmp_path / "run", phases=phases, **TINY | {"weights": weights})
    trained, _ = load_network(run.path / "model.safetensors")
    for name in ("conv1", "bn1", "layer1", "layer2", "layer3"):
        assert digest(trained.get_submodule(name)) == digest(plain.get_submodule(name)), name
    assert digest(trained.layer4) != digest(plain.layer4)
    # Norm statistics stand still in the unfrozen part too; its weights do not.
    assert torch.equal(trained.layer4[0].bn1.running_mean, plain.layer4[0].bn1.running_mean)
    assert not torch.equal(trained.layer4[0].conv1.weight, plain.layer4[0].conv1.weight)


def test_a_photo_that_cannot_be_read_is_quarantined_and_training_goes_on(
    make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    data = make_photos(tmp_path / "photos", {"": 5})
    (data / "red" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 not much of a photo")
    (data / "README.txt").write_text("about these photos")
    run = hs.train(data, tmp_path / "run", phases=[{"epochs": 1}], **TINY)
    images = run.metrics["images"]
    assert (images["found"], images["used"], images["quarantined"], images["ignored"]) == (17, 15, 1, 1)
    (row,) = read_csv(run.path / "quarantine.csv")
    assert row["path"].endswith("broken.jpg")
    assert "truncated or damaged JPEG" in row["reason"]


def test_photos_in_both_given_splits_are_counted_and_named(
    make_photos: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = make_photos(tmp_path / "photos", {"train": 4, "val": 2})
    shutil.copy(data / "train" / "red" / "red0.jpg", data / "val" / "red" / "same.jpg")
    run = hs.train(data, tmp_path / "run", phases=[{"epochs": 1}], **TINY)
    assert run.metrics["images"]["shared"] == 1
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "exact copy of a training" in line)
    assert "same.jpg" in line


def test_numbers_are_shown_while_training(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hs.train(photos, tmp_path / "run", phases=[{"name": "probe", "epochs": 2}], **TINY)
    captured = capsys.readouterr()
    assert captured.out == ""
    for words in (
        "48 files found = 48 used + 0 quarantined + 0 ignored",
        "probe 1/2",
        "val loss",
        "accuracy",
    ):
        assert words in captured.err
    assert "\x1b" not in captured.err  # readable when piped


WRONG = [
    ({"backbone": "resnet81"}, UnknownBackboneError, "Did you mean 'resnet"),
    (
        {"phases": [{"unfreeze": "layer9"}]},
        UnknownBackboneError,
        "^Phase 'phase1' .*stage 'layer9'",
    ),
    ({"phases": [{"unfreeze": 9}]}, UnknownBackboneError, "last 9 stages"),
    (
        {"phases": [{"optimizer": "exact", "unfreeze": 1}]},
        ConfigError,
        "one linear layer.* adamw or sgd",
    ),
    ({"recipe": "prob"}, ConfigError, "Did you mean 'probe'"),
    ({"device": "mps"}, ConfigError, "device 'mps' is not available on this machine"),
    ({"precision": "fp16", "device": "cpu"}, ConfigError, "fp16"),
    ({"val": "nowhere"}, DataError, "nowhere"),
    ({"val": 1.5}, ConfigError, "1.5"),
]


@pytest.mark.parametrize(("settings", "error", "told"), WRONG, ids=lambda v: str(v)[:50])
def test_a_wrong_command_is_told_and_leaves_no_run_folder(
    settings: dict[str, Any], error: type[Exception], told: str, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=told):
        hs.train(photos, tmp_path / "run", **TINY | settings)
    assert not (tmp_path / "run").exists()


def test_a_stage_that_does_not_exist_is_told_with_its_phase_and_file(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[[phases]]\nname = "deep"\nunfreeze = "layer9"\n')
    with pytest.raises(
        UnknownBackboneError, match=r"mine.toml: phase 'deep' .*Did you mean 'layer"
    ) as caught:
        hs.train(photos, tmp_path / "run", recipe=tmp_path / "mine.toml", **TINY)
    assert str(caught.value).startswith(str(tmp_path))


def test_a_run_folder_of_another_run_is_refused(result: hs.TrainResult, photos: Path) -> None:
    before = (result.path / "config.toml").read_bytes()
    with pytest.raises(RunFolderError, match="already holds a run"):
        hs.train(photos, result.path, **TINY)
    assert (result.path / "config.toml").read_bytes() == before


def test_an_existing_folder_that_is_no_run_is_used_and_what_is_in_it_kept(
    photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    hs.train(photos, tmp_path / "run", phases=[{"epochs": 1}], **TINY)
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "run" / "model.onnx").exists()


def test_runs_are_named_after_their_data_and_counted(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = check_images(read_folder(photos))
    splits = split_dataset(dataset, val_fraction=0.2, seed=0)
    made = []
    for _ in range(3):
        run = RunFolder(hs.TrainConfig.from_settings(photos), {})
        run.begin(None, dataset, splits)
        made.append(run.path)
    assert [str(path) for path in made] == ["runs/photos", "runs/photos-2", "runs/photos-3"]


@pytest.mark.slow
def test_two_processes_train_as_one(photos: Path, tmp_path: Path) -> None:
    # 30 training photos in steps of 29: in the second step one process has no photo. The weights are a
    # file's, so that norms count as pretrained: those that learn see other photos in each process.
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "weights.pth")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        '[[phases]]\nname = "head"\nepochs = 3\nhead_lr = 0.01\n\n'
        '[[phases]]\nname = "last"\nunfreeze = 1\nepochs = 2\nhead_lr = 0.001\noptimizer = "adamw"\n'
        "wise_ft = true\n"
    )
    settings = TINY | {"weights": str(tmp_path / "weights.pth"), "batch_size": 29, "recipe": str(recipe)}
    hs.train(photos, tmp_path / "one", **settings)
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    two += ["headstart", "train", str(photos), "--out", str(tmp_path / "two")]
    two += [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    done = subprocess.run(two, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "two")]
    assert metrics[0]["images"] == metrics[1]["images"]
    assert metrics[1]["best"]["val_accuracy"] == pytest.approx(metrics[0]["best"]["val_accuracy"], abs=1 / 6)
    networks = [load_network(tmp_path / name / "model.safetensors")[0] for name in ("one", "two")]
    for name, tensor in networks[0].state_dict().items():
        torch.testing.assert_close(networks[1].state_dict()[name], tensor, atol=2e-3, rtol=0, msg=name)


def test_a_time_budget_ends_with_the_best_model(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    phases = [
        {"name": "long", "unfreeze": 1, "epochs": 500, "head_lr": 1e-3},
        {"name": "never", "unfreeze": "all", "epochs": 500},
    ]
    run = hs.train(photos, tmp_path / "run", max_minutes=1e-4, **(TINY | {"phases": phases}))
    first, second = run.metrics["phases"]
    (epoch,) = first["epochs"]
    assert epoch["completed"] == 0.25  # one of four batches, and it does not look like more
    assert [row["completed"] for row in read_csv(run.path / "history.csv")] == ["0.25"]
    assert "cut short at 25%" in capsys.readouterr().err
    assert second["epochs"] == []
    assert hs.load(run.path).predict(sorted((photos / "test").rglob("*.jpg"))[:1])


@pytest.mark.slow
def test_mixtures_of_weights_are_kept_where_they_are_better(photos: Path, tmp_path: Path) -> None:
    # Far too fast, so that a little of it is better than all of it.
    fine = {"name": "fine", "unfreeze": 1, "epochs": 1, "head_lr": 0.05, "optimizer": "sgd", "wise_ft": True}
    phases = [{"name": "probe", "epochs": 3, "head_lr": 1e-4}, fine]
    run = hs.train(
        photos, tmp_path / "run", val=photos / "test", **(TINY | {"backbone": "resnet18", "phases": phases})
    )
    best = run.metrics["best"]
    assert 0 < best["share"] < 1
    assert best["val_loss"] < min(row["val_loss"] for each in run.metrics["phases"] for row in each["epochs"])
    evaluation = evaluate(hs.load(run.path), photos, "test")
    assert evaluation.scores.loss == pytest.approx(best["val_loss"], rel=1e-3)


@pytest.mark.slow
def test_what_ends_a_phase_early_and_what_was_tried_in_vain_is_said(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    phases = [
        {"name": "probe", "optimizer": "exact"},
        {"name": "fine", "unfreeze": 1, "epochs": 9, "patience": 1, "head_lr": 0.3, "optimizer": "sgd"},
        {"name": "still", "unfreeze": 1, "epochs": 1, "head_lr": 1e-12, "optimizer": "sgd", "wise_ft": True},
    ]
    # With norms that learn, nothing would stand still.
    torch.save(__import__("torchvision").models.resnet18().state_dict(), tmp_path / "weights.pth")
    settings = TINY | {"backbone": "resnet18", "phases": phases, "weights": tmp_path / "weights.pth"}
    hs.train(photos, tmp_path / "run", **settings)
    told = capsys.readouterr().err
    assert "fine ends early: no improvement for 1 epoch (patience = 1)" in told
    assert "still: no mixture with the weights before the phase is better" in told
    assert "still ends early" not in told


@pytest.mark.parametrize("name", ["metrics.json", "model.onnx", "checkpoints"])
def test_a_folder_with_files_of_a_runs_names_is_not_taken(name: str, photos: Path, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(RunFolderError, match=name):
        hs.train(photos, tmp_path, **TINY)


def test_a_configuration_trains_as_its_settings_do(photos: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"backbone": "timm/test_resnet", "weights": "random", "size_px": 32}
    settings["phases"] = [hs.PhaseConfig("short", epochs=1)]
    config = hs.TrainConfig(data=str(photos), batch_size=8, **settings)
    by_config = hs.train(config=config, out=tmp_path / "a")
    by_name = hs.train(photos, tmp_path / "b", batch_size=8, **settings)
    weights = [(run.path / "model.safetensors").read_bytes() for run in (by_config, by_name)]
    assert weights[0] == weights[1]
    with pytest.raises(hs.ConfigError, match="Both config and seed"):
        hs.train(config=config, seed=1)
