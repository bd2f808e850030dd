"""The public calls: their keywords, their types, and what they say."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_type_hints

import pytest

import headstart as hs
from headstart.config.checking import settings_of

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
    for call in (hs.train, hs.lr_find):
        parameters = inspect.signature(call).parameters
        assert parameters["settings"].annotation == "Unpack[TrainSettings]"
        assert not parameters.keys() & keywords.keys()


def test_a_keyword_that_is_none_gets_the_nearest() -> None:
    for wrong, meant in (("batchsize", "batch_size"), ("epoch", "epochs"), ("learning_rate", "lr")):
        with pytest.raises(hs.ConfigError, match=f"'{wrong}'. Did you mean '{meant}'"):
            hs.train("photos", **{wrong: 1})  # type: ignore[arg-type]


def test_silence_can_be_asked_for(photos: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = hs.train(photos, tmp_path / "run", recipe="probe", size_px=64, verbose=False).path
    hs.resume(run, verbose=False)
    assert capfd.readouterr() == ("", "")
    assert (run / "history.csv").exists()
    hs.resume(run)
    assert "is finished" in capfd.readouterr().err
