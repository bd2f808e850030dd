import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from PIL import Image


def photo(number: int, format_name: str = "PNG") -> bytes:
    """A small photo; another number, other bytes."""
    file = io.BytesIO()
    Image.new("RGB", (8, 6), (number % 256, number // 256 % 256, number // 65536)).save(file, format_name)
    return file.getvalue()


@pytest.fixture
def tree(tmp_path) -> Callable[[Mapping[str, bytes | int | None]], Path]:
    """Make files by path: bytes, or a number for a photo of its own; None makes a folder."""

    def make(files: Mapping[str, bytes | int | None]) -> Path:
        root = tmp_path / "photos"
        for name, content in {"": None, **files}.items():
            path = root / name
            if content is None:
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(photo(content) if isinstance(content, int) else content)
        return root

    return make


@pytest.fixture
def count_files() -> Callable[[Path], int]:
    """Count files without the code under test."""

    def count(root: Path) -> int:
        return sum(len(files) for _, _, files in os.walk(root))

    return count
