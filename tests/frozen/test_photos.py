from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFilter

from headstart.errors import DataError, ImageError
from headstart.frozen.activations import Activations
from headstart.frozen.cache import Room, cache_folder, list_stores
from headstart.frozen.fingerprint import Fingerprint
from headstart.frozen.photos import FACTS_PX, PhotoFacts, PhotoStore, facts_of, photo_facts
from headstart.frozen.prefix import Pair
from headstart.frozen.store import StoreError
from headstart.images.decode import decode_photo
from headstart.images.photo import Photo
from headstart.images.settings import Preprocessing
from headstart.records import Candidate


class Mean:
    """A prefix: the mean colour of a photo."""

    is_empty, batch_size, runtime, device_name, precision, function = False, 4, "r", "cpu", "fp32", "f"

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return pixels.mean((1, 2)).astype(np.float32)

    def pairs(self, pixels: np.ndarray) -> list[Pair]:
        return [(row, None) for row in self(pixels)]

    def row(self, size_px: int) -> np.ndarray:
        return np.zeros(3, np.float32)


def activations(size_px: int, say: Callable[[str], object] = print, *, keep: bool = True) -> Activations:
    preprocessing = Preprocessing(size_px=size_px)

    def fingerprint(runtime: str) -> Fingerprint:
        return Fingerprint(preprocessing, "mean", "all", "f", runtime, "cpu", "fp32")

    return Activations(Mean(), preprocessing, fingerprint, keep=keep, say=say, workers=0)


def photo(size: tuple[int, int] = (80, 60), seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, name: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def facts(data: bytes, reduce_to_px: int | None = None) -> PhotoFacts:
    decoded = decode_photo(data, path="p", reduce_to_px=reduce_to_px)
    return facts_of(decoded, data, hashlib.sha256(data).hexdigest(), path="p")


def same(one: PhotoFacts, other: PhotoFacts) -> bool:
    plain = [{**vars(each), "thumbnail": each.thumbnail.tobytes()} for each in (one, other)]
    return plain[0] == plain[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for number, size in enumerate([(80, 60), (1200, 1100), (60, 90)]):
        (tmp_path / "photos" / f"{number}.jpg").write_bytes(encoded(photo(size, number)))
    return tmp_path / "photos"


def candidates(folder: Path) -> list[Candidate]:
    return [Candidate(Photo(str(path)), "a", None) for path in sorted(folder.iterdir())]


def stored(folder: Path) -> list[PhotoFacts | None]:
    store = PhotoStore(Room(print))
    found = [store.get(hashlib.sha256(path.read_bytes()).hexdigest()) for path in sorted(folder.iterdir())]
    store.close()
    return found


def test_facts_are_those_of_the_file() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encoded(photo(), exif=exif, icc_profile=profile)
    found = facts(data)
    assert (found.width_px, found.height_px, found.orientation) == (60, 80, 6)
    assert (found.stored_size, found.num_bytes, found.format) == ((80, 60), len(data), "JPEG")
    assert found.profile == "sRGB built-in"
    assert facts(encoded(photo(), "PNG")).format == "PNG"
    assert facts(encoded(photo(), "PNG")).profile == ""


def test_brightness_and_contrast_are_fractions() -> None:
    halves = np.zeros((256, 256, 3), np.uint8)
    halves[:128] = 255
    found = facts(encoded(Image.fromarray(halves), "PNG"))
    assert (found.brightness, found.contrast) == (0.5, 0.5)
    grey = facts(encoded(Image.new("RGB", (1, 1), (51, 51, 51)), "PNG"))
    assert (grey.brightness, grey.contrast, grey.sharpness) == (0.2, 0.0, 0.0)


def test_sharpness_falls_with_blur_and_hardly_with_size() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (192, 256), np.uint8)
    sharp = Image.fromarray(noise).convert("RGB").resize((1024, 768), Image.Resampling.BICUBIC)
    whole = facts(encoded(sharp, "PNG")).sharpness
    half = facts(encoded(sharp.resize((512, 384), Image.Resampling.LANCZOS), "PNG")).sharpness
    blurred = facts(encoded(sharp.filter(ImageFilter.GaussianBlur(8)), "PNG")).sharpness
    assert half == pytest.approx(whole, rel=0.35)
    assert blurred < whole / 20


@pytest.mark.parametrize("size", [(2400, 1600), (1030, 1024), (600, 500)])
@pytest.mark.parametrize("exif", [False, True])
def test_facts_are_the_same_at_whatever_scale_a_network_needs(size: tuple[int, int], exif: bool) -> None:
    orientation = Image.Exif()
    orientation[0x0112] = 8
    data = encoded(photo(size), **({"exif": orientation} if exif else {}))
    expected = facts(data, FACTS_PX)
    for reduce_to_px in (None, 64, 200, 900):
        decoded = decode_photo(data, path="p", reduce_to_px=reduce_to_px)
        if reduce_to_px is not None:
            assert decoded.reduction == decoded.reduction_for(reduce_to_px)
        assert same(facts(data, reduce_to_px), expected)


def test_a_pass_keeps_facts_that_do_not_depend_on_the_network(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = []
    for size_px in (16, 400):
        monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / str(size_px)))
        each = activations(size_px)
        assert all(photo.reason is None for photo in each.check(candidates(folder), lambda _: True))
        each.close()
        found.append(stored(folder))
    for one, other in zip(*found, strict=True):
        assert one is not None
        assert other is not None
        assert same(one, other)
    (listed,) = [each for each in list_stores() if each.about["cut"] == "facts of photos"]
    assert listed.num_rows == 3


@pytest.mark.parametrize("how", ["rows are stored", "photos are only checked"])
def test_facts_that_are_missing_are_computed_beside_rows_that_are_not(how: str, folder: Path) -> None:
    is_wanted = how == "rows are stored"
    each = activations(16)
    list(each.check(candidates(folder), lambda _: is_wanted))
    each.close()
    for path in cache_folder().glob("photos-*"):
        path.unlink()
    again = activations(16)
    list(again.check(candidates(folder), lambda _: is_wanted))
    again.close()
    assert all(stored(folder))


def test_where_nothing_is_kept_no_facts_are(folder: Path) -> None:
    each = activations(16, keep=False)
    list(each.check(candidates(folder), lambda _: True))
    assert not list_stores()


@pytest.mark.parametrize("failing", ["__init__", "put", "__contains__", "flush"])
def test_a_store_of_facts_that_fails_is_reported_once_and_breaks_nothing(
    failing: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from headstart.frozen.store import FeatureStore

    whole = getattr(FeatureStore, failing)

    def fails(self: FeatureStore, *arguments: Any) -> Any:
        name = arguments[0].name if failing == "__init__" else self.path.name
        if name.startswith("photos-"):
            raise StoreError("the disk is full")
        return whole(self, *arguments)

    monkeypatch.setattr(FeatureStore, failing, fails)
    said: list[str] = []
    each = activations(16, said.append)
    rows = [row for _, row in each.stream(candidate.photo for candidate in candidates(folder))]
    assert len([row for row in rows if row is not None]) == 3
    assert len(said) == (0 if failing == "flush" else 1)  # closing loses a cache's last rows in silence


def test_facts_of_a_list_come_from_the_store_or_the_photos(folder: Path) -> None:
    photos = [(photo, photo.sha256()) for photo in (Photo(str(path)) for path in sorted(folder.iterdir()))]
    expected = list(photo_facts(photos, Room(print)))
    assert all(isinstance(each, PhotoFacts) for each in expected)
    nowhere = [(Photo("nowhere"), sha256) for _, sha256 in photos]
    for one, other in zip(photo_facts(nowhere, Room(print)), expected, strict=True):
        assert isinstance(one, PhotoFacts)
        assert isinstance(other, PhotoFacts)
        assert same(one, other)
    (missing,) = photo_facts([(Photo("nowhere"), "0" * 64)], Room(print))
    assert isinstance(missing, ImageError)
    with pytest.raises(DataError, match="has been changed"):
        list(photo_facts([(photos[0][0], "0" * 64)], Room(print)))


def test_damaged_facts_are_missing(folder: Path) -> None:
    list(activations(16).check(candidates(folder), lambda _: True))
    (path,) = cache_folder().glob("photos-*.sqlite")
    data = bytearray(path.read_bytes())
    first = stored(folder)[0]
    assert first is not None
    data[data.index(first.thumbnail.tobytes()) + 5] ^= 1
    path.write_bytes(data)
    assert [each is None for each in stored(folder)] == [True, False, False]
