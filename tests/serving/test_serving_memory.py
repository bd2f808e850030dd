"""Photos do not stay in memory."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest

from headstart.serving import app as serving_app
from headstart.serving import uploads
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


def test_memory_is_returned_a_moment_after_large_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    returned: list[None] = []
    monkeypatch.setattr(uploads, "return_freed_memory", lambda: returned.append(None))
    memory = uploads.Memory(60_000_000)
    with memory.held() as held:
        held.add(1_000_000)
    for _ in range(3):
        memory.return_freed()
    assert not returned  # small ones are used again
    with memory.held() as held:
        held.add(60_000_000)
        memory.return_freed()
        assert not returned
    for _ in range(3):
        memory.return_freed()
    times = len(returned)
    assert times > 0
    memory.return_freed()
    assert len(returned) == times
