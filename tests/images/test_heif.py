"""HEIC photos are read by a package that the user has installed; without one, the refusal says what to do."""

from __future__ import annotations

import base64
import io
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from headstart.data.check import check_images
from headstart.data.sources.folder import read_folder
from headstart.errors import ImageError
from headstart.images import heif
from headstart.images.decode import decode_photo, image_header

# 64 × 32 pixels: the left half red, the right half blue. In BURST, a green picture precedes this primary one.
# ROTATED is turned clockwise by 90 degrees, by the container and by the EXIF orientation.
BURST = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAdRtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAA"
    "AAAAADRpbG9jAAAAAERAAAIAAQAAAAAB+AABAAAAAAAAAB0AAgAAAAACFQABAAAAAAAAAGIAAAA4aWluZgAAAAAAAgAAABVp"
    "bmZlAgAAAAABAABodmMxAAAAABVpbmZlAgAAAAACAABodmMxAAAAAA5waXRtAAAAAAACAAABLWlwcnAAAAEFaXBjbwAAAHZo"
    "dmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAA"
    "AwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAA"
    "AAAAQAAAAEAAAAAoY2xhcAAAACAAAAABAAAAIAAAAAH////gAAAAAv///+AAAAACAAAAEHBpeGkAAAAAAwgICAAAAChjbGFw"
    "AAAAQAAAAAEAAAAgAAAAAQAAAAAAAAAC////4AAAAAIAAAAgaXBtYQAAAAAAAAACAAEFgQIDBYQAAgWBAgMFhgAAAIdtZGF0"
    "AAAAGSgBrxOA+BDhp3/1Wo//0WNX/zQYb86KQz4AAABeKAGvE4D4EOGn//xYqP/6Ps8P0yz5if/6xCNH+BnL/9WGg/JKRa8V"
    "canS/CJWQHalkJrgpwFRfQcIJ2MlrZ4nOauyGtcvywP8NIEyK/rel/wJ+iOQ+E4kLWqPyN8+lA=="
)
ROTATED = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAchtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAA"
    "AAAAADRpbG9jAAAAAERAAAIAAQAAAAAB7AABAAAAAAAAAGIAAgAAAAACTgABAAAAAAAAACQAAAA4aWluZgAAAAAAAgAAABVp"
    "bmZlAgAAAAABAABodmMxAAAAABVpbmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAABB2lwcnAAAADmaXBjbwAAAHZo"
    "dmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAA"
    "AwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAA"
    "AAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAIAAAAAEAAAAAAAAAAv///+AAAAACAAAAEHBpeGkAAAAAAwgICAAAAAlpcm90"
    "AwAAABlpcG1hAAAAAAAAAAEAAQaBAgMFhIYAAAAaaXJlZgAAAAAAAAAOY2RzYwACAAEAAQAAAI5tZGF0AAAAXigBrxOA+BDh"
    "p//8WKj/+j7PD9Ms+Yn/+sQjR/gZy//VhoPySkWvFXGp0vwiVkB2pZCa4KcBUX0HCCdjJa2eJzmrshrXL8sD/DSBMiv63pf8"
    "CfojkPhOJC1qj8jfPpQAAAAGRXhpZgAATU0AKgAAAAgAAQESAAMAAAABAAYAAAAAAAA="
)
HEAD = b"\0\0\0\x20ftypheic\0\0\0\0mif1heicMiHBhvc1"  # 32 bytes, as Apple writes them

# A reader that stands for the package where it is not installed: what follows the head is a PNG.
READER = """
import io
from PIL.PngImagePlugin import PngImageFile

class HeifImageFile(PngImageFile):
    def __init__(self, file):
        file.seek(32)
        super().__init__(io.BytesIO(file.read()))
"""

find_package = heif._package.__wrapped__  # type: ignore[attr-defined]  # conftest.py hides installed ones


def simulated(*, upright: bool) -> bytes:
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:, :32, 0] = pixels[:, 32:, 2] = 250
    file = io.BytesIO()
    Image.fromarray(pixels if upright else np.rot90(pixels, -1)).save(file, "PNG")
    return HEAD + file.getvalue()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[bytes, bytes]]:
    """Yield a burst and a rotated photo, which the installed package or a simulated one can read."""
    name = find_package()
    photos = BURST, ROTATED
    if not name:
        name, photos = "pi_heif", (simulated(upright=True), simulated(upright=False))
        (tmp_path / "packages").mkdir()
        (tmp_path / "packages" / "pi_heif.py").write_text(READER)
        monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    monkeypatch.setattr(heif, "_package", lambda: name)
    yield photos
    sys.modules.pop(name, None)
    heif._imported.cache_clear()


def test_the_primary_image_is_read_upright(installed: tuple[bytes, bytes]) -> None:
    burst, rotated = (decode_photo(photo, path="photo") for photo in installed)
    assert (burst.header.size, rotated.header.size) == ((64, 32), (32, 64))
    assert burst.header.orientation == rotated.header.orientation == 1  # the package has turned it
    assert [image_header(photo) for photo in installed] == [burst.header, rotated.header]
    assert burst.format == "HEIC"
    for image, red, blue in ((burst.image, (5, 5), (60, 5)), (rotated.image, (5, 5), (5, 60))):
        assert np.abs(np.subtract(image.getpixel(red), (250, 0, 0))).max() < 10
        assert np.abs(np.subtract(image.getpixel(blue), (0, 0, 250))).max() < 10


def test_heic_photos_are_used_like_others_and_damaged_ones_are_quarantined(
    tmp_path: Path, installed: tuple[bytes, bytes]
) -> None:
    burst, rotated = installed
    files = {f"cat/{number}.HEIC": burst for number in range(3)}
    files |= {f"dog/{number}.heif": rotated for number in range(3)}
    files["dog/cut.heic"] = burst[: len(burst) // 2]
    for name, content in files.items():
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    dataset = check_images(read_folder(tmp_path / "photos"))
    assert len(dataset.records) == 6
    assert "truncated or damaged HEIC" in dataset.quarantined[0].reason
    assert not dataset.quarantined[0].reason.endswith("\n")


def test_the_library_that_decodes_is_known(installed: tuple[bytes, bytes]) -> None:
    assert heif.library().startswith(("pi_heif", "pillow_heif"))


def test_without_a_package_the_refusal_says_how_to_convert_and_what_could_be_installed() -> None:
    assert heif.library() == ""
    with pytest.raises(ImageError) as caught:
        decode_photo(BURST, path="photo")
    for part in ("save it as JPEG", "pip install pi-heif", "LGPL"):
        assert part in caught.value.reason


def test_a_package_that_cannot_be_imported_is_as_good_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_heif.py").write_text("import no_such_library_for_heif")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(heif, "_package", lambda: "broken_heif")
    with pytest.raises(ImageError, match="HEIC, which Headstart does not read"):
        image_header(BURST)
