"""A run that was stopped, however, ends in the bits of one that was not."""

from __future__ import annotations

import csv
import importlib
import os
import pkgutil
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import pytest
import safetensors.torch
import tomli_w
import torch
from PIL import Image

import headstart as hs
from headstart import recipe
from headstart.config import TrainConfig, read_toml
from headstart.errors import ConfigError, FileWriteError, RunFolderError, TrainingError
from headstart.training.run import provenance
from headstart.training.run.checkpoint import load_checkpoint
from headstart.training.run.interrupt import Stopped, held_back
from headstart.training.run.run_dir import RunDir
from headstart.training.run.run_folder import RunFolder

# Mixing, averages, views, several batches per step, norms that learn: all that could depend on what ran
# before. test_signals.py has dropout.
PHASES: list[dict[str, Any]] = [
    {"name": "probe", "epochs": 2, "head_lr": 0.01, "augment": "light", "views": 2},
    {
        "name": "last",
        "unfreeze": 1,
        "epochs": 2,
        "optimizer": "adamw",
        "head_lr": 1e-3,
        "mixup": 0.4,
        "ema": 0.9,
        "accumulate": 2,
        "schedule": "one-cycle",
        "sampling": "balanced",
        "wise_ft": True,
        "augment": "light",
        "views": 2,
    },
    {
        "name": "all",
        "unfreeze": "all",
        "epochs": 1,
        "optimizer": "sgd",
        "head_lr": 1e-3,
        "cutmix": 1.0,
        "norm": "train",
        "clip_norm": 1.0,
        "label_smoothing": 0.1,
        "class_weights": "balanced",
    },
]
SETTINGS: dict[str, Any] = {
    "backbone": "timm/test_resnet",
    "weights": "random",
    "size_px": 32,
    "batch_size": 5,
    "phases": PHASES,
}
MODELS = ("model.safetensors", "model.onnx")


class Killed(BaseException):
    """Ends a run as SIGKILL does: nothing is saved on the way out."""


def read_history(run: Path) -> list[dict[str, str]]:
    rows = list(csv.DictReader((run / "history.csv").read_text().splitlines()))
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def assert_same(run: Path, other: Path) -> None:
    assert read_history(run) == read_history(other)
    for name in MODELS:
        assert (run / name).read_bytes() == (other / name).read_bytes(), name
    assert not list(run.rglob("*.part"))
    assert not (run / "checkpoints").exists()  # a finished run never goes on


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing stopped, with no checkpoint but those between phases."""
    return hs.train(photos, tmp_path_factory.mktemp("whole") / "run", checkpoint_seconds=1e6, **SETTINGS).path


def die_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Save in every third step, and die in one of them, before it is saved."""
    counted = {"steps": 0}

    def is_due(self: RunDir) -> bool:
        counted["steps"] += 1
        if counted["steps"] == steps:
            raise Killed
        return counted["steps"] % 3 == 0

    monkeypatch.setattr(RunDir, "is_checkpoint_due", is_due)


# 30 photos: 6 + 6 steps in the first phase, 3 + 3 in the second, 6 in the third.
@pytest.mark.parametrize(
    "steps", [7, 19, *(pytest.param(steps, marks=pytest.mark.slow) for steps in (1, 5, 13, 15, 18, 23))]
)
def test_a_run_killed_in_any_step_ends_in_the_same_bits(
    steps: int, whole: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        die_after(steps, patch)
        with pytest.raises(Killed):
            hs.train(photos, tmp_path / "run", **SETTINGS)
    assert not (tmp_path / "run" / "model.onnx").exists()
    hs.resume(tmp_path / "run")
    assert_same(tmp_path / "run", whole)


@pytest.mark.parametrize(
    "name", [pytest.param("best_mixture", marks=pytest.mark.slow), "make_ready", "finish", "check_images"]
)
def test_a_run_killed_between_phases_or_at_the_end_ends_in_the_same_bits(
    name: str, whole: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = {"left": 2 if name == "make_ready" else 1}  # of each of the three phases
    module = f"headstart.training.{'train' if name == 'check_images' else 'upper'}"
    original = getattr(importlib.import_module(module), name)

    def die(*arguments: Any, **named: Any) -> Any:
        calls["left"] -= 1
        if calls["left"] == 0:
            raise Killed
        return original(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(f"{module}.{name}", die)
        with pytest.raises(Killed):
            hs.train(photos, tmp_path / "run", **SETTINGS)
    if name == "check_images":  # nothing had been written
        assert not (tmp_path / "run").exists()
        return
    hs.resume(tmp_path / "run")
    assert_same(tmp_path / "run", whole)


SOLVED = SETTINGS | {
    "phases": [{"name": "solved", "optimizer": "exact"}, {"name": "steps", "unfreeze": 1, "epochs": 2}],
    "checkpoint_seconds": 1e6,
}


def test_a_resumed_run_splits_by_the_near_duplicates_that_it_began_with(
    make_photos: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later phases compute no features of whole photos, by which they could be found again."""
    root = make_photos(tmp_path / "photos", {"": 6})
    for path in sorted(root.rglob("*.jpg")):
        with Image.open(path) as image:
            image.save(path.with_name(f"{path.stem}-again.jpg"), quality=60)

    def die(*_: object) -> None:
        raise Killed

    settings = SOLVED | {"features": "store"}
    whole = hs.train(root, tmp_path / "whole", **settings).path
    with monkeypatch.context() as patch:
        patch.setattr("headstart.training.upper.finish", die)
        with pytest.raises(Killed):
            hs.train(root, tmp_path / "run", **settings)
    hs.resume(tmp_path / "run")
    assert_same(tmp_path / "run", whole)
    found = (whole / "findings.csv").read_text()
    assert found.count("near-duplicate") >= 15
    assert (tmp_path / "run" / "findings.csv").read_text() == found
    rows = csv.DictReader((whole / "photos.csv").read_text().splitlines())
    sides: dict[str, set[str]] = {}
    for row in rows:
        sides.setdefault(row["path"].replace("-again", ""), set()).add(row["split"])
    assert all(len(side) == 1 for side in sides.values())


@pytest.fixture(scope="module")
def solved(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> hs.TrainResult:
    """A run that begins with a head that is solved, and that nothing stopped."""
    return hs.train(photos, tmp_path_factory.mktemp("solved") / "run", **SOLVED)


@pytest.mark.parametrize(
    "seam",
    [
        "headstart.training.train.check_images",
        "headstart.training.upper.fit_head",
        pytest.param("headstart.training.upper.evaluate", marks=pytest.mark.slow),
        pytest.param("headstart.training.run.run_dir.RunDir.record", marks=pytest.mark.slow),
        "headstart.training.run.run_dir.RunDir.end_phase",
        "headstart.training.upper.finish",
    ],
)
def test_a_stop_in_a_program_of_ones_own_is_a_keyboard_interrupt_and_the_run_can_be_resumed(
    seam: str, solved: hs.TrainResult, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The solved head, whose scores are computed without holding signals back, has two of them.
    calls = {"left": {"evaluate": 3}.get(seam.rpartition(".")[2], 1)}
    original = pkgutil.resolve_name(seam)

    def interrupted(*arguments: Any, **named: Any) -> Any:
        calls["left"] -= 1
        if calls["left"] == 0:
            os.kill(os.getpid(), signal.SIGINT)
        return original(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, "_exit", lambda code: pytest.fail("ended the process"))
        patch.setattr(seam, interrupted)
        with pytest.raises(KeyboardInterrupt):
            hs.train(photos, tmp_path / "run", **SOLVED)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if seam.endswith("check_images"):
        assert not (tmp_path / "run").exists()
        return
    if seam.endswith("end_phase"):  # what was trained before the signal has been saved
        (state,) = [load_checkpoint(path)[1] for path in checkpoints(tmp_path / "run")]
        assert state["progress"]["phase"] == 1
    hs.resume(tmp_path / "run")
    assert_same(tmp_path / "run", solved.path)


@pytest.fixture(scope="module")
def half(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of photos beside the working directory that died in its second phase, with two checkpoints."""
    run = tmp_path_factory.mktemp("half") / "run"
    with pytest.MonkeyPatch.context() as patch:
        die_after(16, patch)
        patch.chdir(photos.parent)
        with pytest.raises(Killed):
            hs.train(photos.name, run, **SETTINGS)
    return run


@pytest.fixture
def stopped(half: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(half, tmp_path / "run"))


def test_a_resumed_run_records_how_its_head_was_solved(
    solved: hs.TrainResult, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = [solved.metrics["head"]]

    def die(*arguments: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("headstart.training.upper.make_ready", die)
        with pytest.raises(Killed):
            hs.train(photos, tmp_path / "run", **SOLVED)
    heads.append(hs.resume(tmp_path / "run").metrics["head"])
    assert list(heads[0].items()) == list(heads[1].items())  # in the same order too
    assert heads[0]["kind"] == "stages"
    assert heads[0]["cv_loss"] > 0
    assert_same(tmp_path / "run", solved.path)
    answers = [(run / "answers.csv").read_bytes() for run in (tmp_path / "run", solved.path)]
    assert answers[0] == answers[1]


def test_a_head_for_which_memory_did_not_suffice_stays_linear_when_resumed(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wide, narrow = (recipe.solving_bytes(30, inputs, 3) for inputs in (1280, 512))
    assert narrow < wide
    monkeypatch.setattr(recipe, "EXACT_LIMIT_BYTES", narrow)

    def die(*arguments: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("headstart.training.upper.make_ready", die)
        with pytest.raises(Killed):
            hs.train(photos, tmp_path / "run", **SETTINGS | {"phases": (), "recipe": "finetune"})
    assert "reads the last stage alone" in capsys.readouterr().err
    assert hs.resume(tmp_path / "run").metrics["head"]["kind"] == "linear"
    with pytest.raises(ConfigError, match="'stages', and solving it would take about"):
        hs.train(
            photos, tmp_path / "other", **SETTINGS | {"phases": (), "recipe": "finetune", "head": "stages"}
        )


def test_out_of_fold_answers_are_never_given_to_other_photos(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = Path(shutil.copytree(photos, tmp_path / "photos")), tmp_path / "run"

    def die(*arguments: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("headstart.training.upper.make_ready", die)
        with pytest.raises(Killed):
            hs.train(data, run, val=data / "test", **SOLVED)
    # As many photos as before, in the same places.
    first, second = sorted((data / "train").rglob("*.jpg"))[:2]
    first.write_bytes(second.read_bytes() + b"another file")
    result = hs.resume(run, force=True)
    assert "they have changed since the head was solved" in capsys.readouterr().err
    assert result.metrics["answers"]["out_of_fold"] == 0
    assert set(result.answers["source"]) == {"val"}


def checkpoints(run: Path) -> list[Path]:
    return sorted(path for path in (run / "checkpoints").iterdir() if path.stem.isdecimal())


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damaged", [1, 2])
def test_damaged_checkpoints_are_told_and_the_one_before_is_used(
    damaged: int, stopped: Path, whole: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    newest_first = checkpoints(stopped)[::-1]
    assert len(newest_first) == 2
    for path in newest_first[:damaged]:
        flip_a_bit(path)
    hs.resume(stopped)
    told = capfd.readouterr().err
    for path in newest_first[:damaged]:
        assert str(path) in told
    assert ("begins again" in told) == (damaged == 2)
    assert_same(stopped, whole)


def test_damaged_best_weights_are_never_used(
    stopped: Path, whole: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for path in (stopped / "checkpoints").glob("best-*"):
        flip_a_bit(path)
    hs.resume(stopped)
    assert "damaged" in capfd.readouterr().err
    assert_same(stopped, whole)


def test_no_checkpoint_is_left_that_nothing_needs(half: Path) -> None:
    # Two checkpoints, the weights that they name, the lock, what the run was begun with.
    assert len(list((half / "checkpoints").iterdir())) <= 6


def test_what_is_not_the_runs_stays(stopped: Path) -> None:
    others = ["best-model.pth", "2024.txt", "best-0001.txt", ".download.part", "0001.backup.safetensors"]
    for name in others:
        (stopped / "checkpoints" / name).write_text("mine")
    hs.resume(stopped)
    for name in others:
        assert (stopped / "checkpoints" / name).read_text() == "mine"
    assert len(list((stopped / "checkpoints").iterdir())) == len(others)


def test_a_run_that_another_process_has_finished_meanwhile_is_not_begun_again(
    stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(stopped.rglob("*"))
    answers = iter([None])  # as it was when the command began
    monkeypatch.setattr(RunFolder, "read_metrics", staticmethod(lambda path: next(answers, {"best": {}})))
    with pytest.raises(RunFolderError, match="finished by another process"):
        hs.resume(stopped)
    assert sorted(stopped.rglob("*")) == before


def test_a_second_process_is_kept_out(stopped: Path) -> None:
    with filelock.FileLock(stopped / "checkpoints" / "lock"), pytest.raises(RunFolderError, match="Another"):
        hs.resume(stopped)


def test_a_full_disk_is_told_instead_of_the_signal() -> None:
    def save_on_a_full_disk() -> None:
        with held_back() as interrupt:
            os.kill(os.getpid(), signal.SIGTERM)
            try:
                interrupt.check()
            except Stopped:
                raise FileWriteError("checkpoint", "No space left on device", 1) from None

    with pytest.raises(FileWriteError):
        save_on_a_full_disk()


def test_without_a_fault_the_signal_goes_to_its_handler() -> None:
    received: list[int] = []

    def be_stopped() -> None:
        with held_back():
            os.kill(os.getpid(), signal.SIGTERM)
            assert received == []

    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        with pytest.raises(KeyboardInterrupt):
            be_stopped()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == [signal.SIGTERM]


def test_the_number_of_threads_is_that_of_the_checkpoint(stopped: Path, whole: Path) -> None:
    before = torch.get_num_threads()
    other = before + 1
    torch.set_num_threads(other)
    try:
        hs.resume(stopped)
        assert torch.get_num_threads() == other
    finally:
        torch.set_num_threads(before)
    assert_same(stopped, whole)


def edit_config(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = read_toml(run / "config.toml")
    change(content)
    (run / "config.toml").write_text(tomli_w.dumps(content))


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "seed": (lambda c: c.update(seed=7), "config.seed was 0 and is 7"),
    "rate": (lambda c: c["phases"][2].update(head_lr=0.5), r"config.phases.3.head_lr was 0.001 and is 0.5"),
    "a phase more": (lambda c: c["phases"].append({"name": "x"}), "config.phases"),
}


def test_other_settings_are_refused_by_name_unless_forced(stopped: Path) -> None:
    original = (stopped / "config.toml").read_text()
    for apply, told in CHANGES.values():
        (stopped / "config.toml").write_text(original)
        edit_config(stopped, apply)
        with pytest.raises(RunFolderError, match=told) as caught:
            hs.resume(stopped)
        assert "--force" in str(caught.value)
    edit_config(stopped, CHANGES["rate"][0])
    run = hs.resume(stopped, force=True)
    assert [phase["name"] for phase in run.metrics["phases"]] == ["probe", "last", "all", "x"]


def test_a_run_on_random_weights_is_not_resumed_with_another_seed_by_force_either(stopped: Path) -> None:
    edit_config(stopped, CHANGES["seed"][0])
    with pytest.raises(RunFolderError, match=CHANGES["seed"][1]) as caught:
        hs.resume(stopped, force=True)
    assert "not even with --force" in str(caught.value)
    assert "frozen stages with other weights" in str(caught.value)


def test_a_run_whose_validation_photos_have_changed_is_finished_by_force(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Path(shutil.copytree(photos, tmp_path / "photos"))

    def die(*arguments: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("headstart.training.upper.finish", die)
        with pytest.raises(Killed):
            hs.train(data / "train", tmp_path / "run", val=data / "test", **SOLVED)
    for number, path in enumerate(sorted((data / "test" / "red").iterdir())):
        shutil.copy(data / "test" / "blue" / f"blue{number}.jpg", path)
    run = hs.resume(tmp_path / "run", force=True)
    (epoch,) = run.metrics["phases"][0]["epochs"]
    now = float(run.answers.of_source("val").loss.mean())
    assert run.metrics["best"]["val_loss"] == pytest.approx(now, rel=1e-4)
    assert now > epoch["val_loss"]  # of the photos that were there


def test_settings_that_change_no_bits_may_change_and_so_may_places(
    photos: Path, stopped: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the photos, of the run, and the working directory; the run is named relative to that."""
    data = str(shutil.copytree(photos, tmp_path / "elsewhere"))
    edit_config(stopped, lambda c: c.update(data=data, workers=0, features="live", checkpoint_seconds=0.5))
    monkeypatch.chdir(tmp_path)
    hs.resume(stopped.name)
    assert_same(stopped, whole)


def test_changed_code_and_packages_are_refused_by_name(
    stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = provenance.versions_in_steps() | {"torch": "1.0"}
    monkeypatch.setattr(provenance, "versions_in_steps", lambda: versions)
    monkeypatch.setattr(provenance, "own_code_digest", lambda: "0")
    with pytest.raises(RunFolderError, match=r"versions\.torch was") as caught:
        hs.resume(stopped)
    assert "own code" in str(caught.value)


def test_changed_photos_are_refused_by_name(photos: Path, tmp_path: Path, half: Path) -> None:
    data = Path(shutil.copytree(photos, tmp_path / "photos"))
    run = Path(shutil.copytree(half, tmp_path / "run"))
    edit_config(run, lambda c: c.update(data=str(data)))
    some = sorted((data / "train").rglob("*.jpg"))
    some[0].unlink()
    shutil.copy(some[1], some[2])
    shutil.copy(some[3], some[3].with_name("new.jpg"))
    with pytest.raises(RunFolderError, match="no longer there") as caught:
        hs.resume(run)
    for path in (some[0], some[2], some[3].with_name("new.jpg")):
        assert path.relative_to(data).as_posix() in str(caught.value)


def test_a_run_is_resumed_where_its_photos_are_now(
    photos: Path, stopped: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = Path(shutil.copytree(photos, tmp_path / "old")), tmp_path / "a place" / "new"
    edit_config(stopped, lambda c: c.update(data=str(old)))
    new.parent.mkdir()
    old.rename(new)
    with pytest.raises(RunFolderError, match=r"no longer in '.*old'.*: headstart resume \S+ --data PATH$"):
        hs.resume(stopped)
    with pytest.raises(RunFolderError, match=r"data is 'nowhere', which does not exist\. Name the folder"):
        hs.resume(stopped, data="nowhere")
    some = sorted((new / "train").rglob("*.jpg"))
    content = some[0].read_bytes()
    some[0].write_bytes(some[1].read_bytes())
    with pytest.raises(RunFolderError, match="photos changed in content") as caught:
        hs.resume(stopped, data=new)
    assert some[0].relative_to(new).as_posix() in str(caught.value)
    some[0].write_bytes(content)
    monkeypatch.chdir(tmp_path)
    hs.resume(stopped, data="a place/new")
    assert_same(stopped, whole)
    assert RunDir.read_config(stopped).data == str(new)  # so that other commands find them, too


@pytest.fixture(scope="module")
def with_val(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run with validation photos elsewhere, stopped after its first step; and the folder of both."""
    folder = tmp_path_factory.mktemp("with val")
    shutil.copytree(photos / "train", folder / "data")
    shutil.copytree(photos / "test", folder / "held out")
    phases = [{**PHASES[0], "augment": "none"}]
    settings = {**SETTINGS, "phases": phases, "val": str(folder / "held out"), "checkpoint_seconds": 0}
    with pytest.MonkeyPatch.context() as patch:
        die_after(4, patch)
        with pytest.raises(Killed):
            hs.train(folder / "data", folder / "run", **settings)
    return folder / "run", folder


def test_validation_photos_may_move_too(with_val: tuple[Path, Path], tmp_path: Path) -> None:
    _, folder = with_val
    moved = Path(shutil.copytree(folder, tmp_path / "moved"))
    (moved / "held out").rename(moved / "val")
    photo = next((moved / "val").rglob("*.jpg"))
    content = photo.read_bytes()
    photo.write_bytes(next((moved / "data").rglob("*.jpg")).read_bytes())
    with pytest.raises(RunFolderError, match="val: .*" + photo.name):
        hs.resume(moved / "run", data=moved / "data", val=moved / "val")
    photo.write_bytes(content)
    result = hs.resume(moved / "run", data=moved / "data", val=moved / "val")
    config = RunDir.read_config(result.path)
    assert (config.data, config.val) == (str(moved / "data"), str(moved / "val"))


def test_a_place_for_validation_photos_that_there_are_none_of_is_refused(stopped: Path, photos: Path) -> None:
    with pytest.raises(RunFolderError, match="Leave val out"):
        hs.resume(stopped, val=photos)


def test_a_finished_run_is_left_alone(whole: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*")}
    result = hs.resume(whole)
    assert result.metrics["best"]["val_loss"]
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*")} == before


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"config\.toml"):
        hs.resume(tmp_path)


def test_a_loss_that_is_not_finite_ends_the_run_within_a_step(photos: Path, tmp_path: Path) -> None:
    phases = [
        {"name": "probe", "epochs": 1},
        {
            "name": "wild",
            "unfreeze": "all",
            "epochs": 3,
            "norm": "train",
            "head_lr": 1e30,
            "optimizer": "sgd",
        },
    ]
    with pytest.raises(TrainingError, match="phase wild, epoch 1, batch 2") as caught:
        hs.train(photos, tmp_path / "run", **(SETTINGS | {"phases": phases}))
    names = [path.name for path in (photos / "train").rglob("*.jpg")]
    assert sum(name in str(caught.value) for name in names) == SETTINGS["batch_size"]
    tensors = safetensors.torch.load_file(checkpoints(tmp_path / "run")[-1])
    network = [t for name, t in tensors.items() if name.startswith("network/") and t.is_floating_point()]
    assert network
    assert all(torch.isfinite(tensor).all() for tensor in network)


def test_settings_of_a_run_have_absolute_paths(half: Path, photos: Path) -> None:
    assert TrainConfig.from_toml(half / "config.toml").data == str(photos.absolute())
