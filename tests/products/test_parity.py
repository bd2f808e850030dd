from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import headstart as hs
from headstart import tasks
from headstart.errors import ParityError
from headstart.images.photo import Photo
from headstart.images.settings import Preprocessing
from headstart.inference.model_file import ModelInfo, seal_onnx
from headstart.inference.predictor import Predictor
from headstart.model.backbones import create_native, resolve
from headstart.model.head import replace_head
from headstart.products.onnx import onnx_graph
from headstart.products.parity import check_parity
from headstart.products.safetensors import load_network, save_network
from headstart.tasks.classification import Classification
from headstart.tasks.prediction import Prediction

INFO = ModelInfo("classification", "timm/test_resnet.r160_in1k", ("a", "b", "c"), Preprocessing(size_px=32))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    network = replace_head(create_native(resolve("timm/test_resnet")), 3).eval()
    nn.init.normal_(network.fc.weight, std=0.01)
    return network


def exported(network: nn.Module) -> Predictor:
    return Predictor.from_bytes(seal_onnx(onnx_graph(network, INFO), INFO))


def test_an_exported_model_agrees_with_its_network(network: nn.Module, photos: Path) -> None:
    test = [Photo(str(path)) for path in sorted((photos / "test").rglob("*.jpg"))]
    parity = check_parity(exported(network), network, test)
    assert parity.num_photos == 12
    assert parity.max_difference < 1e-5


def test_a_task_may_have_other_outputs_than_one_for_each_class(
    network: nn.Module, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Steps(Classification):
        name = "steps"
        activation = "sigmoid"  # type: ignore[assignment]

        def num_logits(self, num_classes: int) -> int:
            return num_classes - 1

        def prediction(self, path: Any, row: np.ndarray, *_: Any) -> Prediction:
            shares = -np.diff(row, prepend=1, append=0)
            return Prediction(path, "a", shares[0], dict(zip("abcd", shares.tolist(), strict=True)))

    monkeypatch.setattr(tasks, "TASKS", {"steps": Steps()})
    info = dataclasses.replace(INFO, task="steps", class_names=tuple("abcd"))
    predictor = Predictor.from_bytes(seal_onnx(onnx_graph(network, info), info))
    red = [Photo(str(photos / "test" / "red" / "red0.jpg"))]
    assert check_parity(predictor, network, red).max_difference < 1e-5
    with torch.no_grad():
        network.fc.bias[1] += 0.1
        try:
            with pytest.raises(ParityError, match=r"red0\.jpg an answer differs by 0\.0"):
                check_parity(predictor, network, red)
        finally:
            network.fc.bias[1] -= 0.1


def test_a_model_that_disagrees_is_an_error_that_names_the_photo(network: nn.Module, photos: Path) -> None:
    predictor = exported(network)
    with torch.no_grad():
        network.fc.bias[1] += 0.1
        try:
            with pytest.raises(ParityError, match=r"red0\.jpg an answer differs by 0\.0"):
                check_parity(predictor, network, [Photo(str(photos / "test" / "red" / "red0.jpg"))])
        finally:
            network.fc.bias[1] -= 0.1


def test_a_training_whose_export_disagrees_fails_and_leaves_no_onnx(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(network: nn.Module, info: ModelInfo) -> bytes:
        with torch.no_grad():
            network.fc.bias += torch.tensor([0.0, 1e4, 0.0])
            model = onnx_graph(network, info)
            network.fc.bias -= torch.tensor([0.0, 1e4, 0.0])
        return model

    monkeypatch.setattr("headstart.training.finish.onnx_graph", wrong)
    with pytest.raises(ParityError):
        hs.train(
            photos,
            tmp_path / "run",
            backbone="timm/test_resnet",
            weights="random",
            size_px=32,
            recipe="probe",
            head="linear",
        )
    assert not (tmp_path / "run" / "model.onnx").exists()


@pytest.mark.parametrize(
    "name", ["timm/test_resnet", "mnasnet0_5", pytest.param("googlenet", marks=pytest.mark.slow)]
)
def test_a_saved_network_comes_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    backbone = resolve(name)
    network = replace_head(create_native(backbone), 3)
    info = ModelInfo("classification", backbone.full_name, ("a", "b", "c"), backbone.preprocessing)
    for file in ("one", "two"):
        save_network(tmp_path / file, network, info)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    loaded, read = load_network(tmp_path / "one")
    assert read == info
    for key, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor)
