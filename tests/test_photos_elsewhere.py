"""Photos need not be files: those of an archive or in memory are listed, checked and predicted alike."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from colours import INFO, colours_model
from headstart.answers.evaluate import answer_photos
from headstart.answers.seen import num_seen_by
from headstart.data.check import check_images
from headstart.data.split import split_dataset
from headstart.errors import ImageError
from headstart.frozen.activations import Activations
from headstart.frozen.cache import Room
from headstart.frozen.fingerprint import Fingerprint
from headstart.frozen.photos import photo_facts
from headstart.frozen.prefix import Pair
from headstart.images.photo import Photo
from headstart.inference.model_file import seal_onnx
from headstart.inference.predictor import Predictor
from headstart.records import Candidate, Listing, Quarantined
from headstart.training.run.photos_csv import photos_csv


@dataclass(frozen=True)
class Tar:
    """Reads members of an archive without unpacking it."""

    path: str

    def __call__(self, name: str) -> bytes:
        with tarfile.open(self.path) as archive:
            if name not in archive.getnames():
                raise ImageError(name, f"not in {Path(self.path).name}")
            member = archive.extractfile(name)
            assert member is not None
            return member.read()


@dataclass(frozen=True)
class Uploads:
    """Reads what was uploaded."""

    contents: Mapping[str, bytes]

    def __call__(self, name: str) -> bytes:
        if name not in self.contents:
            raise FileNotFoundError(2, "No such upload")
        return self.contents[name]


class MeanColour:
    """A frozen prefix."""

    is_empty, batch_size, runtime, device_name, precision, function = False, 4, "r", "cpu", "fp32", "f"

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return pixels.mean((1, 2)).astype(np.float32)

    def pairs(self, pixels: np.ndarray) -> list[Pair]:
        return [(row, None) for row in self(pixels)]

    def row(self, size_px: int) -> np.ndarray:
        return np.zeros(3, np.float32)


COLOURS = {"blue": (0, 0, 200), "green": (0, 180, 0), "red": (220, 0, 0)}
GONE = "red/gone.png"


def painted() -> dict[str, bytes]:
    """Twelve photos, four a class, and one that is damaged; ``GONE`` is not there."""
    contents = {}
    for name, colour in COLOURS.items():
        for number in range(4):
            file = io.BytesIO()
            Image.new("RGB", (24 + number, 24), colour).save(file, "PNG")
            contents[f"{name}/{number}.png"] = file.getvalue()
    return {**contents, "blue/damaged.png": contents["blue/0.png"][:60]}


def in_tar(contents: Mapping[str, bytes], folder: Path) -> Tar:
    with tarfile.open(folder / "photos.tar", "w") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return Tar(str(folder / "photos.tar"))


def in_memory(contents: Mapping[str, bytes], folder: Path) -> Uploads:
    return Uploads(contents)


@pytest.fixture(params=[in_tar, in_memory])
def listing(request: pytest.FixtureRequest, tmp_path: Path) -> Listing:
    read = request.param(painted(), tmp_path)
    photos = [Photo(name, read) for name in (*painted(), GONE)]
    candidates = tuple(Candidate(photo, photo.key.partition("/")[0], None) for photo in photos)
    return Listing("", candidates, tuple(COLOURS), (), (), found=len(candidates))


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.from_bytes(seal_onnx(colours_model(), INFO))


def activations() -> Activations:
    def fingerprint(runtime: str) -> Fingerprint:
        return Fingerprint(INFO.preprocessing, "mean", "all", "f", runtime, "cpu", "fp32")

    return Activations(MeanColour(), INFO.preprocessing, fingerprint, say=print)


def test_they_are_checked_and_their_features_are_computed_in_one_pass(listing: Listing) -> None:
    features = activations()
    dataset = check_images(listing, checks=features.check(listing.candidates, lambda _: True))
    assert dataset == check_images(listing)
    assert {record.path: record.sha256 for record in dataset.records} == {
        name: hashlib.sha256(content).hexdigest()
        for name, content in painted().items()
        if name != "blue/damaged.png"
    }
    damaged, gone = dataset.quarantined
    assert (damaged.path, damaged.reason.split(":")[0]) == ("blue/damaged.png", "truncated or damaged PNG")
    tar_or_memory = ("not in photos.tar", "cannot be read: No such upload")
    assert gone in [Quarantined(GONE, None, reason) for reason in tar_or_memory]
    rows = features.rows((record, 0) for record in dataset.records)
    for record, row in zip(dataset.records, rows, strict=True):
        assert row.tolist() == list(COLOURS[dataset.class_names[record.label]])
    features.close()
    facts = list(photo_facts([(record.photo, record.sha256) for record in dataset.records], Room(print)))
    assert [each.width_px for each in facts if not isinstance(each, ImageError)] == [24, 25, 26, 27] * 3


def test_they_are_split_predicted_and_named_in_tables(
    listing: Listing, predictor: Predictor, tmp_path: Path
) -> None:
    dataset = check_images(listing)
    splits = split_dataset(dataset, val_fraction=0.25, seed=0)
    names = [record.path for record in dataset.records]
    predictions = predictor.predict([candidate.photo for candidate in listing.candidates])
    assert [each.path for each in predictions] == [candidate.path for candidate in listing.candidates]
    assert [(each.path, each.label) for each in predictions if each.error is None] == [
        (name, name.partition("/")[0]) for name in names
    ]
    assert {each.path: each.error for each in predictions if each.error is not None} == {
        each.path: each.reason for each in dataset.quarantined
    }
    answers, unreadable = answer_photos(predictor, splits.val, "val")
    assert (answers.path, unreadable) == ([record.path for record in splits.val], [])
    (tmp_path / "photos.csv").write_text(photos_csv(dataset, splits))
    photos = [candidate.photo for candidate in listing.candidates]
    assert num_seen_by(tmp_path, photos) == {"train": 9, "val": 3}


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (KeyError("no member a"), "KeyError: 'no member a'"),
        (tarfile.ReadError("empty header"), "ReadError: empty header"),
        (zipfile.BadZipFile("bad CRC-32"), "BadZipFile: bad CRC-32"),
        (RuntimeError("encrypted"), "RuntimeError: encrypted"),
        (OSError("connection lost"), "connection lost"),
        (None, "bytes are needed, but read returned None"),
        ("text", "bytes are needed, but read returned 'text'"),
    ],
)
def test_whatever_a_read_does_costs_one_photo(outcome: object, reason: str) -> None:
    def read(name: str) -> bytes:
        if name != "bad":
            return painted()[name]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome  # type: ignore[return-value]

    candidates = [Candidate(Photo(name, read), "red", None) for name in ("red/0.png", "bad")]
    dataset = check_images(Listing("", tuple(candidates), ("red",), (), (), found=2))
    assert dataset.quarantined == (Quarantined("bad", None, f"cannot be read: {reason}"),)


def test_a_listing_reaches_another_process(listing: Listing) -> None:
    assert pickle.loads(pickle.dumps(listing)) == listing
    dataset = check_images(listing)
    assert pickle.loads(pickle.dumps(dataset)) == dataset


@pytest.mark.parametrize("place", [in_tar, in_memory])
def test_boxes_need_only_their_photos(place: Callable[..., Photo], tmp_path: Path) -> None:
    read = place(painted(), tmp_path)
    candidates = tuple(
        Candidate(Photo(f"red/{number}.png", read), "", None, box=(2.0, 2.0, 90.0, 20.0), source="line 1")
        for number in range(4)
    )
    dataset = check_images(Listing("", candidates, (), (), (), found=4, task="box"))
    assert [record.size for record in dataset.records] == [(24, 24), (25, 24), (26, 24), (27, 24)]
    assert [record.box for record in dataset.records] == [(2, 2, width, 20) for width in (24, 25, 26, 27)]
