from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headstart.serving.app import Service
from serving_calls import open_service, write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "colours.onnx")


@pytest.fixture(scope="module")
def service(model: Path) -> Iterator[Service]:
    service = open_service(model)
    yield service
    service.close()
