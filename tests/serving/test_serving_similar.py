"""Training photos, which may be private, leave the service only with ``--similar``."""

from __future__ import annotations

import base64
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import headstart as hs
from headstart.serving.app import Service
from headstart.serving.log import Log
from headstart.serving.models import Models
from headstart.serving.settings import ServeSettings
from serving_calls import call, code_of, open_service, predict, write_model


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """The folder of a run, and that of its photos, whose names say something."""
    folder = tmp_path_factory.mktemp("similar")
    data = Path(shutil.copytree(photos, folder / "data"))
    for number, photo in enumerate(sorted((data / "train").rglob("*.jpg"))):
        photo.rename(photo.with_name(f"patient-{number}.jpg"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(folder / "cache"))
        run = hs.train(data, folder / "run", recipe="probe", size_px=32, device="cpu", verbose=False)
        yield run.path, data


@pytest.fixture(autouse=True)
def cache(trained: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has the features that the training has stored."""
    monkeypatch.setenv("HEADSTART_CACHE", str(trained[0].parent / "cache"))


@pytest.fixture(scope="module")
def shown(trained: tuple[Path, Path]) -> Iterator[Service]:
    service = open_service_of(trained[0], said := [])
    assert said == []  # training has stored the features
    yield service
    service.close()


def open_service_of(run: Path, said: list[str], *, others: tuple[Path, ...] = ()) -> Service:
    paths = {"run": run} | {path.stem: path for path in others}
    models = Models(paths, similar=True, say=said.append)
    models.prove_all()
    return Service(models, ServeSettings(similar=True), Log(os.open(os.devnull, os.O_WRONLY)))


def test_similar_photos_are_those_of_predict_without_paths_of_this_machine(
    shown: Service, trained: tuple[Path, Path]
) -> None:
    run, data = trained
    photo = data / "test" / "red" / "red0.jpg"
    answer = predict(shown, photo.read_bytes(), "?similar=2")
    found = answer.json()["predictions"][0]["similar"]
    wanted = hs.similar(run, photo, 2, verbose=False)[0]
    assert [each["name"] for each in found] == [
        Path(each.path).relative_to(data).as_posix() for each in wanted
    ]
    assert [each["label"] for each in found] == [each.label for each in wanted]
    assert [each["similarity"] for each in found] == pytest.approx(
        [each.similarity for each in wanted], abs=2e-4
    )
    assert str(data) not in answer.text
    with Image.open(io.BytesIO(base64.b64decode(found[0]["thumbnail"]))) as image:
        assert image.format == "JPEG"
        assert max(image.size) <= 160
        with Image.open(wanted[0].path) as original:
            assert image.size[0] * original.size[1] == pytest.approx(
                image.size[1] * original.size[0], rel=0.1
            )
    assert "similar" not in predict(shown, photo.read_bytes()).json()["predictions"][0]
    assert call(shown, "GET", "/v1/models").json()["models"][0]["has_similar"]


def test_a_training_photo_is_not_similar_to_itself(shown: Service, trained: tuple[Path, Path]) -> None:
    photo = sorted((trained[1] / "train" / "red").iterdir())[0]
    found = predict(shown, photo.read_bytes(), "?similar=20").json()["predictions"][0]["similar"]
    assert f"train/red/{photo.name}" not in [each["name"] for each in found]


def test_a_photo_that_has_changed_or_gone_has_no_thumbnail(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    run, data = trained
    copied, moved = Path(shutil.copytree(run, tmp_path / "run")), tmp_path / "moved"
    config = (copied / "config.toml").read_text("utf-8")
    (copied / "config.toml").write_text(config.replace(str(data), str(moved)), "utf-8")
    shutil.copytree(data, moved)
    for photo in (moved / "train").rglob("*.jpg"):
        photo.write_bytes(b"another file that has nothing to do with training")
    service = open_service_of(copied, said := [])
    found = predict(service, (data / "test/red/red0.jpg").read_bytes(), "?similar=3").json()
    assert [each["thumbnail"] for each in found["predictions"][0]["similar"]] == [None] * 3
    assert said == []
    service.close()


def test_folders_outside_that_of_the_photos_are_not_shown(trained: tuple[Path, Path], tmp_path: Path) -> None:
    run, data = trained
    copied = Path(shutil.copytree(run, tmp_path / "run"))
    table = (copied / "photos.csv").read_text("utf-8")
    (copied / "photos.csv").write_text(table.replace("train/", f"../{data.name}/train/"), "utf-8")
    service = open_service_of(copied, [])
    found = predict(service, (data / "test/red/red0.jpg").read_bytes(), "?similar=3").json()
    service.close()
    assert all(each["name"].startswith("patient-") for each in found["predictions"][0]["similar"])


def test_without_the_option_no_name_of_a_training_photo_leaves_the_service(
    trained: tuple[Path, Path],
) -> None:
    run, data = trained
    service = open_service(run / "model.onnx")
    photo = sorted((data / "train" / "red").iterdir())[0].read_bytes()
    refused = predict(service, photo, "?similar=1")
    assert (refused.status_code, code_of(refused)) == (422, "no_similar")
    assert "start the service with --similar" in refused.json()["error"]["message"]
    description = call(service, "GET", "/openapi.json").json()
    parameters = description["paths"]["/v1/predict"]["post"]["parameters"]
    assert "similar" not in [each["name"] for each in parameters]
    assert not call(service, "GET", "/v1/models").json()["models"][0]["has_similar"]
    answers = [
        refused,
        predict(service, photo),
        predict(service, photo, "?similar=x"),
        predict(service, b"x"),
    ]
    pages = [f"/{name}" for name in ("", "page.js", "similar.js", "back-end.js")]
    for path in (*pages, *description["paths"], "/openapi.json", "/v1/similar", "/v1/similar/1"):
        answers.append(call(service, "GET", path))
    for answer in answers:
        assert "patient-" not in answer.text + str(answer.headers)
        assert str(data) not in answer.text + str(answer.headers)
    service.close()


def test_the_description_names_the_models_that_have_similar_photos(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    alone = write_model(tmp_path / "alone.onnx")
    service = open_service_of(trained[0], said := [], others=(alone,))
    (sentence,) = said
    assert sentence.startswith("The model 'alone' is served without similar photos. Similar photos are found")
    answer = predict(service, b"x", "?similar=1&model=alone")
    assert (answer.status_code, code_of(answer)) == (422, "no_similar")
    assert "The model 'alone' has no similar training photos" in answer.json()["error"]["message"]
    description = call(service, "GET", "/openapi.json").json()
    parameters = {each["name"]: each for each in description["paths"]["/v1/predict"]["post"]["parameters"]}
    assert "Supported by: run;" in parameters["similar"]["description"]
    assert "Supported by: run;" in parameters["heat_map"]["description"]
    assert parameters["model"]["schema"]["enum"] == ["run", "alone"]
    service.close()


def test_the_only_model_must_have_similar_photos(tmp_path: Path) -> None:
    models = Models({"alone": write_model(tmp_path / "alone.onnx")}, similar=True)
    with pytest.raises(hs.UsageError, match="Name the run folder that headstart train wrote"):
        models.prove_all()
    assert not models.ready


def test_models_are_not_listed_before_it_is_known_what_they_show(trained: tuple[Path, Path]) -> None:
    service = open_service_of(trained[0], [])
    service.models.ready = False
    listed = call(service, "GET", "/v1/models")
    assert (listed.status_code, code_of(listed)) == (503, "loading")
    service.close()


def test_a_model_that_is_taken_over_has_its_own_training_photos(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(trained[0], tmp_path / "run"))
    models = Models({"run": folder}, similar=True, say=(said := []).append)
    models.prove_all()
    old = models.get("run")
    write_model(tmp_path / "new.onnx").replace(folder / "model.onnx")
    for _ in range(2):
        models.take_over(lambda *_: None)
    new = models.get("run")
    assert new.sha256 != old.sha256
    assert old.similar is not None
    assert new.similar is None  # its last layer is not linear
    assert "is served without similar photos" in said[-1]
