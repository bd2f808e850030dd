"""Predictions drawn on their photos: which files there are, and what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from headstart import tasks
from headstart.errors import UsageError
from headstart.images.settings import Preprocessing
from headstart.inference.drawings import draw_each, explain_each
from headstart.inference.model_file import ModelInfo, seal_onnx
from headstart.inference.predictor import Predictor
from headstart.products.heat_map import with_heat_map
from headstart.tasks.prediction import Prediction

INFO = ModelInfo("box", "resnet18", ("cat",), Preprocessing(size_px=32))


def photo(path: Path) -> str:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (60, 40), "grey").save(path)
    return str(path)


def test_a_folder_with_files_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    mine = tmp_path / "drawn" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    predictions = [Prediction(photo(tmp_path / "a.png"), box=(1.0, 2.0, 3.0, 4.0))]
    for wrong in (mine.parent, mine):
        # At once, not with the first photo.
        with pytest.raises(UsageError, match=r"not an empty folder.*--draw"):
            draw_each(predictions, INFO, wrong)
    assert mine.read_text() == "mine"
    assert list(mine.parent.iterdir()) == [mine]


def test_an_empty_folder_is_taken_and_a_missing_one_made(tmp_path: Path) -> None:
    predictions = [Prediction(photo(tmp_path / "a.png"), box=(1.0, 2.0, 3.0, 4.0))]
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "far" / "away"):
        assert list(draw_each(predictions, INFO, folder)) == predictions
        assert [path.name for path in folder.iterdir()] == ["a.jpg"]


def test_photos_of_the_same_name_are_numbered(tmp_path: Path) -> None:
    names = [
        "x/a.png",
        "y/a.png",
        "y/a-2.png",
        "z/a.gif",
        "z/b.png",
        "z/A.png",
    ]  # Windows and macOS ignore case
    predictions = [Prediction(photo(tmp_path / name), box=(1.0, 2.0, 3.0, 4.0)) for name in names]
    list(draw_each(predictions, INFO, tmp_path / "drawn"))
    drawn = sorted(path.name for path in (tmp_path / "drawn").iterdir())
    assert drawn == ["A-4.jpg", "a-2-2.jpg", "a-2.jpg", "a-3.jpg", "a.jpg", "b.jpg"]


def test_what_is_no_file_or_cannot_be_read_is_passed_on(tmp_path: Path) -> None:
    predictions = [Prediction(None, box=(1.0, 2.0, 3.0, 4.0)), Prediction("broken.jpg", error="damaged")]
    assert list(draw_each(predictions, INFO, tmp_path / "drawn")) == predictions
    assert list((tmp_path / "drawn").iterdir()) == []


def test_the_box_is_where_it_was_predicted(tmp_path: Path) -> None:
    predictions = [Prediction(photo(tmp_path / "a.png"), box=(10.0, 8.0, 50.0, 32.0))]
    list(draw_each(predictions, INFO, tmp_path / "drawn"))
    with Image.open(tmp_path / "drawn" / "a.jpg") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape[0] > 40  # words below
    rows, columns = np.nonzero(pixels[:40, :, 0] - pixels[:40, :, 2] > 60)  # the red edge
    found = (columns.min(), rows.min(), columns.max(), rows.max())
    np.testing.assert_allclose(found, (10, 8, 50, 32), atol=2)


@pytest.mark.parametrize(
    ("task", "prediction", "said"),
    [
        ("classification", Prediction("", "cat", 0.754, {"cat": 0.754}), "cat 75%"),
        ("box", Prediction("", "cat", 0.754, {"cat": 0.754}, box=(1.0, 2.0, 3.0, 4.0)), "cat 75%"),
        ("box", Prediction("", box=(1.4, 2.0, 3.0, 4.6)), "box 1, 2, 3, 5"),
        ("regression", Prediction("", numbers={"width": 12.34567, "n": 3.0}), "width 12.35, n 3"),
        ("multilabel", Prediction("", labels=("cat", "owl"), probabilities={"cat": 0.9}), "cat 90%, owl"),
        ("multilabel", Prediction("", probabilities={"cat": 0.1}), "none"),
    ],
)
def test_a_prediction_is_said_in_a_line(task: str, prediction: Prediction, said: str) -> None:
    assert tasks.of(task).words(prediction) == said


def explaining() -> Predictor:
    """A model whose heat map is how red each quarter of a photo is."""
    node, value = helper.make_node, helper.make_tensor_value_info
    number = TensorProto.FLOAT
    graph = helper.make_graph(
        [
            node("Cast", ["images"], ["floats"], to=number),
            node("Transpose", ["floats"], ["map"], perm=[0, 3, 1, 2]),
            node("AveragePool", ["map"], ["coarse"], kernel_shape=[16, 16], strides=[16, 16]),
            node("GlobalAveragePool", ["coarse"], ["mean"]),
            node("Flatten", ["mean"], ["features"]),
            node("Gemm", ["features", "weight", "bias"], ["logits"], transB=1),
            node("Softmax", ["logits"], ["probabilities"]),
        ],
        "red",
        [value("images", TensorProto.UINT8, ["N", 32, 32, 3])],
        [value("logits", number, ["N", 2]), value("probabilities", number, ["N", 2])],
        [
            numpy_helper.from_array(np.array([[1, -0.5, -0.5], [0, 0, 0]], np.float32), "weight"),
            numpy_helper.from_array(np.zeros(2, np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    info = ModelInfo("classification", "red", ("red", "other"), Preprocessing(size_px=32, resize="squash"))
    return Predictor.from_bytes(seal_onnx(with_heat_map(model.SerializeToString(), info).model, info))


def test_heat_maps_are_drawn_where_the_class_comes_from(tmp_path: Path) -> None:
    predictor = explaining()
    image = Image.new("RGB", (80, 60), "grey")
    image.paste((255, 0, 0), (40, 30, 80, 60))
    for name in ("x/a.png", "y/a.png"):
        (tmp_path / name).parent.mkdir()
        image.save(tmp_path / name)
    paths = [str(tmp_path / name) for name in ("x/a.png", "y/a.png")]
    explained = predictor.predict(paths, explain=True)
    reused = predictor.predict(paths)  # as from an interrupted call: their heat maps are computed again
    for number, predictions in enumerate((explained, reused)):
        folder = tmp_path / f"drawn{number}"
        assert list(explain_each(predictions, predictor, folder)) == predictions
        assert sorted(path.name for path in folder.iterdir()) == ["a-2.jpg", "a.jpg"]
        with Image.open(folder / "a.jpg") as drawn:
            assert drawn.width == 80
            assert drawn.height > 60  # words below
            light = np.asarray(drawn.convert("L")).astype(int)[:60]
        assert light[35:, 45:].mean() > light[:25, :35].mean() + 30
    with pytest.raises(UsageError, match=r"not an empty folder.*--explain"):
        explain_each(explained, predictor, tmp_path / "drawn0")
