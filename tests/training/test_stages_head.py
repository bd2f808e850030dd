"""A head that reads several stages: trained, exported, scored, and refused where it has no place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from tests.labelled import in_metrics

import headstart as hs
from headstart.errors import ConfigError, UsageError
from headstart.model.backbones import resolve
from headstart.model.weights import create_pretrained

SETTINGS: dict[str, Any] = {"recipe": "probe", "size_px": 64, "head": "stages", "device": "cpu"}


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> hs.TrainResult:
    return hs.train(photos, tmp_path_factory.mktemp("stages") / "run", **SETTINGS)


def test_the_file_reads_the_stages_and_its_scores_are_those_of_the_run(
    run: hs.TrainResult, photos: Path
) -> None:
    head = run.metrics["head"]
    assert head["kind"] == "stages"
    assert head["stages"][-1] == "stage3"
    assert set(head["stage_errors"]) == {"stage3+last", "stage2+stage3+last"}
    info = run.predictor.info
    assert info.head == "stages"
    assert [stage.removeprefix("stage.") for stage in info.stages] == head["stages"]
    weight = safetensors.numpy.load_file(run.path / "model.safetensors")["head.weight"]
    assert weight.shape == (3, 1280 + {1: 224, 2: 304}[len(info.stages)])
    again = hs.evaluate(run.path, photos / "test")
    assert in_metrics(again) == run.metrics["test"]  # from stored rows and from bytes


@pytest.mark.parametrize(
    "settings",
    [
        {"phases": [{"optimizer": "exact", "augment": "light", "views": 2}]},
        pytest.param({"features": "live"}, marks=pytest.mark.slow),
        {"resize": "pad", "size_px": 96},
    ],
    ids=["views", "live", "other input"],
)
def test_views_and_features_that_are_not_stored_are_read_too(
    settings: dict[str, Any], photos: Path, tmp_path: Path
) -> None:
    run = hs.train(photos, tmp_path / "run", **SETTINGS | settings)
    assert run.metrics["head"]["kind"] == "stages"
    assert run.metrics["parity"]["max_difference"] < 1e-3
    assert in_metrics(hs.evaluate(run.path, photos / "test")) == run.metrics["test"]


def test_the_choice_does_not_depend_on_whether_features_are_stored(photos: Path, tmp_path: Path) -> None:
    runs = [
        hs.train(photos, tmp_path / features, **SETTINGS | {"head": "auto", "features": features}).path
        for features in ("store", "live")
    ]
    for name in ("model.onnx", "model.safetensors", "answers.csv"):
        assert (runs[0] / name).read_bytes() == (runs[1] / name).read_bytes(), name


def test_the_same_photos_give_the_same_bits(run: hs.TrainResult, photos: Path, tmp_path: Path) -> None:
    again = hs.train(photos, tmp_path / "again", **SETTINGS)
    for name in ("model.onnx", "model.safetensors", "answers.csv"):
        assert (again.path / name).read_bytes() == (run.path / name).read_bytes()


def test_the_backbone_of_such_a_run_is_the_start_of_others(run: hs.TrainResult, photos: Path) -> None:
    backbone = resolve("timm/tf_efficientnet_lite0")
    network, source = create_pretrained(backbone, str(run.path))
    official, _ = create_pretrained(backbone)
    for (name, one), other in zip(network.state_dict().items(), official.state_dict().values(), strict=True):
        assert torch.equal(one, other), name
    assert source.kind == "file"
    features = hs.features(photos / "test", backbone=str(run.path / "model.onnx"))
    assert features.num_features == 1280 + {1: 224, 2: 304}[len(run.predictor.info.stages)]


def test_a_network_trained_behind_such_a_head_is_the_start_of_others(photos: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"backbone": "timm/test_resnet", "weights": "random", "size_px": 32}
    phases = [{"name": "head", "optimizer": "exact"}, {"name": "fine", "unfreeze": 1, "epochs": 1}]
    run = hs.train(photos, tmp_path / "run", head="stages", phases=phases, **settings)
    assert run.metrics["head"]["kind"] == "stages"
    saved = safetensors.numpy.load_file(run.path / "model.safetensors")
    network, _ = create_pretrained(resolve("timm/test_resnet"), str(run.path))
    state = network.state_dict()
    names = [name for name in saved if not name.startswith("head.") and name in state]
    assert len(names) > 20
    assert all(np.array_equal(saved[name], state[name].numpy()) for name in names)
    written = hs.export(run.path, "onnx", tmp_path / "again.onnx").path
    assert written.read_bytes() == (run.path / "model.onnx").read_bytes()


def test_the_file_of_a_probe_is_written_again_from_its_weights(
    run: hs.TrainResult, photos: Path, tmp_path: Path
) -> None:
    written = hs.export(run.path, "onnx", tmp_path / "again.onnx").path
    paths = sorted((photos / "test").rglob("*.jpg"))
    again, then = (hs.load(path).predict_proba(paths) for path in (written, run.path))
    np.testing.assert_allclose(again, then, atol=1e-4)


def test_what_needs_a_native_head_says_what_to_do_instead(run: hs.TrainResult, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"reads several stages.*model\.onnx.*--head linear"):
        hs.export(run.path, "pth", tmp_path / "model.pth")
    shown = str(hs.inspect(run.path))
    assert "its head also reads" in shown
    assert "stage4" in shown


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"recipe": "classic"}, "these phases begin with steps"),
        ({"backbone": "timm/test_vit", "weights": "random", "size_px": 160}, "has no earlier stages"),
        (
            {
                "recipe": "auto",
                "phases": [
                    {"name": "head", "optimizer": "exact"},
                    {"name": "fine", "unfreeze": 1, "cutmix": 1.0, "epochs": 1},
                ],
            },
            "cutmix cannot mix",
        ),
    ],
)
def test_it_is_refused_where_it_cannot_be_solved(
    settings: dict[str, Any], told: str, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=told):
        hs.train(photos, tmp_path / "run", **SETTINGS | settings)
    assert not (tmp_path / "run").exists()


def test_numbers_and_labels_may_read_stages(photos: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    files = sorted((photos / "train").rglob("*.jpg"))
    for name in ("numbers", "labels"):
        rows = [
            f"{path},{generator.normal() + ord(path.parent.name[0]):.3f}"
            if name == "numbers"
            else f"{path},{path.parent.name};photo"
            for path in files
        ]
        table = tmp_path / f"{name}.csv"
        table.write_text("\n".join([f"image,{'weight' if name == 'numbers' else 'labels'}", *rows]))
        more = {"target": "weight"} if name == "numbers" else {}
        run = hs.train(table, tmp_path / name, **SETTINGS | more)
        assert run.metrics["head"]["kind"] == "stages"
        assert run.metrics["parity"]["max_difference"] < 1e-3
