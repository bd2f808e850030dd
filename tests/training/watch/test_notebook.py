"""What a notebook shows while training and afterwards."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import headstart as hs
from headstart.training.watch.notebook import bar_html, bar_text, in_notebook
from headstart.training.watch.watcher import PhotoCount
from headstart.training.watch.watchers import Watchers


class Output:
    """An output of a notebook's cell, which can be updated."""

    def __init__(self, content: dict[str, str]) -> None:
        self.contents = [content]

    def update(self, content: dict[str, str], *, raw: bool) -> None:
        assert raw
        self.contents.append(content)


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> list[Output]:
    """What is shown in a notebook that this process now is."""
    shown: list[Output] = []

    def display(content: dict[str, str], *, raw: bool, display_id: bool) -> Output:
        assert raw
        assert display_id
        shown.append(Output(content))
        return shown[-1]

    ipython, of_display = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    of_display.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", of_display)
    return shown


def test_each_pass_has_a_bar_and_the_words_are_not_marked_as_errors(
    outputs: list[Output], capsys: pytest.CaptureFixture[str]
) -> None:
    assert in_notebook()
    watchers = Watchers.of_screen()
    watchers.say("Backbone resnet18")
    for description in ("Photos", "Features"):
        with watchers.counting(description, 16) as counter:
            counter.advance(16)
    said = capsys.readouterr()
    assert (said.out, said.err) == ("Backbone resnet18\n", "")
    assert [output.contents[-1]["text/plain"].split(" in ")[0] for output in outputs] == [
        "Photos: 16 of 16",
        "Features: 16 of 16",
    ]


def test_ipython_in_a_terminal_is_a_terminal(outputs: list[Output], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: SimpleNamespace())
    assert not in_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not in_notebook()


def test_a_bar_is_as_long_as_its_share_and_says_what_is_left() -> None:
    count = PhotoCount("<fine>", 512, 2048, 4.0, read_scores=lambda: "loss 0.4, accuracy 0.9")
    assert bar_text(count) == "<fine>: 512 of 2,048, 128 images/s, 12 s left, loss 0.4, accuracy 0.9"
    assert "width: 25.0%" in bar_html(count)
    assert "&lt;fine&gt;" in bar_html(count)
    assert bar_text(PhotoCount("Photos", 0, 0, 0.0)) == "Photos: 0 of 0"
    assert bar_text(PhotoCount("Features", 0, 36, 0.1, is_over=True)) == ""
    assert bar_text(PhotoCount("Photos", 8, 8, 2.0, is_over=True)) == "Photos: 8 of 8 in 2.0 s, 4 images/s"
    assert "background" not in bar_html(PhotoCount("Photos", 8, 8, 2.0, is_over=True))


METRICS: dict[str, Any] = {
    "task": "classification",
    "backbone": "a <network>",
    "best": {"phase": "fine", "epoch": 2, "val_accuracy": 0.9, "val_loss": 0.3, "share": 0.4},
    "images": {"val": 10, "test": 1},
    "phases": [{"epochs": [{}, {}]}],
    "test": {"loss": 0.5, "accuracy": 1.0, "classes": []},
}


def test_a_result_is_its_scores_and_files(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    (tmp_path / "curves.png").write_bytes(b"picture")
    result = hs.TrainResult(tmp_path, METRICS)
    assert repr(result).splitlines() == [
        "Best: fine, epoch 2, 40% of its weights, the rest from before the phase: validation accuracy 0.900, "
        "loss 0.300 on 10 photos",
        "Test: accuracy 1.000, loss 0.500 on 1 photo",
        f"Run: {tmp_path} (model.onnx, curves.png)",
    ]
    (tmp_path / "quarantine.csv").touch()  # it is always there
    assert "quarantine.csv" not in repr(result)
    quarantined = {**METRICS, "images": {**METRICS["images"], "quarantined": 1}}
    assert repr(hs.TrainResult(tmp_path, quarantined)).endswith("(model.onnx, curves.png, quarantine.csv)")
    page = result._repr_html_()
    for part in ("a &lt;network&gt;", "validation, 10 photos", "test, 1 photo", ">0.900<", ">0.500<"):
        assert part in page
    assert "data:image/png;base64,cGljdHVyZQ==" in page
    assert str(tmp_path) in repr(hs.TrainResult(tmp_path, {})) == hs.TrainResult(tmp_path, {})._repr_html_()


def test_without_test_photos_the_score_is_doubted_in_a_notebook_too(tmp_path: Path) -> None:
    metrics = {key: value for key, value in METRICS.items() if key != "test"}
    page = hs.TrainResult(tmp_path, metrics)._repr_html_()
    assert "slightly optimistic" in page
    assert "<img" not in page
    assert "test," not in page
