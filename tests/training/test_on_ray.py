"""Training by Ray Train gives the bits that torchrun gives, whatever is lost on the way."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from tests.cluster.nodes import Nodes

import headstart as hs
from headstart.errors import ConfigError, DataError, MissingPackageError
from headstart.training.tools.on_ray import Workers, train_on_ray

pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{name}") for name in ("DeprecationWarning", "ResourceWarning")
]

ON_RAY: dict[str, Any] = {"ray": "local", "num_workers": 2}
FILES = ("model.safetensors", "model.onnx")
RECIPE = (
    '[[phases]]\nname = "probe"\nepochs = 1\nhead_lr = 0.01\n\n'
    '[[phases]]\nname = "last"\nunfreeze = 1\nepochs = 3\nhead_lr = 0.001\noptimizer = "adamw"\n'
)
STEPS_PER_EPOCH, NUM_STEPS = 8, 32  # 30 photos, four epochs
SETTINGS: dict[str, Any] = {
    "backbone": "timm/test_resnet",
    "size_px": 32,
    "batch_size": 4,
    "checkpoint_seconds": 0,
}


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ((None, 2, None), "Add ray"),
        ((None, None, 1), "Add ray"),
        (("local", None, 1), "without num_workers"),
        (("local", 0, None), "num_workers is 0"),
        (("local", True, None), "num_workers is True"),
        (("local", 2, -1), "gpus_per_worker is -1"),
    ],
)
def test_what_is_wrong_with_the_workers_is_said(given: tuple[Any, Any, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        Workers.of(*given)


def test_a_plan_says_whose_times_it_shows(photos: Path) -> None:
    text = hs.plan(photos, recipe="probe", size_px=32, **ON_RAY)
    assert text.endswith(
        "by 2 processes of the Ray cluster 'local'; the times above are those of one process on this machine."
    )


def test_steps_on_a_cluster_need_a_number_of_processes(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trains in gradient steps\. Add num_workers"):
        hs.train(photos, tmp_path / "run", ray="local", **SETTINGS)
    with pytest.raises(ConfigError, match="whose runs are made on this machine"):
        hs.train(photos, tmp_path / "run", ray="local", recipe="best")


def test_what_other_processes_cannot_use_is_refused(photos: Path, tmp_path: Path) -> None:
    class Mine(hs.Watcher):
        pass

    with pytest.raises(ConfigError, match=r"network.*\n.*watch contains objects"):
        hs.train(photos, tmp_path, network=object(), watch=[Mine()], **ON_RAY)
    with pytest.raises(ConfigError, match=r"recipe is 'best', whose runs are made by one process"):
        hs.train(photos, tmp_path, recipe="best", **ON_RAY)
    with pytest.raises(ConfigError, match=r"with fold = 1 to 3"):
        hs.train(photos, tmp_path, folds=3, **ON_RAY)


def test_without_ray_the_command_to_install_it_is_said_and_no_folder_is_left(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingPackageError, match=r"pip install 'headstart\[ray\]'"):
        hs.train(photos, **(SETTINGS | ON_RAY))
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings of all runs. The weights are a file's, because norms of random weights would learn."""
    folder = tmp_path_factory.mktemp("settings")
    (folder / "recipe.toml").write_text(RECIPE)
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet").state_dict(), folder / "weights.pth")
    return SETTINGS | {"recipe": str(folder / "recipe.toml"), "weights": str(folder / "weights.pth")}


@pytest.fixture(scope="module")
def by_torchrun(photos: Path, settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("torchrun") / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    command += ["headstart", "train", str(photos), f"--out={run}"]
    command += [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return run


@pytest.fixture
def cluster(ray_nodes: Nodes) -> None:
    """One cluster for all runs, to which ``hs.train`` finds itself connected."""
    ray_nodes.have(2)


def assert_same(run: Path, other: Path) -> None:
    for name in FILES:
        assert (run / name).read_bytes() == (other / name).read_bytes(), name
    left = {"checkpoints", ".ray"} & {path.name for path in run.iterdir()}
    assert not left


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_ray_trains_the_same_bits_as_torchrun(
    photos: Path, settings: dict[str, Any], by_torchrun: Path, tmp_path: Path
) -> None:
    result = hs.train(photos, tmp_path / "run", **ON_RAY, **settings)
    assert_same(result.path, by_torchrun)
    assert result.metrics["best"]["val_accuracy"] > 0


def counted(steps: Path, last: int, call: Callable[[], hs.TrainResult]) -> hs.TrainResult:
    """In a worker: count the second process's steps in a file, and kill that process in one of them."""
    from headstart.training.run import run_dir

    run_dir._SHARE_FOR_CHECKPOINTS = math.inf  # a checkpoint in every step, however slow the disk is
    is_due = run_dir.RunDir.is_checkpoint_due

    def is_due_unless_killed(run: Any) -> bool:
        if os.environ["RANK"] == "1":
            with steps.open("a") as file:
                file.write(".")
            if steps.stat().st_size == last:
                os.kill(os.getpid(), signal.SIGKILL)
        return is_due(run)

    run_dir.RunDir.is_checkpoint_due = is_due_unless_killed
    return call()


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_a_worker_killed_in_the_second_epoch_costs_the_steps_since_the_checkpoint_alone(
    photos: Path, settings: dict[str, Any], by_torchrun: Path, tmp_path: Path
) -> None:
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    run, steps, said = tmp_path / "run", tmp_path / "steps", list[str]()
    config = hs.TrainConfig.from_settings(photos, **settings)
    last = 2 * STEPS_PER_EPOCH + STEPS_PER_EPOCH // 2  # of the second epoch of the second phase
    begin = partial(counted, steps, last, partial(hs.train, out=run, config=config))
    again = partial(counted, steps, last, partial(hs.resume, run))
    result = train_on_ray(Workers("local", 2), run, begin, again, said.append)
    assert len(said) == 1
    assert "a worker was lost" in said[0]
    assert steps.stat().st_size in (NUM_STEPS, NUM_STEPS + 1)  # the step's own checkpoint may be missing
    assert_same(result.path, by_torchrun)


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_what_headstart_raises_in_a_worker_is_raised_here_and_not_tried_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError, match="No images in"):
        hs.train(tmp_path / "photos", tmp_path / "run", recipe="deep", **ON_RAY, **SETTINGS)
    assert not (tmp_path / "run").exists()
    assert "DataError" not in capfd.readouterr().err


@pytest.mark.ray
@pytest.mark.usefixtures("cluster")
def test_an_error_in_the_program_is_raised_with_the_traceback_of_the_worker(tmp_path: Path) -> None:
    said: list[str] = []
    wrong: Any = partial(len, 3)
    with pytest.raises(TypeError, match="has no len") as raised:
        train_on_ray(Workers("local", 2), tmp_path / "run", wrong, wrong, said.append)
    assert "Traceback" in str(raised.value.__cause__)
    assert said == []
