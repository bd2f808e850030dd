"""The recipe "best": several runs, of which each is used only if it is better than the best one before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import pytest
from tests.labelled import in_metrics

import headstart as hs
from headstart.answers.file import write_answers
from headstart.answers.table import Answers
from headstart.errors import ConfigError, FileWriteError, RunFolderError, TrainingError
from headstart.training.run.run_dir import RunDir
from headstart.training.tools import best

TINY: dict[str, Any] = {
    "backbone": "timm/test_resnet",
    "weights": "random",
    "size_px": 64,
    "device": "cpu",
    "verbose": False,
}
NAMES = ("probe", "finetune", "deep", "larger")


class Killed(BaseException):
    """Ends a run as SIGKILL does: nothing is saved on the way out."""


def steps_of(run: hs.TrainResult) -> dict[str, dict[str, Any]]:
    return {step["name"]: step for step in run.metrics["steps"]}


def answers_with(num_right: int, num: int = 60) -> Answers:
    """Return answers of a model that is right on the first photos, and wrong on the others."""
    labels = np.arange(num) % 2
    logits = np.zeros((num, 2), np.float32)
    logits[np.arange(num), labels] = np.where(np.arange(num) < num_right, 2.0, -2.0)
    names = np.array(["cat", "dog"])
    return Answers(
        path=[f"{row}.jpg" for row in range(num)],
        sha256=[f"hash {row}" for row in range(num)],
        split=["val"] * num,
        group=[""] * num,
        alike=[""] * num,
        fold=np.full(num, -1, np.int32),
        source=["val"] * num,
        label=names[labels].tolist(),
        prediction=names[logits.argmax(1)].tolist(),
        loss=np.zeros(num, np.float32),
        outputs=logits,
        output_names=("logit:cat", "logit:dog"),
    )


class FakeRuns:
    """Writes the files of runs instead of training; each step's model is right on so many of 60 photos."""

    def __init__(self, right: Mapping[str, int | BaseException], probe: Path) -> None:
        self._right, self._probe = right, probe
        self.made: list[tuple[str, hs.TrainConfig]] = []
        self.headings: list[str] = []

    def __call__(self, config: hs.TrainConfig, path: Path, heading: str) -> hs.TrainResult:
        self.headings.append(heading)
        name = path.name.split("-")[1]
        self.made.append((name, config))
        right = self._right[name]
        if isinstance(right, BaseException):
            raise right
        shutil.copytree(self._probe, path, dirs_exist_ok=True)
        (path / "history.csv").write_text(name)
        (path / "curves.png").unlink(missing_ok=True)
        if name == "deep":
            (path / "curves.png").write_bytes(b"curves")
        write_answers(path / "answers.csv", answers_with(right))
        metrics = json.loads((path / "metrics.json").read_text("utf-8"))
        return hs.TrainResult(path, metrics)


@pytest.fixture(scope="module")
def probe(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hs.train(photos, tmp_path_factory.mktemp("probe") / "run", recipe="probe", **TINY).path


@pytest.fixture
def series(
    photos: Path, probe: Path, tmp_path: Path
) -> Callable[..., tuple[hs.TrainResult, FakeRuns, list[str]]]:
    """Return a function that makes a series of fake runs in the same folder."""

    def make(**right: int | BaseException) -> tuple[hs.TrainResult, FakeRuns, list[str]]:
        given = {name: right.get(name, 40) for name in NAMES}
        runs, said = FakeRuns(given, probe), []  # type: ignore[var-annotated]
        minutes: Any = right.get("minutes")
        config = hs.TrainConfig(str(photos), recipe="best", backbone="resnet18", max_minutes=minutes)
        (tmp_path / "run").mkdir(exist_ok=True)
        return best.train_best(config, tmp_path / "run", runs, said.append, compares=False), runs, said

    return make


def test_better_runs_are_used_and_each_step_changes_the_best_one_before(series: Any) -> None:
    run, runs, _ = series(probe=40, finetune=52, deep=30, larger=58)
    assert [name for name, _ in runs.made] == list(NAMES)
    assert [config.recipe for _, config in runs.made] == ["probe", "finetune", "deep", "finetune"]
    assert [config.size_px for _, config in runs.made] == [None, None, None, 96]  # of 64 in the copied model
    steps = steps_of(run)
    assert [step["is_kept"] for step in steps.values()] == [True, True, False, True]
    assert steps["finetune"]["gain"]["accuracy"] == pytest.approx(12 / 60)
    assert steps["deep"]["gain"]["accuracy"] == pytest.approx(-22 / 60)  # against finetune, not the probe
    assert steps["larger"]["gain"]["accuracy"] == pytest.approx(6 / 60)
    assert steps["larger"]["folder"] == "steps/4-larger"
    assert (run.path / "history.csv").read_text() == "larger"
    assert "Step deep: calibrated loss +0." in repr(run)
    assert "not clearly better, not used" in repr(run)
    assert f"These are the files of step larger: {run.path / 'steps/4-larger'}" in repr(run)
    assert runs.headings[-1] == "Step 4 of 4, larger: the same with a larger input"


def test_without_a_gain_the_simplest_model_stays(series: Any) -> None:
    run, _, _ = series(probe=50, finetune=50, deep=49, larger=50)
    assert [step["is_kept"] for step in steps_of(run).values()] == [True, False, False, False]
    assert (run.path / "model.onnx").read_bytes() == (run.path / "steps/1-probe/model.onnx").read_bytes()
    assert (run.path / "history.csv").read_text() == "probe"


def test_a_step_that_fails_is_left_out_with_the_reason(series: Any) -> None:
    run, _, said = series(finetune=TrainingError("the loss is not finite"), deep=55)
    assert steps_of(run)["finetune"]["reason"] == "the loss is not finite"
    assert (run.path / "history.csv").read_text() == "deep"
    assert "Step 2 of 4, finetune: left out: the loss is not finite" in said
    assert "Step finetune: left out: the loss is not finite" in repr(run)


@pytest.mark.parametrize(
    "error",
    [
        RunFolderError("the code has changed"),
        FileWriteError("model.onnx", "No space left on device", 9),
        Killed(),
    ],
)
def test_what_can_be_repaired_ends_the_series_which_continues_later(
    series: Any, tmp_path: Path, error: BaseException
) -> None:
    with pytest.raises(type(error)):
        series(finetune=52, deep=error)
    assert not (tmp_path / "run" / "metrics.json").exists()
    run, runs, _ = series(deep=58)
    assert [name for name, _ in runs.made] == ["deep", "larger"]
    assert [step["is_kept"] for step in steps_of(run).values()] == [True, True, True, False]
    assert (run.path / "curves.png").read_bytes() == b"curves"


def test_an_error_in_the_first_step_is_raised(series: Any) -> None:
    with pytest.raises(TrainingError, match="not finite"):
        series(probe=TrainingError("the loss is not finite"))


def test_the_time_limit_counts_all_runs_also_those_before_an_interruption(
    series: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        now = 0.0

        @classmethod
        def monotonic(cls) -> float:
            return cls.now

    monkeypatch.setattr(best, "time", Clock)

    class Slow(FakeRuns):
        def __call__(self, config: hs.TrainConfig, path: Path, heading: str) -> hs.TrainResult:
            Clock.now += 40
            return super().__call__(config, path, heading)

    monkeypatch.setitem(globals(), "FakeRuns", Slow)
    with pytest.raises(Killed):
        series(minutes=3, deep=Killed())
    run, runs, said = series(minutes=3, finetune=52)  # after 2 of 3 minutes
    assert [config.max_minutes for _, config in runs.made] == [1.0, 0.33]
    assert steps_of(run)["larger"]["is_cut_short"]
    assert "Step larger: cut short by the time limit; calibrated loss" in repr(run)
    assert said[-1].startswith("Step 4 of 4, larger: cut short by the time limit")


def test_steps_for_which_no_time_is_left_are_left_out(series: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock:
        now = 0.0

        @classmethod
        def monotonic(cls) -> float:
            cls.now += 30
            return cls.now

    monkeypatch.setattr(best, "time", Clock)
    run, runs, said = series(minutes=1)
    assert [name for name, _ in runs.made] == ["probe"]
    reason = "the time limit (max_minutes = 1) was reached"
    assert steps_of(run)["larger"] == {"name": "larger", "is_kept": False, "reason": reason}
    assert f"Step 4 of 4, larger: left out: {reason}" in said


def test_files_of_a_copy_that_was_broken_off_do_not_stay(series: Any, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "curves.png").write_bytes(b"old")
    (tmp_path / "run" / "mine.txt").write_text("mine")
    run, _, _ = series(finetune=30, larger=20, deep=20)
    assert not (run.path / "curves.png").exists()
    assert (run.path / "mine.txt").exists()


def test_two_processes_do_not_work_in_one_folder(series: Any, tmp_path: Path) -> None:
    (tmp_path / "run" / "steps").mkdir(parents=True)
    lock = filelock.FileLock(tmp_path / "run" / "steps" / "lock")
    with lock, pytest.raises(RunFolderError, match="Another process is training"):
        series()


def test_a_series_of_real_runs_hands_over_a_scored_model(photos: Path, tmp_path: Path) -> None:
    run = hs.train(photos, tmp_path / "run", recipe="best", **TINY)
    steps = steps_of(run)
    assert list(steps) == ["probe", "finetune", "deep"]  # the size of the input is given
    used = [run.path / step["folder"] for step in steps.values() if step["is_kept"]][-1]
    for name in ("model.onnx", "model.safetensors", "answers.csv", "photos.csv"):
        assert (run.path / name).read_bytes() == (used / name).read_bytes(), name
    assert in_metrics(hs.evaluate(run.path, photos / "test")) == run.metrics["test"]
    assert "were chosen on the validation photos" in repr(run) or "test" in run.metrics
    assert hs.resume(run.path, verbose=False).metrics == run.metrics
    with pytest.raises(RunFolderError, match="already holds a run"):
        hs.train(photos, run.path, recipe="best", **TINY)


@pytest.mark.slow
def test_a_series_that_was_killed_continues_with_the_same_bits_where_its_photos_are(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = hs.train(photos, tmp_path / "whole", recipe="best", **TINY)
    data = shutil.copytree(photos, tmp_path / "photos")

    def is_due(self: RunDir) -> bool:
        if "deep" in self.path.name:
            raise KeyboardInterrupt
        return True

    with monkeypatch.context() as patch:
        patch.setattr(RunDir, "is_checkpoint_due", is_due)
        with pytest.raises(KeyboardInterrupt):
            hs.train(data, tmp_path / "run", recipe="best", **{**TINY, "verbose": True})
        assert f"resume {tmp_path / 'run'}\n" in capsys.readouterr().err  # not the step's folder
        with pytest.raises(RunFolderError, match="did not finish"):
            hs.load(tmp_path / "run")
        data = data.rename(tmp_path / "moved")
        with pytest.raises(KeyboardInterrupt):
            hs.resume(tmp_path / "run", data=data, verbose=False)
    again = hs.resume(tmp_path / "run", verbose=False)
    assert again.metrics["steps"] == whole.metrics["steps"]
    for name in ("model.onnx", "model.safetensors", "answers.csv", "photos.csv"):
        assert (again.path / name).read_bytes() == (whole.path / name).read_bytes(), name


class FakeRecommendation(list[Any]):
    def __repr__(self) -> str:
        return "backbone  loss\na  0.1\nb  0.2\nadvice"


def test_the_backbone_with_the_lowest_loss_is_used_unless_the_user_names_one(
    photos: Path, probe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def recommend(data: str, out: Path, *, verbose: bool, **settings: object) -> Any:
        assert not verbose
        compared.append(out)
        rows = [type("Row", (), {"backbone": name}) for name in ("timm/test_resnet", "resnet18")]
        return FakeRecommendation(rows)

    monkeypatch.setattr(best, "recommend", recommend)
    for compares, expected in ((True, "timm/test_resnet"), (False, "vgg11")):
        compared: list[Path] = []
        said: list[str] = []
        runs = FakeRuns(dict.fromkeys(NAMES, 40), probe)
        folder = tmp_path / expected.replace("/", "-")
        folder.mkdir()
        config = hs.TrainConfig(str(photos), recipe="best", backbone="vgg11")
        best.train_best(config, folder, runs, said.append, compares=compares, verbose=False)
        assert {config.backbone for _, config in runs.made} == {expected}
        assert len(compared) == compares
        assert said[:3] == ["backbone  loss", "a  0.1", "b  0.2"] or not compares


def test_a_backbone_that_is_named_is_used_also_if_it_is_the_default(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []

    def train_best(*_: object, compares: bool, **__: object) -> None:
        compared.append(compares)

    monkeypatch.setattr("headstart.training.train.train_best", train_best)
    monkeypatch.setattr("headstart.training.train.choose", lambda *_: None)
    default = hs.TrainConfig.backbone
    for number, settings in enumerate(({}, {"backbone": default}, {"backbone": "resnet18"})):
        hs.train(photos, tmp_path / str(number), recipe="best", verbose=False, **settings)  # type: ignore[arg-type]
    assert compared == [True, False, False]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"epochs": 5}, "decides the phases of its runs"),
        ({"phase_settings": {"finetune": {"epochs": 3}}}, "decides the phases of its runs"),
        ({"select": "val_accuracy"}, "compares its runs by the validation loss"),
        ({"backbone": "resnet5"}, "resnet5"),
    ],
)
def test_a_wrong_setting_is_told_before_anything_is_made(
    photos: Path, tmp_path: Path, settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(hs.HeadstartError, match=told):
        hs.train(photos, tmp_path / "run", recipe="best", verbose=False, **settings)
    assert not (tmp_path / "run").exists()


def test_nothing_is_left_of_a_series_whose_first_run_did_not_begin(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("headstart.training.train.split_in_series", interrupted)
        with pytest.raises(KeyboardInterrupt):
            hs.train(photos, tmp_path / "run", recipe="best", **TINY)
    assert not (tmp_path / "run").exists()


def test_one_process_makes_the_runs_with_backbones_by_name(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch import nn

    with pytest.raises(ConfigError, match="compares backbones, but network is given"):
        hs.train(photos, tmp_path / "run", recipe="best", network=nn.Identity())
    with pytest.raises(ConfigError, match="cannot be fine-tuned"):
        hs.train(photos, tmp_path / "run", recipe="best", backbone="features.onnx")
    with pytest.raises(ConfigError, match="Name a recipe of one run"):
        hs.plan(photos, recipe="best", verbose=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="WORLD_SIZE is 2"):
        hs.train(photos, tmp_path / "run", recipe="best")
    assert not (tmp_path / "run").exists()
