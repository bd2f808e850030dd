"""libtiff does not write to the terminal."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image

from headstart.errors import ImageError
from headstart.images.decode import decode


@pytest.mark.skipif(sys.platform == "win32", reason="Pillow does not export libtiff's functions on Windows")
def test_libtiff_prints_nothing_about_a_damaged_file(capfd: pytest.CaptureFixture[str]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    for compression in ("tiff_lzw", "tiff_deflate"):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "TIFF", compression=compression)
        data = file.getvalue()
        with pytest.raises(ImageError, match="truncated or damaged TIFF"):
            decode(data[:300] + b"\xff" * 300 + data[600:], path="a.tif")
    assert capfd.readouterr() == ("", "")
