"""What a run without steps refuses, and which runs have to take steps."""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
from tests.windows import is_open_here

import headstart as hs
from headstart import recipe
from headstart.config import TrainConfig
from headstart.errors import ConfigError, RunFolderError, TrainingError
from headstart.records import Record
from headstart.training import choose, ground, probe_setup
from headstart.training.choose import decide_recipe, find_probe
from headstart.training.probe_setup import ProbeSetup
from headstart.training.run import provenance
from headstart.training.tools.plan import plan


def test_a_score_that_the_task_does_not_have_is_refused_without_steps_too(
    photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"select is 'val_map'.*'classification'.*val_accuracy"):
        hs.train(photos, tmp_path / "run", recipe="probe", select="val_map")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"recipe": "probe", "max_minutes": 5},
            "max_minutes is 5.0, which has no effect in this run: a head",
        ),
        (
            {"recipe": "full", "backbone": "timm/test_resnet", "weights": "random", "min_visible": 0.2},
            "min_visible is 0.2, which has no effect in this run: no boxes",
        ),
    ],
    ids=["without steps", "in steps"],
)
def test_a_setting_without_effect_is_told(
    settings: dict[str, Any], told: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan(photos, size_px=32, seed=1, **settings)
    err = capsys.readouterr().err
    assert f"Warning: {told}" in err
    assert err.count("no effect") == 1


@pytest.mark.parametrize(
    ("call", "settings"),
    [
        (hs.train, {"data": "nowhere"}),
        (hs.train, {"data": "nowhere", "recipe": "deep", "folds": 3, "max_minutes": 8}),
        (hs.train, {"recipe": "deep", "folds": 3, "decisions": "nowhere.csv"}),
        (hs.train, {"backbone": "timm/test_resnet", "weights": "random", "decisions": "nowhere.csv"}),
        (hs.train, {"backbone": "resnet999"}),
        (hs.train, {"recipe": "best", "backbone": "resnet999"}),
        (plan, {"data": "nowhere"}),
        (plan, {"head": "own"}),
        (hs.lr_find, {"backbone": "timm/test_resnet", "weights": "random", "phase": "another"}),
    ],
)
def test_nothing_is_said_before_what_is_wrong_with_the_command(
    call: Any,
    settings: dict[str, Any],
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(hs.UsageError):
        call(**{"data": photos, **settings})
    assert capsys.readouterr() == ("", "")
    assert not list(tmp_path.rglob("config.toml"))


def test_a_store_is_closed_if_that_of_the_views_cannot_be_opened(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_features, opened = probe_setup.open_backbone_features, []

    def open_once(*args: Any, **options: Any) -> Any:
        if opened:
            assert is_open_here(opened[0])
            raise TrainingError("no room")
        found = open_features(*args, **options)
        opened.extend(path for path in cache.rglob("*.*") if is_open_here(path))
        return found

    cache = tmp_path / "cache"
    monkeypatch.setenv("HEADSTART_CACHE", str(cache))
    monkeypatch.setattr(probe_setup, "open_backbone_features", open_once)
    with pytest.raises(TrainingError, match="no room"):
        hs.train(
            photos,
            tmp_path / "run",
            recipe="probe",
            size_px=32,
            features="store",
            phase_settings={"probe": {"augment": "light"}},
        )
    assert not [path for path in opened if path.exists() and is_open_here(path)]


@pytest.mark.parametrize("settings", [{}, {"phases": [{"optimizer": "exact"}]}], ids=["recipe", "phases"])
def test_a_head_that_fits_into_memory_with_the_last_stage_alone_reads_it_alone(
    settings: dict[str, Any], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(photos, recipe="probe", device="cpu", features="store", **settings)
    num_train, said = 36 - 3 * round(12 * config.val_fraction), list[str]()
    probe = find_probe(config, said.append)
    assert isinstance(probe, ProbeSetup)
    assert [block.name for block in probe.blocks] == ["stage.stage2", "stage.stage3", "last"]
    monkeypatch.setattr(recipe, "EXACT_LIMIT_BYTES", recipe.solving_bytes(num_train, 1280, 3))
    probe = find_probe(config, said.append)
    assert isinstance(probe, ProbeSetup)
    assert [block.name for block in probe.blocks] == ["last"]
    assert [text for text in said if "reads the last stage alone: solving" in text] == said[-1:]
    both = find_probe(dataclasses.replace(config, head="stages"), said.append)
    assert isinstance(both, ProbeSetup) if settings else "too much memory" in str(both)


@pytest.mark.parametrize(("head", "is_told"), [("auto", True), ("linear", False)])
def test_if_memory_runs_out_a_head_that_reads_less_is_named(
    head: str, is_told: bool, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("headstart.probe.photos.solve_head", fail)
    with pytest.raises(TrainingError, match="Solving the head takes about") as caught:
        hs.train(
            photos, tmp_path / "run", recipe="probe", device="cpu", size_px=32, features="store", head=head
        )
    assert ("less with head = 'linear'" in str(caught.value)) is is_told


@pytest.mark.parametrize("missing", ["torch", "accelerate", "timm"])
def test_where_anything_that_steps_need_is_missing_the_recipe_is_a_probe(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec

    def find_spec(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == missing else find(name, package)

    assert decide_recipe(TrainConfig(data="photos"))[0].recipe == "finetune"
    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    config, choice = decide_recipe(TrainConfig(data="photos"))
    assert config.recipe == "probe"
    assert "pip install 'headstart[train]'" in choice


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"epochs": 2, "lr": 0.1}, ["epochs is 2", "lr is 0.1", "no training steps"]),
        ({"phase_settings": {"finetune": {"epochs": 2}}}, ["no phase 'finetune'"]),
    ],
)
def test_settings_of_steps_without_pytorch_are_refused_with_the_way_to_them(
    settings: dict[str, Any], told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choose, "has_pytorch", lambda: False)
    with pytest.raises(ConfigError) as caught:
        decide_recipe(TrainConfig(data="photos", **settings))
    for words in (*told, "Recipe: probe", "pip install 'headstart[train]'"):
        assert words in str(caught.value)


def test_several_processes_do_not_train_one_probe(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"WORLD_SIZE is 2.*Start it without torchrun"):
        hs.train(photos, tmp_path / "run", backbone="net.onnx")


@pytest.fixture
def stopped(photos: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A probe that was stopped before its head was solved, and its photos."""
    data, run = Path(shutil.copytree(photos, tmp_path / "photos")), tmp_path / "run"

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ground, "solve_photos", stop)
        with pytest.raises(KeyboardInterrupt):
            hs.train(data, run, recipe="probe", size_px=32)
    return run, data


def test_a_probe_is_not_resumed_on_other_photos_unless_forced(stopped: tuple[Path, Path]) -> None:
    run, data = stopped
    gone = min((data / "train").rglob("*.jpg"))
    gone.unlink()
    with pytest.raises(RunFolderError, match=f"1 photo no longer there.*{gone.name}"):
        hs.resume(run)
    assert hs.resume(run, force=True).metrics["images"]["found"] == 47


def test_a_probe_is_not_resumed_with_other_packages_or_settings_unless_forced(
    stopped: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = stopped
    others = provenance.versions() | {"onnxruntime": "1.0"}
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "versions", lambda: others)
        (run / "config.toml").write_text((run / "config.toml").read_text().replace("seed = 0", "seed = 7"))
        with pytest.raises(RunFolderError, match=r"versions\.onnxruntime was .* is '1\.0'") as caught:
            hs.resume(run)
    assert "config.seed was 0 and is 7" in str(caught.value)
    assert "--force" in str(caught.value)
    (run / "config.toml").write_text((run / "config.toml").read_text().replace("seed = 7", "seed = 0"))
    capsys.readouterr()
    hs.resume(run)
    told = "A solved head has no checkpoints, so the run begins again. Features that are stored are"
    assert told in capsys.readouterr().err
    assert not (run / "checkpoints").exists()


def test_a_photo_that_vanishes_before_the_file_is_checked_is_named_with_the_command_that_goes_on(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, run = Path(shutil.copytree(photos, tmp_path / "photos")), tmp_path / "a run"
    compare = ground._compare

    def remove(predictor: hs.Predictor, photos: Sequence[Record], *others: Any) -> dict[str, Any]:
        Path(photos[0].path).unlink()
        return compare(predictor, photos, *others)

    monkeypatch.setattr(ground, "_compare", remove)
    with pytest.raises(TrainingError, match=f"no longer can.*Restore it, then: headstart resume '{run}'"):
        hs.train(data, run, recipe="probe", size_px=32)
