"""Photos are compared with the training photos of a run, by features that are stored or computed once."""

from __future__ import annotations

import csv
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

import headstart as hs
from headstart.cli import app
from headstart.frozen.linear_head import head_input
from headstart.neighbours.among import Among, KnownPhoto
from headstart.neighbours.similar import Finder

PROBE: dict[str, Any] = {"recipe": "probe", "size_px": 32, "device": "cpu", "verbose": False}


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folder of a run, and of its photos, which is not shared with other tests."""
    folder = tmp_path_factory.mktemp("similar")
    data = Path(shutil.copytree(photos, folder / "data"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(folder / "cache"))
        return hs.train(data, folder / "run", **PROBE).path, data


@pytest.fixture(autouse=True)
def cache(trained: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has the features that the training has stored."""
    monkeypatch.setenv("HEADSTART_CACHE", str(trained[0].parent / "cache"))


def test_similar_photos_are_of_the_same_class_and_the_best_comes_first(
    trained: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run, data = trained
    asked = sorted((data / "test").rglob("*.jpg"))
    found = hs.similar(run, asked, 4)
    assert "Computing" not in capsys.readouterr().err  # training has stored the features
    for photo, several in zip(asked, found, strict=True):
        assert [each.label for each in several] == [photo.parent.name] * 4
        assert [each.similarity for each in several] == sorted(
            (each.similarity for each in several), reverse=True
        )
        assert all(Path(each.path).is_file() for each in several)
    again = Path(found[0][0].path)
    assert all(Path(each.path) != again for each in hs.similar(hs.load(run), again)[0])


def test_photos_that_have_been_moved_are_found_in_the_store_and_otherwise_left_out(
    trained: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, data = trained
    copied, photo = Path(shutil.copytree(run, tmp_path / "run")), data / "test" / "red" / "red0.jpg"
    config = (copied / "config.toml").read_text("utf-8")
    moved = tmp_path / "moved"
    (copied / "config.toml").write_text(config.replace(str(data), str(moved)), "utf-8")
    assert [each.label for each in hs.similar(copied, photo)[0]] == [
        "red"
    ] * 3  # the paths say where they were
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "empty"))
    with pytest.raises(hs.UsageError, match="None of the run's training photos can be read"):
        hs.similar(copied, photo)
    shutil.copytree(data, moved)
    gone, changed = sorted((moved / "train" / "red").iterdir())[:2]
    gone.unlink()
    shutil.copy(moved / "train" / "blue" / "blue0.jpg", changed)
    capsys.readouterr()
    (found,) = hs.similar(copied, photo, 100)
    said = capsys.readouterr().err
    assert "training photos, once" in said
    assert {str(gone), str(changed)}.isdisjoint(each.path for each in found)
    rows = csv.DictReader((copied / "photos.csv").read_text("utf-8").splitlines())
    in_train = [row for row in rows if row["split"] == "train"]
    left_out = {"train/red/" + gone.name, "train/red/" + changed.name} & {row["path"] for row in in_train}
    assert len(found) == len(in_train) - len(left_out)
    assert not left_out or "left out" in said


def test_what_cannot_be_compared_is_refused(trained: tuple[Path, Path], tmp_path: Path) -> None:
    run, data = trained
    photo = data / "test" / "red" / "red0.jpg"
    shutil.copy(run / "model.onnx", tmp_path / "model.onnx")
    with pytest.raises(hs.UsageError, match="Name the run folder"):
        hs.similar(tmp_path / "model.onnx", photo)
    with pytest.raises(hs.UsageError, match="at least 1"):
        hs.similar(run, photo, 0)
    with pytest.raises(hs.ImageError):
        hs.similar(run, [photo, b"no photo"])


def test_predict_names_them_in_every_format(trained: tuple[Path, Path], tmp_path: Path) -> None:
    run, data = trained
    (bad := tmp_path / "bad.jpg").write_bytes(b"no photo")
    photo = data / "test" / "red" / "red0.jpg"
    command = ["predict", str(run), str(photo), str(bad), "--similar", "2"]
    said = {
        name: CliRunner().invoke(app, [*command, "--format", name]).stdout
        for name in ("csv", "jsonl", "table")
    }
    first, second = csv.DictReader(said["csv"].splitlines())
    nearest = hs.similar(run, photo, 2)[0]
    assert first["similar_2"] == nearest[1].path
    assert first["similar_1_label"] == "red"
    assert float(first["similar_1_similarity"]) == nearest[0].similarity
    assert second["similar_1"] == ""
    of_photo, of_bad = map(json.loads, said["jsonl"].splitlines())
    assert [each["path"] for each in of_photo["similar"]] == [each.path for each in nearest]
    assert of_bad["similar"] == []
    assert said["table"].count("\n    similar ") == 2
    out = tmp_path / "out.csv"
    CliRunner().invoke(app, [*command, "--out", str(out)])
    assert out.read_text("utf-8") == said["csv"]


def test_similar_photos_do_not_wait_for_photos_that_come_later(trained: tuple[Path, Path]) -> None:
    run, data = trained
    photos = sorted((data / "test").rglob("*.jpg"))
    predictor = hs.load(run)
    some = [hs.Prediction("gone.jpg", error="gone"), *predictor.predict(photos), hs.Prediction(None)]
    finder = Finder(predictor, 2, say=lambda _: None)
    given = []

    def slowly() -> Iterator[hs.Prediction]:
        for each in some:
            given.append(each)
            time.sleep(0.05)
            yield each

    num_given = []
    found = []
    for each in finder.follow(slowly()):
        found.append(each)
        num_given.append(len(given))
    assert [each.path for each in found] == [each.path for each in some]
    assert [len(each.similar) for each in found] == [0, *([2] * len(photos)), 0]
    assert num_given[0] < len(some)


def test_the_report_shows_them_below_mistakes_unless_it_shows_no_photos(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    run, _ = trained
    copied = Path(shutil.copytree(run, tmp_path / "run"))
    answers = (copied / "answers.csv").read_text("utf-8")
    wrong = answers.replace(",red,red,", ",blue,red,", 1)
    assert wrong != answers
    (copied / "answers.csv").write_text(wrong, "utf-8")
    words = "Most similar in training"
    assert words in hs.report(copied).path.read_text("utf-8")
    assert words not in hs.report(copied, photos=False).path.read_text("utf-8")


def test_the_cosine_is_that_of_centred_features() -> None:
    features = np.random.default_rng(0).normal(5, size=(20, 6)).astype(np.float32)
    photos = [KnownPhoto(f"{row}", "a", f"{row:064x}") for row in range(20)]
    among = Among.of(photos, features.copy())
    centred = features - features.mean(0)
    cosines = centred @ centred[3] / np.linalg.norm(centred, axis=1) / np.linalg.norm(centred[3])
    found = among.nearest(features[3], 30, but=photos[3].sha256)
    assert [each.path for each in found] == [f"{row}" for row in np.argsort(-cosines) if row != 3]
    np.testing.assert_allclose(
        [each.similarity for each in found], np.sort(np.delete(cosines, 3))[::-1], atol=1e-4
    )


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([("Flatten", "x", "f"), ("Gemm", "f w", "logits")], "f"),
        ([("Flatten", "x", "f"), ("Gemm", "f w", "raw"), ("Mul", "raw c", "logits")], "f"),
        ([("Flatten", "x", "f"), ("Mul", "f c", "g"), ("Gemm", "g w", "logits")], "g"),
        (
            [("Flatten", "x", "f"), ("Concat", "x f", "j"), ("Mul", "j c", "g"), ("Gemm", "g w", "logits")],
            "f",
        ),
        ([("Conv", "x w", "y"), ("Relu", "y", "logits")], None),
        ([("Gemm", "x x", "logits")], None),
    ],
)
def test_the_input_of_the_last_linear_layer_is_found(
    nodes: list[tuple[str, str, str]], expected: str | None
) -> None:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(name, inputs.split(), [output]) for name, inputs, output in nodes],
        "model",
        [value("x", TensorProto.FLOAT, ["n", 4])],
        [value("logits", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(np.ones((4, 4), np.float32), name) for name in ("w", "c")],
    )
    assert head_input(onnx.helper.make_model(graph), "logits") == expected
