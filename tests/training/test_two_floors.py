"""Where the floors meet: what one leaves behind for the other."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

import headstart as hs
from headstart.answers.file import read_answers
from headstart.model.backbones import create_native, resolve
from headstart.products.safetensors import load_network
from headstart.training.run.run_dir import RunDir

SMALL = "timm/test_resnet"
SOLVED_AND_STEPS = [
    {"name": "probe", "optimizer": "exact"},
    {"name": "last", "unfreeze": 1, "epochs": 2, "optimizer": "adamw", "head_lr": 1e-4},
]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(3)
    torch.save(create_native(resolve(SMALL)).state_dict(), path := tmp_path / "small.pth")
    return path


@pytest.fixture
def data(make_photos: Callable[..., Path], tmp_path: Path) -> Path:
    return make_photos(tmp_path / "photos", {"train": 8, "val": 3})


@pytest.mark.slow
def test_a_network_that_pytorch_has_exported_once_is_trained_on_without_it(
    data: Path, weights: Path, tmp_path: Path
) -> None:
    settings = {
        "backbone": SMALL,
        "weights": str(weights),
        "recipe": "probe",
        "size_px": 64,
        "head": "linear",
    }
    first = hs.train(data, tmp_path / "first", **settings)
    code = f"""
import sys
sys.modules["torch"] = sys.modules["timm"] = None
import headstart as hs
hs.train({str(data)!r}, {str(tmp_path / "second")!r}, **{settings!r})
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert f"Backbone {SMALL}" in done.stderr
    assert "weights: export in Headstart's cache, made by timm " in done.stderr
    assert f"torch {torch.__version__}" in done.stderr
    made_first, made_second = (
        json.loads((tmp_path / name / "metrics.json").read_text())["weights_from"]
        for name in ("first", "second")
    )
    assert made_first["path"] == str(weights)
    assert made_second == {"kind": "export", "exported_by": made_first["exported_by"]}
    for name in ("model.onnx", "answers.csv"):
        assert (tmp_path / "second" / name).read_bytes() == (first.path / name).read_bytes()
    with open(first.path / "model.safetensors", "rb") as file:  # the backbone's weights are elsewhere
        assert set(safetensors.numpy.load(file.read())) == {"head.weight", "head.bias"}
    with pytest.raises(hs.WeightsError, match="--weights FILE"):
        load_network(first.path / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("head", ["linear", "stages"])
def test_a_probe_of_the_default_backbone_is_a_network_and_can_be_fine_tuned_later(
    head: str, data: Path, tmp_path: Path
) -> None:
    probe = hs.train(data, tmp_path / "probe", recipe="probe", head=head, size_px=64)
    network, info = load_network(probe.path / "model.safetensors")
    photo = next((data / "val").rglob("*.jpg"))
    from headstart.images.file import read_file
    from headstart.images.preprocess import load_pixels
    from headstart.model.normalise import Normalise

    pixels = torch.from_numpy(load_pixels(read_file(str(photo)), info.preprocessing, path="x"))[None]
    with torch.inference_mode():
        logits = network(Normalise(info.preprocessing)(pixels))[0].numpy()
    (row,) = probe.predictor.outputs([photo])
    assert np.allclose(row, logits, atol=1e-3)

    settings: dict[str, Any] = {"weights": probe.path, "head": head, "size_px": 64}
    tuned = hs.train(data, tmp_path / "tuned", phases=SOLVED_AND_STEPS, **settings)
    then, now = (each.metrics["phases"][0]["epochs"][0] for each in (probe, tuned))
    assert now["val_loss"] == pytest.approx(then["val_loss"], rel=1e-3, abs=1e-5)  # it starts from that head


def test_training_photos_of_a_fine_tuned_run_are_answered_out_of_fold_also_after_it_was_stopped(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"backbone": SMALL, "weights": "random", "phases": SOLVED_AND_STEPS, "size_px": 64}
    whole = hs.train(data, tmp_path / "whole", **settings)
    assert whole.metrics["answers"] == {"out_of_fold": 24, "without": 0, "val": 9, "test": 0}
    answers = whole.answers.of_source("out-of-fold")
    assert set(answers.fold.tolist()) == {0, 1, 2, 3, 4}
    assert float(answers.loss.mean()) == pytest.approx(whole.metrics["head"]["cv_loss"], rel=1e-4, abs=1e-7)

    with monkeypatch.context() as patch:
        patch.setattr("headstart.training.upper.finish", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            hs.train(data, tmp_path / "stopped", **settings)
    resumed = hs.resume(tmp_path / "stopped")
    assert (resumed.path / "answers.csv").read_bytes() == (whole.path / "answers.csv").read_bytes()
    assert not (resumed.path / "checkpoints").exists()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_damaged_answers_out_of_fold_cost_their_rows_and_nothing_else(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    end_phase = RunDir.end_phase

    def damage(self: RunDir) -> None:
        end_phase(self)
        if (file := self.checkpoints_folder / "out-of-fold.safetensors").exists():
            file.write_bytes(file.read_bytes()[:-4] + b"oops")

    monkeypatch.setattr(RunDir, "end_phase", damage)
    run = hs.train(
        data, tmp_path / "run", backbone=SMALL, weights="random", phases=SOLVED_AND_STEPS, size_px=64
    )
    assert run.metrics["answers"] == {"out_of_fold": 0, "without": 24, "val": 9, "test": 0}
    assert "no rows for the training photos" in capsys.readouterr().err
    assert set(read_answers(run.path / "answers.csv").source) == {"val"}


@pytest.mark.parametrize(("unfreeze", "num_without"), [("head", 0), (1, 24)], ids=["head", "more"])
def test_a_head_that_is_trained_in_steps_is_solved_for_its_answers(
    unfreeze: str | int, num_without: int, data: Path, tmp_path: Path
) -> None:
    phases = [{"epochs": 1, "unfreeze": unfreeze}]
    run = hs.train(data, tmp_path / "run", backbone=SMALL, weights="random", phases=phases, size_px=64)
    metrics = json.loads((run.path / "metrics.json").read_text())
    assert metrics["answers"]["without"] == num_without
    assert metrics["answers"]["out_of_fold"] == 24 - num_without
    assert "penalty" not in metrics["head"]  # which is of a head that is handed over
