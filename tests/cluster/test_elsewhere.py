"""What processes of a cluster do, in this one: everything is pickled on its way, as on a cluster."""

from __future__ import annotations

import itertools
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import headstart as hs
from colours import INFO, colours_model
from headstart.cluster.passes import RayCluster, _blocks, _in_process
from headstart.errors import MissingPackageError, UsageError
from headstart.inference.elsewhere import Predicting, _this_machine
from headstart.inference.model_file import seal_onnx
from headstart.inference.predictor import Predictor

SETTINGS: dict[str, Any] = {"size_px": 32, "verbose": False}
NUMBERS = itertools.count()


def map_here(cluster: RayCluster, work: Any, items: Iterable[Any]) -> Iterator[Any]:
    name = f"work {next(NUMBERS)}"
    given: Any = SimpleNamespace(hex=lambda: name, value=pickle.dumps(work))
    for block in _blocks(items):
        found = pickle.loads(_in_process([given, str(Path.cwd())], pickle.dumps(block)))
        if isinstance(found, Exception):
            raise found
        yield from found


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Seven photos of two classes, of which one is damaged."""
    monkeypatch.setattr(RayCluster, "map", map_here)
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=lambda reference: reference.value))
    generator = np.random.default_rng(0)
    for number in range(7):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (40, 40, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:200])
    return tmp_path / "photos"


def test_a_pass_elsewhere_gives_the_same_rows_and_fills_the_store(photos: Path, tmp_path: Path) -> None:
    expected = hs.features(photos, features="live", **SETTINGS)
    store = tmp_path / "store"
    for _ in range(2):
        found = hs.features(photos, ray="here", store=store, **SETTINGS)
        assert found.unreadable == expected.unreadable
        assert len(found.unreadable) == 1
        for name, column in expected.columns.items():
            assert found[name].tobytes() == column.tobytes()
        assert len([*store.rglob("*.parquet")]) == 2  # rows, and facts about photos, each stored once
    assert hs.features(photos, store=store, **SETTINGS)["vector"].tobytes() == expected["vector"].tobytes()


def test_a_node_with_another_processor_is_refused(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headstart.frozen.elsewhere.machine", lambda: "another processor")
    with pytest.raises(UsageError, match="machine 'another processor' instead of"):
        hs.features(photos, ray="here", features="live", **SETTINGS)


def test_predictions_have_the_same_bits_and_their_order(photos: Path) -> None:
    predictor = Predictor.from_bytes(seal_onnx(colours_model(), INFO))
    expected = predictor.predict(photos)
    found = predictor.predict(photos, ray="here")
    assert repr(found) == repr(expected)
    assert len(found) == 7
    assert sum(each.error is not None for each in found) == 1


def test_predictions_of_a_node_with_other_libraries_are_refused() -> None:
    predictor = Predictor.from_bytes(seal_onnx(colours_model(), INFO))
    asked = Predicting(predictor.predict, None, {**_this_machine(), "runtime": "onnxruntime 1.2.3"})
    with pytest.raises(UsageError, match=r"runtime 'onnxruntime .*' instead of 'onnxruntime 1.2.3'"):
        asked.open(1)


def _without(lost: str) -> Any:
    """Return a function that maps like ``map_here``, in a process that does not find one of the files."""

    def map_without(cluster: RayCluster, work: Any, items: Iterable[Any]) -> Iterator[Any]:
        with pytest.MonkeyPatch.context() as patch:
            real = Path.stat
            patch.setattr(Path, "stat", lambda self: real(self / "nowhere" if self.name == lost else self))
            found = list(map_here(cluster, work, items))
        yield from found

    return map_without


@pytest.mark.parametrize("asked", ["features", "predictions"])
def test_a_photo_that_only_a_node_cannot_find_is_not_taken_for_unreadable(
    photos: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    monkeypatch.setattr(RayCluster, "map", _without("3.png"))
    predictor = Predictor.from_bytes(seal_onnx(colours_model(), INFO))
    calls: dict[str, Callable[[], Any]] = {
        "features": lambda: hs.features(photos, ray="here", features="live", **SETTINGS),
        "predictions": lambda: predictor.predict(photos, ray="here"),
    }
    with pytest.raises(UsageError, match=r"The node .* cannot read .*3.png: .* This machine can"):
        calls[asked]()


def test_a_photo_that_no_machine_finds_is_unreadable(photos: Path, tmp_path: Path) -> None:
    predictor = Predictor.from_bytes(seal_onnx(colours_model(), INFO))
    named = [photos / "a" / "0.png", tmp_path / "gone.png"]
    assert repr(predictor.predict(named, ray="here")) == repr(predictor.predict(named))


def test_findings_do_not_depend_on_where_photos_are_read(photos: Path, tmp_path: Path) -> None:
    expected = hs.check(photos, **SETTINGS, allow_quarantined=0.5)
    found = hs.check(photos, ray="here", store=tmp_path / "store", **SETTINGS, allow_quarantined=0.5)
    assert repr(found) == repr(expected)


def test_ray_is_named_where_it_is_missing(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'headstart\[ray\]'"):
        hs.features(photos, ray="local", features="live", **SETTINGS)
