"""``headstart verify``: a model file against its self-test, and against the answers of its run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.colours import INFO, colours_model

import headstart as hs
from headstart.answers.agreement import agreement
from headstart.inference.model_file import open_onnx, seal_onnx
from headstart.inference.run_self_test import seal_with_self_test


@pytest.fixture(scope="module")
def run(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("verified") / "run"
    return hs.train(photos, out, recipe="probe", size_px=32, verbose=False).path


def with_scale(factor: float) -> bytes:
    """The model of colours with other logits."""
    model = onnx.load_from_string(colours_model())
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(np.float32(51 * factor), "scale"))
    return bytes(model.SerializeToString())


def test_a_finished_run_passes_and_shows_what_it_says_of_itself(run: Path) -> None:
    found = hs.verify(run)
    assert found
    assert found.ok
    assert set(found.differences) == {"logits", "probabilities"} | (
        {"unknown"} if found.info.unknown_threshold is not None else set()
    )
    assert max(found.differences.values()) <= 1e-6
    shown = repr(found)
    for text in ("Passed.", found.info.backbone, "licence", found.info.weights, "32 × 32", "3 classes: "):
        assert text in shown
    assert hs.verify(run / "model.onnx").info == found.info


def test_everything_that_a_file_says_is_on_one_screen(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    info = replace(
        INFO, weights="5793", weights_from="official", licence="apache-2.0", temperatures=(1.25,), versions={}
    )
    path.write_bytes(seal_with_self_test(colours_model(), info))
    lines = repr(hs.verify(path)).splitlines()
    assert len(lines) <= 24
    shown = "\n".join(lines)
    for step in hs.verify(path).steps:
        assert f"{step['step']}. {step['name']}: {step['text']}" in shown
    for text in ("official", "licence apache-2.0", "5793", "red, green, blue", "self-test", "checksum"):
        assert text in shown
    rows = {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[-1] for line in lines}
    assert rows["temperature"] == "1.25"
    path.write_bytes(seal_onnx(colours_model(), replace(info, format=5)))  # of before they were stated
    assert "not stated" in repr(hs.verify(path))


def test_a_model_that_computes_something_else_fails(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(seal_with_self_test(colours_model(), INFO))
    info = open_onnx(path)[1]
    assert hs.verify(path).ok
    path.write_bytes(seal_onnx(with_scale(1.01), info))
    found = hs.verify(path)
    assert not found
    assert "logits by 0.0099" in found.failures[0]
    assert "FAILED" in repr(found)


def test_a_model_without_a_self_test_is_noted_and_one_without_numbers_fails(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(seal_onnx(colours_model(), INFO))
    found = hs.verify(path)
    assert found.ok
    assert "no self-test" in found.notes[0]
    path.write_bytes(seal_with_self_test(with_scale(np.nan), INFO))
    assert "not finite numbers" in hs.verify(path).failures[0]


def test_answers_agree_with_those_of_the_run_wherever_the_photos_are(
    run: Path, photos: Path, tmp_path: Path
) -> None:
    found = hs.verify(run, photos)
    assert found.ok
    assert found.agreement is not None
    assert found.agreement.num_photos > 12  # the test photos, and validation photos
    assert found.agreement.max_difference <= 1e-6
    moved = tmp_path / "moved"
    moved.mkdir()
    for number, photo in enumerate(sorted((photos / "test").rglob("*.*"))):
        shutil.copy(photo, moved / f"{number}{photo.suffix}")
    found = hs.verify(run, moved)
    assert found.ok
    assert found.agreement is not None
    assert found.agreement.num_photos == 12
    assert "were not found" in found.notes[0]


def test_other_answers_than_those_of_the_run_fail(run: Path, photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "run"
    shutil.copytree(run, other)
    lines = (other / "answers.csv").read_text("utf-8").splitlines()
    logits = [index for index, name in enumerate(lines[0].split(",")) if name.startswith("logit:")]
    row = next(index for index, line in enumerate(lines) if ",test," in line)
    cells = lines[row].split(",")
    best = max(logits, key=lambda index: float(cells[index]))
    cells[best], cells[logits[logits[0] == best]] = "-9", "9"
    lines[row] = ",".join(cells)
    (other / "answers.csv").write_text("\n".join(lines) + "\n", "utf-8")
    found = hs.verify(other, photos)
    assert not found.ok
    assert found.agreement is not None
    assert [each.path for each in found.agreement.changed] == [cells[0]]
    assert cells[0] in repr(found)


def test_photos_that_are_not_those_of_the_run_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(hs.DataError, match="None of the"):
        hs.verify(run, tmp_path)
    with pytest.raises(hs.RunFolderError):
        hs.verify(tmp_path)


def test_changed_answers_have_the_margin_of_the_first_answer() -> None:
    before = np.log([[0.6, 0.3, 0.1], [0.4, 0.39, 0.21], [0.1, 0.1, 0.8]])
    after = np.log([[0.6, 0.3, 0.1], [0.39, 0.4, 0.21], [0.1, 0.8, 0.1]])
    found = agreement(INFO, ["a", "b", "c"], before, after)
    assert [(each.path, each.before, each.after) for each in found.changed] == [
        ("c", "blue", "green"),
        ("b", "red", "green"),
    ]
    assert [round(each.margin, 6) for each in found.changed] == [0.7, 0.01]
    assert (found.worst, round(found.max_difference, 6)) == ("c", 0.7)
    labels = replace(INFO, task="multilabel", thresholds=(0.5, 0.2, 0.9))
    found = agreement(labels, ["a"], np.array([[0.1, -9, 9]]), np.array([[-0.1, -9, 9]]))
    assert [(each.before, each.after) for each in found.changed] == [("red, blue", "blue")]
    numbers = replace(INFO, task="regression", class_names=(), targets=("n",), scale=((0.0,), (2.0,)))
    found = agreement(numbers, ["a", "b"], np.array([[1.0], [np.nan]]), np.array([[2.0], [2.0]]))
    assert (found.changed, found.worst) == ((), "b")
    assert np.isnan(found.max_difference)
    box = replace(INFO, task="box")
    sides = np.zeros((1, 7))
    found = agreement(box, ["a"], sides, sides + np.eye(7)[:1] * 5, [(100, 10)])
    assert found.max_difference == 0.05
