"""The recipe "best": a series of runs, each kept only if it is better."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

import headstart as hs
from headstart.errors import ConfigError, RunFolderError, TrainingError
from headstart.training.run.run_dir import RunDir
from headstart.training.tools import best

SETTINGS: dict[str, Any] = {
    "recipe": "best",
    "backbone": "timm/test_resnet",
    "weights": "random",
    "size_px": 64,
    "device": "cpu",
    "verbose": False,
}
FILES = ("model.onnx", "model.safetensors", "answers.csv", "photos.csv")


class Killed(BaseException):
    """Ends a run as SIGKILL does: nothing is saved on the way out."""


def steps_of(run: hs.TrainResult) -> dict[str, dict[str, Any]]:
    return {step["name"]: step for step in run.metrics["steps"]}


def test_the_best_of_all_runs_is_handed_over(photos: Path, tmp_path: Path) -> None:
    run = hs.train(photos, tmp_path / "run", **SETTINGS)
    steps = steps_of(run)
    assert list(steps) == ["probe", "finetune", "deep", "larger"]
    kept = [
        folder for folder, step in zip(_folders(run.path), steps.values(), strict=True) if step["is_kept"]
    ]
    for name in FILES:
        assert (run.path / name).read_bytes() == (kept[-1] / name).read_bytes(), name
    for step in list(steps.values())[1:]:
        low, high = step["gain"]["loss_interval"]
        assert step["is_kept"] == (step["gain"]["loss"] < -(high - low) / 3.92)
    assert hs.evaluate(run.path, photos / "test").scores.to_dict() == run.metrics["test"]
    assert json.loads((run.path / "metrics.json").read_text("utf-8")) == run.metrics
    assert "Step deep: loss" in repr(run)
    sizes = [_size_of(folder) for folder in _folders(run.path)]
    assert sizes == [64, 64, 64, 96]
    assert hs.resume(run.path, verbose=False).metrics == run.metrics


@pytest.mark.slow
def test_a_series_that_was_killed_continues_with_the_same_bits(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = hs.train(photos, tmp_path / "whole", **SETTINGS)

    def is_due(self: RunDir) -> bool:
        if "deep" in self.path.name:
            raise Killed
        return True

    with monkeypatch.context() as patch:
        patch.setattr(RunDir, "is_checkpoint_due", is_due)
        with pytest.raises(Killed):
            hs.train(photos, tmp_path / "run", **SETTINGS)
    assert [folder.name for folder in _folders(tmp_path / "run")] == ["1-probe", "2-finetune", "3-deep"]
    with pytest.raises(RunFolderError, match="already holds a run"):
        hs.train(photos, tmp_path / "run", **SETTINGS)
    again = hs.resume(tmp_path / "run", verbose=False)
    assert again.metrics["steps"] == whole.metrics["steps"]
    for name in FILES:
        assert (again.path / name).read_bytes() == (whole.path / name).read_bytes(), name


def test_a_step_that_fails_or_has_no_time_is_left_out_with_the_reason(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(config: hs.TrainConfig, _: Path) -> hs.TrainConfig:
        raise TrainingError("the loss is not finite")

    class Clock:
        now = 0.0

        @classmethod
        def monotonic(cls) -> float:
            cls.now += 40
            return cls.now

    monkeypatch.setattr(best, "_IN_STEPS", (best.Step("wild", "too high a rate", fail), best._IN_STEPS[0]))
    monkeypatch.setattr(best, "time", Clock)
    run = hs.train(photos, tmp_path / "run", max_minutes=1, **SETTINGS)
    steps = steps_of(run)
    assert steps["probe"] == {"name": "probe", "is_kept": True}
    assert steps["wild"]["reason"] == "the loss is not finite"
    assert steps["finetune"]["reason"] == "max_minutes = 1 are over"
    assert "Step wild: taken back: the loss is not finite" in repr(run)
    assert (run.path / "model.onnx").read_bytes() == (run.path / "steps/1-probe/model.onnx").read_bytes()


def test_the_backbone_is_the_recommended_one_unless_the_user_names_one(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def recommend(data: str, out: Path, **settings: object) -> Any:
        with open(out, "w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerows([["backbone", "is_recommended"], ["mobilenet_v2", 0], ["timm/test_resnet", 1]])
        return type("Recommendation", (), {"advice": "Use timm/test_resnet."})

    monkeypatch.setattr(best, "recommend", recommend)
    monkeypatch.setattr(best, "_IN_STEPS", ())
    chosen: list[str] = []

    def train(config: hs.TrainConfig, path: Path) -> hs.TrainResult:
        chosen.append(config.backbone)
        return hs.train(photos, path, **{**SETTINGS, "recipe": "probe"})

    for backbone in (hs.TrainConfig.backbone, "resnet18"):
        folder = tmp_path / str(len(chosen))
        folder.mkdir()
        config = hs.TrainConfig(str(photos), recipe="best", backbone=backbone)
        best.train_best(config, folder, train, lambda _: None)
    assert chosen == ["timm/test_resnet", "resnet18"]


def test_one_process_trains_a_series_of_backbones(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch import nn

    with pytest.raises(ConfigError, match="compares backbones, but network is given"):
        hs.train(photos, tmp_path / "run", recipe="best", network=nn.Identity())
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="WORLD_SIZE is 2"):
        hs.train(photos, tmp_path / "run", recipe="best")
    assert not (tmp_path / "run").exists()


def _folders(run: Path) -> list[Path]:
    return sorted(path for path in (run / "steps").iterdir() if path.is_dir())


def _size_of(run: Path) -> int:
    return hs.load(run).info.preprocessing.size_px
