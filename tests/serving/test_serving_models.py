"""Names of models, and files that are replaced while they are served."""

from __future__ import annotations

import os
import re
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from colours import INFO, colours_model
from headstart.errors import DamagedFileError, RunFolderError, UsageError
from headstart.inference.model_file import open_onnx, seal_onnx
from headstart.serving import models as serving_models
from headstart.serving.models import Models, Served, named_paths
from serving_calls import call, jpeg, open_service, predict, write_model


def test_a_model_is_called_by_its_folder_or_file(tmp_path: Path) -> None:
    run, other = write_model(tmp_path / "my run" / "model.onnx").parent, write_model(tmp_path / "b.onnx")
    strange = write_model(tmp_path / "x=y" / "model.onnx").parent
    assert named_paths([str(run), str(other), str(strange)]) == {"my-run": run, "b": other, "x-y": strange}
    assert named_paths([str(run / "model.onnx")]) == {"my-run": run / "model.onnx"}
    assert named_paths([f"a={run}", f"c={strange}"]) == {"a": run, "c": strange}
    with pytest.raises(UsageError, match=r"Two models are called 'b'.*NAME="):
        named_paths([str(other), f"b={run}"])
    with pytest.raises(UsageError, match="name of a model is 'a b'"):
        named_paths([f"a b={run}"])
    with pytest.raises(RunFolderError, match="There is no file or folder"):
        named_paths([str(tmp_path / "nowhere")])
    with pytest.raises(UsageError, match="no model to serve"):
        named_paths([])


def sealed_with_wrong_self_test(model: Path) -> bytes:
    _, info = open_onnx(model)
    assert info.self_test is not None
    rows = {name: tuple((9.0,) * 3 for _ in each) for name, each in info.self_test.outputs.items()}
    return seal_onnx(colours_model(), replace(info, self_test=replace(info.self_test, outputs=rows)))


def test_a_model_that_fails_its_self_test_is_not_served(tmp_path: Path) -> None:
    model = write_model(tmp_path / "a.onnx")
    model.write_bytes(sealed_with_wrong_self_test(model))
    models = Models({"a": model})
    with pytest.raises(DamagedFileError, match="'a' fails its self-test: logits, probabilities"):
        models.prove_all()
    assert not models.ready


def test_a_model_of_an_older_version_has_no_self_test_and_is_served(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(seal_onnx(colours_model(), INFO))
    service = open_service(tmp_path / "a.onnx")
    assert predict(service, jpeg()).status_code == 200
    service.close()


class Told(list[tuple[str, str]]):
    def __call__(self, served: Served, error: Exception | None) -> None:
        self.append((served.sha256, "" if error is None else str(error)))


def _no_memory(*_: object) -> None:
    raise MemoryError


def put(new: Path, model: Path) -> None:
    """Replace a file in one step, as `mv` does."""
    copy = model.with_suffix(".new")
    shutil.copyfile(new, copy)
    copy.replace(model)


def test_a_replaced_file_is_taken_over_once_it_is_still(tmp_path: Path) -> None:
    model = write_model(tmp_path / "a.onnx")
    new = write_model(tmp_path / "b.onnx", class_names=("r", "g", "b"))
    models, told = Models({"a": model}), Told()
    models.prove_all()
    old = models.get("a")
    models.take_over(told)
    put(new, model)
    models.take_over(told)
    assert models.get("a") is old  # it may still be written
    models.take_over(told)
    assert models.get("a").names == ("r", "g", "b")
    assert told == [(models.get("a").sha256, "")]
    models.take_over(told)
    assert len(told) == 1
    os.utime(model, ns=(1, 1))  # the same content
    models.take_over(told)
    models.take_over(told)
    assert len(told) == 1


@pytest.mark.parametrize(
    "wrong",
    ["half", "not a model", "self-test", "huge", "no memory", "gone", "a folder", "a pipe", "a device"],
)
def test_a_file_that_fails_is_kept_out_and_the_next_one_is_taken(
    tmp_path: Path, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "a.onnx")
    new = write_model(tmp_path / "b.onnx", class_names=("r", "g", "b"))
    models, told = Models({"a": model}), Told()
    models.prove_all()
    if wrong == "self-test":
        model.write_bytes(sealed_with_wrong_self_test(model))
    elif wrong == "huge":
        with open(model, "ab") as file:
            file.truncate(3 * 2**30)  # without content, so it takes no space
    elif wrong == "no memory":
        os.utime(model, ns=(1, 1))
        monkeypatch.setattr(serving_models, "open_onnx", _no_memory)
    elif wrong in ("gone", "a folder", "a pipe", "a device"):
        model.unlink()
        if wrong == "a folder":
            model.mkdir()
        elif wrong == "a pipe" and hasattr(os, "mkfifo"):
            os.mkfifo(model)
        elif wrong == "a device" and Path("/dev/zero").exists():
            model.symlink_to("/dev/zero")
    else:
        model.write_bytes(model.read_bytes()[:100] if wrong == "half" else b"no model" * 99)
    for _ in range(4):
        models.take_over(told)
    assert models.get("a").names == INFO.class_names
    ((sha256, reason),) = told  # and not again until it changes
    assert sha256 == models.get("a").sha256
    assert ("A model is the run folder" in reason) == (wrong in ("gone", "a folder", "a pipe", "a device"))
    if wrong == "a folder":
        model.rmdir()
    monkeypatch.undo()
    put(new, model)
    models.take_over(told)
    models.take_over(told)
    assert models.get("a").names == ("r", "g", "b")


def test_a_file_that_is_missing_is_told_each_time_and_its_return_is_not(tmp_path: Path) -> None:
    model = write_model(tmp_path / "a.onnx")
    models, told = Models({"a": model}), Told()
    models.prove_all()
    for expected in (1, 2):
        model.rename(tmp_path / "away.onnx")
        models.take_over(told)
        assert len(told) == expected - 1  # it may just be replaced
        for _ in range(3):
            models.take_over(told)
        assert len(told) == expected
        (tmp_path / "away.onnx").rename(model)
        for _ in range(3):
            models.take_over(told)
        assert len(told) == expected


def test_models_are_replaced_under_load_without_a_lost_request(tmp_path: Path) -> None:
    model = write_model(tmp_path / "a.onnx")
    names = {("red", "green", "blue"): "red", ("r", "g", "b"): "r"}
    files = [write_model(tmp_path / f"{number}.onnx", class_names=each) for number, each in enumerate(names)]
    service = open_service(model)
    label_of = {}
    for file, label in zip(files, names.values(), strict=True):
        found = Models({"a": file}).all()[0]
        label_of[found.sha256] = label
    end, answers = threading.Event(), []

    def ask() -> None:
        while not end.is_set():
            answers.append(predict(service, jpeg("red")))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    taken = set()
    for number in range(20):
        put(files[(number + 1) % 2], model)
        service.look_after()
        service.look_after()
        taken.add((number, service.models.get("a").sha256))
    end.set()
    for thread in threads:
        thread.join()
    assert len({sha256 for _, sha256 in taken}) == 2
    assert {answer.status_code for answer in answers} == {200}
    for answer in answers:
        body = answer.json()
        assert body["predictions"][0]["label"] == label_of[body["model_sha256"]]
    text = call(service, "GET", "/metrics").text
    assert 'headstart_model_files_total{model="a",outcome="taken"} 20.0' in text
    assert text.count("\nheadstart_model{") == 1
    assert text.count("\nheadstart_photos_total{") == 2
    third = write_model(tmp_path / "third.onnx", class_names=("x", "y", "z"))
    put(third, model)
    service.look_after()
    service.look_after()
    assert predict(service, jpeg("red")).json()["predictions"][0]["label"] == "x"
    text = call(service, "GET", "/metrics").text
    assert text.count("\nheadstart_photos_total{") == 2  # metrics of older files are forgotten
    last, new = max(taken)[1], service.models.get("a").sha256
    assert set(re.findall(r'headstart_answers_total\{.*sha256="(\w+)"', text)) <= {last, new}
    service.close()
