"""docs/reference/compatibility.md lists what others may rely on; these tests compare it with reality."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import fields
from pathlib import Path

import onnx
import pytest

import headstart as hs
from headstart import tasks
from headstart.answers.table import FIXED
from headstart.cli import app
from headstart.config.checking import settings_of
from headstart.inference.heat_map import HEAT_MAP, HEAT_MAP_SHARE
from headstart.inference.model_file import ModelInfo
from headstart.recommendation.result import FIELDS as RECOMMENDATION
from headstart.training.run.run_folder import FILES_OF_A_RUN, RunFolder

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "compatibility.md"


def tables() -> dict[str, set[str]]:
    """Return the names in the first column of each table, by its section and the name of that column."""
    found: dict[str, set[str]] = {}
    section = column = ""
    for line in PAGE.read_text("utf-8").splitlines():
        if line.startswith("#"):
            section = line.lstrip("# ")
        elif line.startswith("| "):
            first = line.split("|")[1].strip()
            if "`" in first:
                found.setdefault(f"{section}: {column}", set()).update(re.findall("`([^`]+)`", first))
            else:
                column = first
    return found


TABLES = tables()


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("promised") / "run"
    return hs.train(photos, out, recipe="probe", size_px=32, verbose=False).path


def header(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file))


def test_every_public_name_is_listed_and_those_that_need_pytorch_are_marked() -> None:
    assert TABLES["Python: name"] == set(hs.__all__)
    marked = set(re.findall("`([^`]+)`†", PAGE.read_text("utf-8")))
    assert marked == {name for name in hs.__all__ if hs._needs_torch(name)}


def test_every_command_and_exit_code_is_listed() -> None:
    assert TABLES["Commands: name"] == {command.name for command in app.registered_commands}
    errors = {getattr(hs, name).exit_code for name in hs.__all__ if name.endswith("Error")}
    assert TABLES["Commands: exit code"] == {"0", *map(str, errors), "130", "143"}


def test_every_setting_is_listed() -> None:
    assert TABLES["Settings: key"] == set(settings_of(hs.TrainConfig))
    assert TABLES["Settings: key of a phase"] == set(settings_of(hs.PhaseConfig))


def test_the_files_of_a_run_are_listed(run: Path) -> None:
    of_others = {
        "decisions.csv",
        "curves.png",
        "trackers.json",
        "tensorboard/",
        "wandb/",
        "checkpoints/",
        "steps/",
        "folds/",
    }
    assert TABLES["The run folder: file"] == {path.name for path in run.iterdir()} | of_others
    assert {name.rstrip("/") for name in TABLES["The run folder: file"]} == set(FILES_OF_A_RUN)


# What has names of its own: parts of a run, packages, scores, choices of stages.
OPEN = ("seconds", "versions", "test", "phases[].epochs", "head.stage_errors")
# Of metrics.json: what the run of these tests does not have.
SOMETIMES = {
    *("failed", "best.share", "phases[].micro_batch", "without_leaks"),
    *("head.penalties", "head.cv_mae", "head.stages", "head.stage_errors"),
    *("head.tau", "head.tau_scores"),
    *("folds", "folds.num_folds", "folds.scores_of", "folds.by_fold", "answers.folds"),
    *("unknown", "unknown.threshold", "unknown.false_rejects", "unknown.fitted_on", "unknown.num_photos"),
    *("unknown.val_rejected", "unknown.val_interval"),
    *("heat_map.size", "heat_map.missing"),
    *(
        "steps",
        "steps[].name",
        "steps[].folder",
        "steps[].is_kept",
        "steps[].reason",
        "steps[].is_cut_short",
        "steps[].gain",
    ),
}


def nested(value: object, name: str = "") -> set[str]:
    """Return the names of all keys, such as ``images.found`` and ``phases[].name``."""
    if name in OPEN:
        return set()
    if isinstance(value, list):
        return set().union(*(nested(each, f"{name}[]") for each in value))
    if not isinstance(value, dict):
        return set()
    keys = {key: f"{name}.{key}".lstrip(".") for key in value}
    return set(keys.values()).union(*(nested(value[key], path) for key, path in keys.items()))


def test_the_keys_of_metrics_json_are_listed(run: Path) -> None:
    metrics = RunFolder.read_metrics(run)
    assert metrics is not None
    found = {key for key in nested(metrics) if not key.startswith(("best.val_", "findings."))}
    assert TABLES["metrics.json: key"] == found | SOMETIMES | {"seconds.total"}
    assert metrics["seconds"]["total"] > 0
    scores = {"loss", *metrics["test"]}.union(*(task.metrics_of(2) for task in tasks.TASKS.values()))
    scores = {name for name in scores if not name.endswith("_interval")}
    others = {"targets", "error_px", "top_3", "top_5", "NAME_interval"}
    assert TABLES["metrics.json: score"] == scores | others


def test_the_columns_of_tables_are_listed(run: Path) -> None:
    columns = header(run / "answers.csv")
    assert TABLES["answers.csv: column"] == set(FIXED) == set(columns[: len(FIXED)])
    for name in ("photos.csv", "quarantine.csv"):
        assert TABLES[f"{name}: column"] == set(header(run / name))
    scores = ("accuracy", "calibrated_loss", "macro_f1")
    history = {name for name in header(run / "history.csv") if not name.endswith(scores)}
    assert TABLES["history.csv: column"] == history


def test_what_a_model_file_says_is_listed(run: Path) -> None:
    model = onnx.load(run / "model.onnx")
    metadata = {each.key: each.value for each in model.metadata_props}
    assert TABLES["The model file: metadata"] == metadata.keys()
    assert TABLES["The model file: key of the JSON object"] == json.loads(metadata["headstart"]).keys()
    assert {field.name for field in fields(ModelInfo)} == json.loads(metadata["headstart"]).keys()
    page = PAGE.read_text("utf-8")
    assert [each.name for each in model.graph.input] == ["images"]
    for name in (
        "images",
        HEAT_MAP,
        HEAT_MAP_SHARE,
        *(name for task in tasks.TASKS.values() for name in task.file_outputs(2)),
    ):
        assert f"`{name}`" in page
    for name in json.loads(metadata["headstart"])["preprocessing"]:
        assert f"`{name}`" in page


def test_the_keys_of_a_prediction_are_listed() -> None:
    assert TABLES["Predictions: key"] == {field.name for field in fields(hs.Prediction)}


def test_the_columns_of_a_comparison_are_listed() -> None:
    assert TABLES["Comparisons of backbones: column"] == set(RECOMMENDATION)


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
def test_the_page_can_be_found(page: str) -> None:
    assert "compatibility.md" in (PAGE.parents[2] / page).read_text("utf-8")
