"""Products are made of a finished model one after the other, and each may fail alone."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import headstart as hs
from headstart.errors import ExportError, RunFolderError
from headstart.files import TABLES_OF_A_RUN
from headstart.products.finished import Finished, Product
from headstart.products.product import PRODUCTS
from headstart.training.hand_over import hand_over

GROUND: dict[str, Any] = {"recipe": "probe", "size_px": 32, "device": "cpu"}
UPPER: dict[str, Any] = {
    "backbone": "timm/test_resnet",
    "weights": "random",
    "size_px": 32,
    "batch_size": 12,
    "device": "cpu",
    "phases": [{"name": "steps", "epochs": 1, "head_lr": 0.01}],
}


def write_last(finished: Finished) -> None:
    """A product that comes after all others and reads what it is given."""
    num_answers = sum(len(part) for part in finished.answers())
    text = json.dumps([num_answers, finished.predictor.info.task, finished.metrics["seed"]])
    (finished.folder / "last.json").write_text(text)


def broken(finished: Finished) -> None:
    raise RuntimeError("its library has a bug")


class Seen(hs.Watcher):
    """Keeps how runs have ended."""

    def __init__(self) -> None:
        self.ends: list[str] = []

    def run_finished(self, metrics: Mapping[str, Any]) -> None:
        self.ends.append("finished")

    def run_stopped(self, error: BaseException) -> None:
        self.ends.append(f"stopped by {type(error).__name__}")


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let every finished model have these products beside, or instead of, the usual ones."""

    def use(**others: Product) -> None:
        named = {name.replace("_", "."): make for name, make in others.items()}
        handed_over = functools.partial(hand_over, products={**PRODUCTS, **named})
        monkeypatch.setattr("headstart.training.train.hand_over", handed_over)

    return use


@pytest.fixture(scope="module", params=[GROUND, UPPER], ids=["without steps", "in steps"])
def whole(
    request: pytest.FixtureRequest, photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], hs.TrainResult]:
    """The settings of a run on either floor, and that run with all of its products."""
    return request.param, hs.train(photos, tmp_path_factory.mktemp("whole") / "run", **request.param)


def test_a_product_that_fails_stops_no_other_and_is_made_when_the_run_is_resumed(
    whole: tuple[dict[str, Any], hs.TrainResult],
    photos: Path,
    tmp_path: Path,
    products: Callable[..., None],
) -> None:
    (settings, expected), run, seen = whole, tmp_path / "run", Seen()
    name = "answers.csv" if settings is UPPER else "report.html"  # both floors make products in one way
    products(**{name: broken}, last_json=write_last)
    told = rf"(?s){name}: RuntimeError: its library has a bug.*headstart resume"
    with pytest.raises(ExportError, match=told):
        hs.train(photos, run, watch=[seen], **settings)
    assert seen.ends == ["stopped by ExportError"]
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["failed"] == {name: "RuntimeError: its library has a bug"}
    assert metrics["best"]["val_loss"] == expected.metrics["best"]["val_loss"]
    assert (run / "model.onnx").read_bytes() == (expected.path / "model.onnx").read_bytes()
    made = json.loads((run / "last.json").read_text())
    assert made == [len(expected.answers), "classification", 0]
    with pytest.raises(RunFolderError, match="already holds a run"):
        hs.train(photos, run, **settings)

    products(last_json=write_last)  # the cause is removed
    history = (run / "history.csv").read_text()
    resumed = hs.resume(run, watch=[seen])
    assert seen.ends[1:] == ["finished"]
    assert "failed" not in resumed.metrics
    for each in (*PRODUCTS, "model.onnx", "model.safetensors"):
        assert (run / each).read_bytes() == (expected.path / each).read_bytes()
    assert not (run / "checkpoints").exists()
    if settings is UPPER:  # nothing was trained again
        assert (run / "history.csv").read_text() == history


def test_a_run_whose_metrics_cannot_be_written_has_not_finished_for_its_watchers(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    seen = Seen()
    monkeypatch.setattr("headstart.training.run.run_folder.RunFolder.write_metrics", full)
    with pytest.raises(OSError, match="No space"):
        hs.train(photos, tmp_path / "run", watch=[seen], **GROUND)
    assert seen.ends[-1] == "stopped by OSError"


def test_no_command_replaces_a_table_that_is_a_product() -> None:
    assert {name for name in PRODUCTS if name.endswith(".csv")} <= TABLES_OF_A_RUN


def test_every_product_reads_the_finished_model_alone(
    whole: tuple[dict[str, Any], hs.TrainResult], tmp_path: Path
) -> None:
    _, run = whole
    answers = run.answers
    for name, make in PRODUCTS.items():
        folder = tmp_path / f"alone-{name}"
        folder.mkdir()
        for file in ("model.onnx", "model.safetensors"):
            shutil.copy(run.path / file, folder)
        make(Finished(folder, run.predictor, lambda: iter([answers]), run.metrics))
        assert (folder / name).stat().st_size > 0
