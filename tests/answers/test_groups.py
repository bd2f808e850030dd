"""Photos of groups that training has not seen are counted and scored apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from colours import INFO, colours_model
from headstart.answers import groups
from headstart.answers.evaluate import evaluate
from headstart.answers.groups import with_groups
from headstart.images.photo import Photo
from headstart.inference.model_file import ModelInfo, seal_onnx
from headstart.inference.predictor import Predictor
from headstart.records import Record

NO_EFFECT = "The model file names no groups of training photos, so group_by has no effect."


def trained_on(*names: str) -> ModelInfo:
    return with_groups(INFO, [Record(Photo(f"{name}.png"), 0, "train", "", group=name) for name in names])


@pytest.fixture
def scored(tmp_path: Path) -> Callable[..., tuple[str, ...]]:
    """Evaluate a model on red photos of the groups p1 (right, wrong) and p2 (right), and return the notes."""
    for name, colour in {"p1_a": "red", "p1_b": "blue", "p2_a": "red"}.items():
        path = tmp_path / "photos" / "red" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), colour).save(path)

    def notes(info: ModelInfo, group_by: str | None = "(p[0-9])_") -> tuple[str, ...]:
        predictor = Predictor.from_bytes(seal_onnx(colours_model(), info))
        return evaluate(predictor, tmp_path / "photos", group_by=group_by).notes

    return notes


@pytest.mark.parametrize(
    ("info", "told"),
    [
        (
            trained_on("p2", "p7"),
            "2 of 3 photos are from groups that were not in training: accuracy 0.5000 on them, accuracy "
            "1.0000 on the others.",
        ),
        (trained_on("p8"), "3 of 3 photos are from groups that were not in training."),
        (
            trained_on("p1", "p2"),
            "0 of 3 photos are from groups that were not in training; scores on other groups may be lower.",
        ),
        (INFO, NO_EFFECT),
    ],
    ids=["some", "all", "none", "trained without groups"],
)
def test_photos_from_other_groups_than_those_of_training_are_scored_apart(
    info: ModelInfo, told: str, scored: Callable[..., tuple[str, ...]]
) -> None:
    assert scored(info) == (told,)
    assert scored(info, None) == ()


def test_a_model_file_names_at_most_a_thousand_groups(
    monkeypatch: pytest.MonkeyPatch, scored: Callable[..., tuple[str, ...]]
) -> None:
    monkeypatch.setattr(groups, "MOST_KNOWN", 2)
    assert len(trained_on("a", "b", "a").groups) == 2
    info = trained_on("a", "b", "c")
    assert (info.groups, info.num_groups) == ((), 3)
    assert "trained on 3 groups, too many" in scored(info)[0]


def test_a_model_file_has_no_names_of_groups() -> None:
    info = trained_on("Mrs Jones", "\ud800")
    assert "Jones" not in info.to_json()
    assert ModelInfo.from_json(info.to_json()) == info
    assert info == trained_on("\ud800", "Mrs Jones")
