from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from headstart.model.backbones import create_native, resolve
from headstart.model.to_onnx import to_onnx


@pytest.mark.parametrize(
    "name", ["resnet18", "timm/tf_efficientnet_lite0", pytest.param("vit_b_32", marks=pytest.mark.slow)]
)
def test_an_exported_network_gives_the_same_logits_for_any_batch(name: str) -> None:
    backbone = resolve(name)
    network = create_native(backbone).eval()
    size = backbone.preprocessing.size_px if "vit" in name else 64
    images = torch.randn(3, 3, size, size)
    model = to_onnx(network, images[:2], output_names=["logits"])
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = network(images).numpy()
    for count in (1, 3):
        (logits,) = session.run(["logits"], {"images": images[:count].numpy()})
        np.testing.assert_allclose(logits, expected[:count], atol=1e-3, rtol=1e-3)


def test_exporting_twice_gives_the_same_bytes_and_leaves_modes_alone() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten())
    network[1].eval()
    modes = [module.training for module in network.modules()]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    example = torch.zeros(2, 3, 8, 8)
    assert to_onnx(network, example, output_names=["y"]) == to_onnx(network, example, output_names=["y"])
    assert [module.training for module in network.modules()] == modes
    assert torch.backends.mha.get_fastpath_enabled() == fast_path


def test_the_newer_exporter_stands_behind_the_older_one(monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.onnx.export

    def without_the_older_one(*args: Any, dynamo: bool, **options: Any) -> Any:
        if not dynamo:
            raise RuntimeError("not supported")
        return real(*args, dynamo=True, **options)

    monkeypatch.setattr(torch.onnx, "export", without_the_older_one)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten()).eval()
    images = torch.randn(5, 3, 8, 8)
    model = to_onnx(network, images[:2], output_names=["y"])
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = network(images).numpy()
    np.testing.assert_allclose(session.run(None, {"images": images.numpy()})[0], expected, atol=1e-5)


def test_where_the_older_exporter_fails_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    # Running statistics of single photos: only the newer exporter has them.
    norm = nn.InstanceNorm2d(3, affine=True, track_running_stats=True).eval()
    assert to_onnx(norm, torch.zeros(2, 3, 8, 8))
    assert "graph" not in capfd.readouterr().out
