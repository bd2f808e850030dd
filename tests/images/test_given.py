"""What a program passes becomes photos, each of which has bytes."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from headstart.errors import ImageError
from headstart.images.decode import decode
from headstart.images.given import as_photos, rgb_given, size_of
from headstart.images.photo import Photo

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 4), np.uint8)


def png(image: Image.Image, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    file.seek(0)
    return file


def turned() -> Image.Image:
    exif = Image.Exif()
    exif[0x0112] = 6
    return Image.open(png(Image.fromarray(PIXELS[..., :3]), exif=exif))


FORMS: dict[str, Callable[[], Any]] = {
    "RGB pixels": lambda: PIXELS[..., :3],
    "RGBA pixels": lambda: PIXELS,
    "grey pixels": lambda: PIXELS[..., 0],
    "Pillow image": lambda: Image.fromarray(PIXELS[..., :3]),
    "Pillow image with a palette": lambda: Image.fromarray(PIXELS[..., :3]).quantize(8),
    "Pillow image of 16 bits": lambda: Image.fromarray(PIXELS[..., 0].astype(np.uint16) << 8),
    "Pillow image to be turned": turned,
    "bytes": lambda: png(Image.fromarray(PIXELS)).getvalue(),
    "open file": lambda: png(Image.fromarray(PIXELS)),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_photo_in_any_form_has_bytes_that_decode_to_its_pixels(form: str) -> None:
    (photo,) = as_photos([FORMS[form]()])
    decoded = decode(photo.content(), path=photo.key)
    assert size_of(photo) == decoded.size == ((20, 30) if "turned" in form else (30, 20))
    image = rgb_given(photo)
    assert (image is not None) == (form in ("RGB pixels", "Pillow image", "Pillow image to be turned"))
    assert image is None or image.tobytes() == decoded.tobytes()
    if "pixels" in form and "RGBA" not in form:
        expected = np.broadcast_to(FORMS[form]().reshape(20, 30, -1), (20, 30, 3))
        assert np.array_equal(decoded, expected)


def test_paths_and_photos_keep_their_names(tmp_path: Path) -> None:
    elsewhere = Photo("s3://photos/a.jpg", str.encode)
    assert list(as_photos([tmp_path / "a.jpg", "b.jpg", elsewhere])) == [
        Photo(str(tmp_path / "a.jpg")),
        Photo("b.jpg"),
        elsewhere,
    ]


def test_a_form_that_cannot_be_read_says_so_when_it_is_read() -> None:
    truncated = Image.open(io.BytesIO(png(Image.fromarray(PIXELS)).getvalue()[:300]))
    for photo in as_photos([io.BytesIO(), truncated]):
        with pytest.raises(ImageError, match=r"the photo: (empty file|cannot be decoded)"):
            photo.content()
