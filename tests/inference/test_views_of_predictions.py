"""Predictions averaged over several views of a photo."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from colours import INFO, colours_model
from headstart import tasks
from headstart.answers.evaluate import evaluate
from headstart.errors import ConfigError, UsageError
from headstart.inference.model_file import seal_onnx
from headstart.inference.predictor import Predictor, load

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture(scope="module")
def model() -> bytes:
    """A model file whose logits are the mean red, green and blue of the left half of a photo, in 0..5."""
    network = onnx.load_model_from_string(colours_model())
    graph = network.graph
    for name, value in {"first": 0, "end": 8, "axis": 2}.items():
        graph.initializer.append(onnx.numpy_helper.from_array(np.array([value]), name))
    graph.node.insert(1, onnx.helper.make_node("Slice", ["floats", "first", "end", "axis"], ["left"]))
    graph.node[2].input[0] = "left"
    return seal_onnx(network.SerializeToString(), INFO)


def halves(left: tuple[int, ...], right: tuple[int, ...]) -> np.ndarray:
    pixels = np.empty((40, 40, 3), np.uint8)
    pixels[:, :20], pixels[:, 20:] = left, right
    return pixels


def ring(middle: tuple[int, ...], around: tuple[int, ...]) -> np.ndarray:
    pixels = np.empty((200, 200, 3), np.uint8)
    pixels[:], pixels[10:190, 10:190] = around, middle  # the middle 80 % of the area, nearly
    return pixels


def predictor(model: bytes, views: int) -> Predictor:
    return Predictor(model, INFO, views=views)


@pytest.mark.parametrize("as_file", [False, True])
def test_probabilities_are_means_over_the_photo_and_its_mirror_image(
    model: bytes, tmp_path: Path, as_file: bool
) -> None:
    photos = []
    for name, pixels in {"a": halves(RED, BLUE), "b": halves(BLUE, RED), "c": halves(GREEN, GREEN)}.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        photos.append(tmp_path / f"{name}.png" if as_file else pixels)
    plain = predictor(model, 1).predict_proba(photos)
    assert plain.argmax(1).tolist() == [0, 2, 1]
    averaged = predictor(model, 2).predict_proba(photos)
    np.testing.assert_allclose(averaged[:2], [plain[:2].mean(0)] * 2, atol=1e-6)
    np.testing.assert_array_equal(averaged[2], plain[2])
    assert [each.label for each in predictor(model, 2).predict(photos)][2] == "green"


def test_four_views_also_see_the_middle(model: bytes) -> None:
    pixels = ring(RED, BLUE)
    two, four = (predictor(model, views).predict_proba(pixels)[0] for views in (2, 4))
    middle = predictor(model, 1).predict_proba(np.full((40, 40, 3), RED, np.uint8))[0]
    np.testing.assert_allclose(four, (two + middle) / 2, atol=0.02)
    assert four[0] > two[0] + 0.01


def test_a_pickled_predictor_keeps_its_views_and_unreadable_photos_their_errors(model: bytes) -> None:
    again = pickle.loads(pickle.dumps(predictor(model, 2)))
    found = again.predict([halves(RED, BLUE), b"not a photo"])
    assert again.views == 2
    assert found[0].probability == pytest.approx(
        predictor(model, 2).predict(halves(RED, BLUE))[0].probability
    )
    assert found[1].error


@pytest.mark.parametrize("task", ["classification", "multilabel"])
def test_outputs_are_the_logits_of_the_mean_probabilities(task: str) -> None:
    logits = np.random.default_rng(0).normal(0, 4, (5, 4, 3)).astype(np.float32)
    logits[0, 0] = 1000, 0, -1000
    info = dataclasses.replace(INFO, task=task)
    of = tasks.of(task)
    found = of.mean_of_logits(logits)
    assert found.dtype == np.float32
    means = np.mean([of.comparable(logits[:, view], info) for view in range(4)], 0)
    np.testing.assert_allclose(of.comparable(found, info), means, atol=1e-5)


def test_scores_are_those_of_the_averaged_predictions(model: bytes, tmp_path: Path) -> None:
    """The first photo's left half alone would be called red."""
    for name, pixels in {"blue": halves((140, 0, 0), BLUE), "red": halves(RED, RED)}.items():
        (tmp_path / "photos" / name).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "photos" / name / "a.png")
    file = tmp_path / "model.onnx"
    file.write_bytes(model)
    assert evaluate(file, tmp_path / "photos").metrics["accuracy"] == 0.5
    scores = evaluate(file, tmp_path / "photos", views=2).metrics
    assert scores["accuracy"] == 1
    assert evaluate(load(file, views=2), tmp_path / "photos").metrics == scores
    with pytest.raises(ConfigError, match=r"views is 4, but the model was loaded with views=2"):
        evaluate(load(file, views=2), tmp_path / "photos", views=4)


@pytest.mark.parametrize("views", [0, 3, 8, -1])
def test_other_numbers_of_views_are_refused(model: bytes, views: int) -> None:
    with pytest.raises(UsageError, match=f"views is {views}; it must be 1, 2 or 4"):
        predictor(model, views)


def test_boxes_have_one_view(model: bytes) -> None:
    with pytest.raises(UsageError, match="views is 2, but the model predicts boxes"):
        Predictor(model, dataclasses.replace(INFO, task="box"), views=2)
