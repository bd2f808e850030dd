"""How predictions are timed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from headstart.images.photo import Photo
from headstart.recommendation import timing

MODELS = {Path("slow.onnx"): 0.006, Path("fast.onnx"): 0.001}


def test_models_take_turns_and_a_photo_is_read_before_the_time_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[Path] = []

    class Predictor:
        def __init__(self, model: Path, *, providers: Any) -> None:
            opened.append(model)
            self.seconds = MODELS[model]

        def predict(self, content: bytes) -> None:
            assert content == b"photo"
            time.sleep(self.seconds)

    def read(key: str) -> bytes:
        time.sleep(0.02)
        return b"photo"

    monkeypatch.setattr(timing, "open_onnx", lambda path: (path,))
    monkeypatch.setattr(timing, "Predictor", Predictor)
    slow, fast = timing.milliseconds(list(MODELS), [Photo("a", read), Photo("b", read)])
    assert opened == [*MODELS] * (len(opened) // 2)
    assert len(opened) >= 6
    assert 1 <= fast < slow < 20
