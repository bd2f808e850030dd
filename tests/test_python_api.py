"""The public calls: their keywords, their types, and what they say."""

from __future__ import annotations

import dataclasses
import inspect
import io
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from PIL import Image

import headstart as hs
from colours import INFO, colours_model
from headstart.config.checking import settings_of
from headstart.model.summary import StageSummary
from headstart.training.tools.backbone_list import BackboneList

WRONG: Any = 5
OWN = ("data", "watch")  # arguments of the calls themselves


def members(annotation: Any) -> set[Any]:
    return set(get_args(annotation)) if isinstance(annotation, UnionType) else {annotation}


def test_the_keywords_of_train_are_the_settings() -> None:
    """With the types of the fields, or more; lists stand for tuples."""
    fields, keywords = get_type_hints(hs.TrainConfig), get_type_hints(hs.TrainSettings)
    assert set(keywords) == {name for name in settings_of(hs.TrainConfig) if name not in OWN}
    assert set(fields) == {*OWN, *keywords}
    for name, annotation in keywords.items():
        if name not in ("mean", "std", "phases"):
            assert members(fields[name]) <= members(annotation), name
    for call in (hs.train, hs.lr_find, hs.plan):
        parameters = inspect.signature(call).parameters
        assert parameters["settings"].annotation == "Unpack[TrainSettings]"
        assert not parameters.keys() & keywords.keys()


def test_a_keyword_that_is_none_gets_the_nearest() -> None:
    for wrong, meant in (("batchsize", "batch_size"), ("epoch", "epochs"), ("worker", "workers")):
        with pytest.raises(hs.ConfigError, match=f"'{wrong}'. Did you mean '{meant}'"):
            hs.train("photos", **{wrong: 1})  # type: ignore[arg-type]


def test_silence_can_be_asked_for(
    photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = hs.train(photos, tmp_path / "run", recipe="probe", size_px=64, verbose=False).path
    hs.resume(run, verbose=False)
    assert capfd.readouterr() == ("", "")
    assert (run / "history.csv").exists()
    hs.resume(run)
    assert "is finished" in capfd.readouterr().err
    monkeypatch.setenv("RANK", "1")  # another process of torchrun, while the first one says it
    hs.resume(run)
    assert capfd.readouterr() == ("", "")


def test_the_keywords_of_a_call_are_the_settings_of_its_command() -> None:
    settings = settings_of(hs.TrainConfig)
    parameters = inspect.signature(hs.evaluate).parameters
    of_evaluate = {name for name, each in parameters.items() if each.kind == each.KEYWORD_ONLY} - {"views"}
    assert of_evaluate == {name for name, each in settings.items() if "evaluate" in each.commands}
    assert parameters["boxes"].default == hs.TrainConfig.boxes
    assert parameters["image_column"].default == hs.TrainConfig.image_column
    assert set(get_type_hints(hs.FeatureSettings)) == {
        name for name, each in settings.items() if "features" in each.commands
    }
    assert set(get_type_hints(hs.RecommendSettings)) == {
        name for name, each in settings.items() if "recommend" in each.commands
    }
    for call, keywords in (
        (hs.features, "FeatureSettings"),
        (hs.recommend, "RecommendSettings"),
        (hs.augment, "TrainSettings"),
    ):
        assert inspect.signature(call).parameters["settings"].annotation == f"Unpack[{keywords}]"


@pytest.fixture(scope="module")
def result(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> hs.TrainResult:
    out = tmp_path_factory.mktemp("api") / "run"
    return hs.train(photos, out, recipe="probe", head="linear", size_px=64, verbose=False)


def test_a_result_has_its_files_as_objects(result: hs.TrainResult, photos: Path) -> None:
    assert result.metrics["task"] == "classification"
    assert [row["phase"] for row in result.history] == ["probe"]
    assert len(result.answers) == result.metrics["images"]["used"]
    assert result.predictor.class_names == tuple(result.metrics["class_names"])


def test_the_result_of_another_process_names_the_one_that_reports(tmp_path: Path) -> None:
    assert repr(hs.TrainResult(tmp_path, {})) == f"The run {tmp_path}, reported by the main process"


def test_probabilities_are_those_of_the_predictions(result: hs.TrainResult, photos: Path) -> None:
    model, paths = result.predictor, sorted((photos / "test").rglob("*.jpg"))
    found = model.predict_proba(paths)
    assert (found.shape, found.dtype) == ((12, 3), np.float32)
    expected = [[each.probabilities[name] for name in model.class_names] for each in model.predict(paths)]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))
    assert model.predict_proba(paths[0]).shape == (1, 3)
    assert model.predict_proba([]).shape == (0, 3)
    with pytest.raises(hs.ImageError, match=r"gone\.jpg"):
        model.predict_proba([paths[0], "gone.jpg"])


def test_a_model_of_numbers_has_no_probabilities() -> None:
    graph = onnx.load_from_string(colours_model())
    del graph.graph.output[:]
    graph.graph.output.append(onnx.helper.make_tensor_value_info("numbers", onnx.TensorProto.FLOAT, ["N", 3]))
    graph.graph.node.append(onnx.helper.make_node("Identity", ["logits"], ["numbers"]))
    numbers = {"task": "regression", "class_names": (), "targets": ("a", "b", "c")}
    info = dataclasses.replace(INFO, scale=((0.0,) * 3, (1.0,) * 3), **numbers)  # type: ignore[arg-type]
    model = hs.Predictor(graph.SerializeToString(), info)
    with pytest.raises(hs.UsageError, match="predicts numbers"):
        model.predict_proba(np.zeros((8, 8, 3), np.uint8))


def test_a_model_is_scored_by_its_path_or_as_an_object(result: hs.TrainResult, photos: Path) -> None:
    scored = hs.evaluate(result.path, photos, "train")
    assert (
        scored.metrics == hs.evaluate(pickle.loads(pickle.dumps(result.predictor)), photos, "train").metrics
    )
    assert "was trained on" in scored.notes[0]
    assert scored.notes[0] in repr(scored)
    assert scored.notes[0] in str(scored)
    assert scored.notes[0] not in scored.scores_as_text()  # the command writes it to standard error
    assert hs.evaluate(result.predictor, photos).metrics == result.metrics["test"]
    assert hs.evaluate(hs.load(result.path), photos / "test").notes == ()


def test_what_are_no_photos_gets_a_message(result: hs.TrainResult) -> None:
    with pytest.raises(hs.ConfigError, match="data is 5; it must be the path of labelled photos"):
        hs.evaluate(result.predictor, WRONG)


def test_features_come_as_arrays_or_as_a_file(photos: Path, tmp_path: Path) -> None:
    settings: Any = {"size_px": 64, "verbose": False}
    inside = hs.features(photos / "test", **settings)
    assert inside["vector"].shape == (12, inside.num_features)
    assert sorted(set(inside["label"])) == ["blue", "green", "red"]
    with pytest.raises(KeyError, match="there are path, label, split, vector"):
        inside["vectors"]
    written = hs.features(photos / "test", tmp_path / "f.npz", **settings)
    with np.load(tmp_path / "f.npz") as arrays:
        assert set(arrays) == set(inside.columns)
        for name in arrays:
            np.testing.assert_array_equal(arrays[name], inside[name])
    with pytest.raises(KeyError, match=r"f\.npz"):
        written["vector"]
    with pytest.raises(hs.ConfigError, match=r"'sizepx'\. Did you mean 'size_px'"):
        hs.features(photos, sizepx=3)  # type: ignore[call-arg]


def test_a_preview_needs_no_file(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = hs.augment(photos, augment="light", num_views=1, num_photos=2)
    with Image.open(io.BytesIO(shown._repr_png_())) as image:
        assert image.size == shown.picture.size
    assert "Views of 2 photos" in repr(shown)
    assert not list(tmp_path.iterdir())


def test_results_are_readable_in_a_terminal_and_in_a_notebook(result: hs.TrainResult, photos: Path) -> None:
    prediction = result.predictor.predict(photos / "test" / "red" / "red0.jpg")[0]
    assert "label='red'" in repr(prediction)
    many = hs.Prediction(None, "c0", 0.9, {f"c{number}": 0.01 for number in range(1000)})
    assert len(repr(many)) < 200
    assert (
        repr(hs.Prediction("a", box=(1.0, 2.0, 3.0, 4.0))) == "Prediction(path='a', box=(1.0, 2.0, 3.0, 4.0))"
    )
    scored = hs.evaluate(result.path, photos)
    assert re.search(rf"^accuracy +{scored.metrics['accuracy']:.4f} ", str(scored), re.MULTILINE)
    features = hs.features(photos / "test", size_px=64, verbose=False)
    assert repr(features).startswith(f"<Features of 12 photos, {features.num_features:,} each, columns path,")
    row = StageSummary("stem", "conv1, bn1", (8, 16, 16), 24, 0.5, 3_000_000, frozen=True)
    listed = BackboneList([hs.ListedBackbone("tiny", "tiny.a", 64, "cache", True, 3_000_000, 12.0)], "More.")
    inspection = hs.Inspection("tiny", 32, (row,))
    plan = hs.plan(photos, recipe="probe", size_px=64)
    assert repr(plan) == str(plan)
    assert plan.startswith("This is a plan:")
    shown = (
        scored,
        result,
        inspection,
        listed,
        hs.Exported(Path("a<b.pth"), "import torch"),
    )
    assert "total: 24 parameters, 0.5 MB, 3.0 M multiply-adds" in repr(inspection)
    for each in shown:
        html = each._repr_html_()
        assert all(text in html for text in ("<", "</"))
        assert "object at" not in repr(each)
        ElementTree.fromstring(f"<div>{html}</div>")
    assert "a&lt;b.pth" in shown[-1]._repr_html_()
    assert [each.name for each in listed] == ["tiny"]


def test_a_plan_takes_what_train_takes(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = hs.TrainConfig(data=str(photos), recipe="probe", size_px=64)
    plan = hs.plan(config=config, verbose=False, watch="")
    assert str(plan).startswith("This is a plan:")
    assert capfd.readouterr() == ("", "")
    with pytest.raises(hs.ConfigError, match="Both config and seed are given"):
        hs.plan(config=config, seed=1)
    with pytest.raises(hs.ConfigError, match="watch holds 3"):
        hs.plan(photos, watch=[3])  # type: ignore[list-item]
    with pytest.raises(hs.ConfigError, match="watch is given, but a range test"):
        hs.lr_find(photos, watch="mlflow")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hs.train("photos", WRONG), "out is 5; it must be the path of a new run folder"),
        (lambda: hs.plan("photos", WRONG), "out is 5"),
        (lambda: hs.resume(WRONG), "path is 5; it must be the path of a run folder"),
        (lambda: hs.load(WRONG), r"path is 5; .* a run folder, or of its model\.onnx"),
        (lambda: hs.evaluate(WRONG, "photos"), "path is 5"),
        (lambda: hs.export(WRONG, "pth"), "run is 5; .* or what headstart.load returned for one"),
        (lambda: hs.features("photos", WRONG), "out is 5; it must be the path of the output file"),
        (lambda: hs.augment("photos", WRONG), "out is 5; it must be the path of the picture"),
        (lambda: hs.lr_find("photos", WRONG), "out is 5; it must be the path of the picture"),
    ],
)
def test_what_is_not_a_path_gets_a_message(call: Callable[[], object], message: str) -> None:
    with pytest.raises(hs.ConfigError, match=message):
        call()


def test_a_predictor_is_exported_from_the_folder_of_its_run(result: hs.TrainResult, tmp_path: Path) -> None:
    written = hs.export(hs.load(result.path), "pth", tmp_path / "a.pth")
    assert written.path.stat().st_size > 0
    with pytest.raises(hs.UsageError, match="Name the run folder"):
        hs.export(hs.Predictor.from_bytes((result.path / "model.onnx").read_bytes()), "pth")
    (result.path / "model.pth").write_bytes(b"not ours")
    with pytest.raises(hs.UsageError, match=r"add --out .*model\.pth \(in Python: out="):
        hs.export(result.path, "pth")
    (result.path / "model.pth").unlink()


def test_an_unknown_format_gets_the_nearest(result: hs.TrainResult) -> None:
    with pytest.raises(
        hs.ConfigError,
        match=r"'pht'; it must be onnx, onnx-fp16, pth, timm, test-vector or web\. Did you mean 'pt",
    ):
        hs.export(result.path, "pht")  # type: ignore[arg-type]
