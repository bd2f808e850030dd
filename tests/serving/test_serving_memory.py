"""Photos do not stay in memory."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest

from headstart.serving import app as serving_app
from headstart.serving.answers import Upload
from serving_calls import connect, jpeg, open_service, raw_request, read_answer, running, wait_until


@pytest.mark.parametrize(
    "photo",
    [raw_request(jpeg("red")), raw_request(b"x" * 1000), raw_request(jpeg("red", (1200, 1000)))],
    ids=["good", "bad", "large"],
)
def test_a_photo_is_freed_with_its_answer(model: Path, photo: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    held = []
    real = serving_app.predict_upload

    def noted(upload: Upload, *more: Any) -> Any:
        held.append(weakref.ref(upload))
        return real(upload, *more)

    monkeypatch.setattr(serving_app, "predict_upload", noted)
    service = open_service(model, max_megapixels=1)
    gc.disable()  # photos would be freed some time
    try:
        with running(service) as (_, port), connect(port) as connection:
            for _ in range(3):
                connection.sendall(photo)
                read_answer(connection)
            wait_until(lambda: not any(each() for each in held))
            assert len(held) == 3
    finally:
        gc.enable()
    service.close()
