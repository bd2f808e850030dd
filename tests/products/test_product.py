"""Products are made of a finished model one after the other, and each may fail alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

import pytest

import headstart as hs
from headstart.errors import ExportError, RunFolderError
from headstart.products.product import PRODUCTS, Finished, Product

PHASES = [{"name": "probe", "optimizer": "exact"}]
STEPS = [{"name": "steps", "epochs": 1, "head_lr": 0.01}]
SMALL = {"backbone": "timm/test_resnet", "weights": "random", "size_px": 32, "batch_size": 12}


def write_last(finished: Finished) -> None:
    """A product that comes after all others and reads what it is given."""
    num_answers = sum(len(part) for part in finished.answers())
    text = json.dumps([num_answers, finished.predictor.info.task, finished.metrics["seed"]])
    (finished.folder / "last.json").write_text(text)


def broken(finished: Finished) -> None:
    raise RuntimeError("its library has a bug")


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let every finished model have these products beside, or instead of, the usual ones."""

    def use(**others: Product) -> None:
        named = {name.replace("_", "."): make for name, make in others.items()}
        monkeypatch.setattr("headstart.training.hand_over.PRODUCTS", MappingProxyType({**PRODUCTS, **named}))

    return use


@pytest.fixture(scope="module", params=[PHASES, STEPS], ids=["without steps", "in steps"])
def whole(
    request: pytest.FixtureRequest, photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> hs.TrainResult:
    """A run all of whose products were made, without steps or in steps."""
    return hs.train(photos, tmp_path_factory.mktemp("whole") / "run", phases=request.param, **SMALL)


@pytest.mark.parametrize("name", [*PRODUCTS, "report.html"])
def test_a_product_that_fails_stops_no_other_and_is_made_when_the_run_is_resumed(
    name: str, whole: hs.TrainResult, photos: Path, tmp_path: Path, products: Callable[..., None]
) -> None:
    phases = hs.TrainConfig.from_toml(whole.path / "config.toml").phases
    products(**{name: broken}, last_json=write_last)
    with pytest.raises(
        ExportError, match=rf"(?s){name}: RuntimeError: its library has a bug.*headstart resume"
    ):
        hs.train(photos, tmp_path / "run", phases=phases, **SMALL)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["failed"] == {name: "its library has a bug"}
    assert metrics["best"]["val_loss"] == whole.metrics["best"]["val_loss"]
    assert (tmp_path / "run" / "model.onnx").read_bytes() == (whole.path / "model.onnx").read_bytes()
    made = json.loads((tmp_path / "run" / "last.json").read_text())
    assert made == [len(whole.answers), "classification", 0]
    with pytest.raises(RunFolderError, match="already holds a run"):
        hs.train(photos, tmp_path / "run", phases=phases, **SMALL)

    products(last_json=write_last)  # the cause is removed
    history = (tmp_path / "run" / "history.csv").read_text()
    resumed = hs.resume(tmp_path / "run")
    assert "failed" not in resumed.metrics
    for each in PRODUCTS:
        assert (resumed.path / each).read_bytes() == (whole.path / each).read_bytes()
    assert not (resumed.path / "checkpoints").exists()
    if phases[0].name == "steps":  # nothing was trained again
        assert (resumed.path / "history.csv").read_text() == history


def test_every_product_reads_the_finished_model_alone(photos: Path, tmp_path: Path) -> None:
    run = hs.train(photos, tmp_path / "run", phases=PHASES, **SMALL)
    answers = run.answers
    for name, make in PRODUCTS.items():
        folder = tmp_path / f"alone-{name}"
        folder.mkdir()
        for file in ("model.onnx", "model.safetensors"):
            shutil.copy(run.path / file, folder)
        make(Finished(folder, run.predictor, lambda: iter([answers]), run.metrics))
        assert (folder / name).stat().st_size > 0
