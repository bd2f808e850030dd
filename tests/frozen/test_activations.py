from __future__ import annotations

import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

import headstart as hs
from headstart.config import TrainConfig
from headstart.data.check import check_images
from headstart.data.sources.folder import read_folder
from headstart.data.targets import Targets
from headstart.errors import DataError
from headstart.frozen.activations import Activations
from headstart.frozen.cache import Room, list_stores
from headstart.frozen.fingerprint import Fingerprint
from headstart.frozen.store import StoreError
from headstart.images.settings import Preprocessing
from headstart.model.backbones import create_native, resolve
from headstart.model.freeze import freeze
from headstart.model.prefix import NetworkPrefix, cut_for_training
from headstart.model.stage import StageSequence
from headstart.records import Candidate, Record
from headstart.training.steps.features import FeatureSource
from headstart.views.augmentation import Augmentation

PREPROCESSING = Preprocessing(size_px=32)
PROVEN = 4  # so many rows of a store that was there already are computed again and compared
SMALL: dict[str, Any] = {
    "backbone": "timm/test_efficientnet",
    "weights": "random",
    "size_px": 32,
    "batch_size": 8,
}


@pytest.fixture(scope="module")
def prefix() -> NetworkPrefix:
    torch.manual_seed(0)
    network = create_native(resolve("timm/test_resnet")).eval()
    freeze(network)
    return cut_for_training(network, "head", PREPROCESSING, torch.device("cpu"))[0]


class Counted:
    """A prefix that counts the photos it has seen; black rows are padding."""

    def __init__(self, prefix: NetworkPrefix) -> None:
        self._prefix = prefix
        self.count = 0
        self._counting = threading.Lock()  # several threads compute

    def __getattr__(self, name: str) -> Any:
        return getattr(self._prefix, name)

    def __call__(self, pixels: np.ndarray) -> Any:
        self._see(pixels)
        return self._prefix(pixels)

    def pairs(self, pixels: np.ndarray) -> Any:
        self._see(pixels)
        return self._prefix.pairs(pixels)

    def _see(self, pixels: np.ndarray) -> None:
        with self._counting:
            self.count += int((pixels.reshape(len(pixels), -1).max(1) > 0).sum())


def activations_of(prefix: Any, **options: Any) -> tuple[Activations, list[str]]:
    said: list[str] = []

    def fingerprint(runtime: str) -> Fingerprint:
        return Fingerprint(PREPROCESSING, "resnet18", "head", prefix.function, runtime, "cpu", "fp32")

    return Activations(prefix, PREPROCESSING, fingerprint, say=said.append, **options), said


def is_learned_from(photo: Candidate) -> bool:
    return photo.split != "test"


def rows_of(activations: Activations, data: Path) -> np.ndarray:
    listing = read_folder(data)
    dataset = check_images(listing, checks=activations.check(listing.candidates, is_learned_from))
    return np.stack(list(activations.rows((record, 0) for record in dataset.records)))


def test_what_is_stored_is_not_computed_again(
    prefix: NetworkPrefix, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    data = make_photos(tmp_path / "photos", {"": 4})
    counted = Counted(prefix)
    first, _ = activations_of(counted)
    expected = rows_of(first, data)
    assert counted.count == 12
    first.close()

    # A renamed and moved photo is found; a changed byte and a new photo are not.
    moved = data.rename(tmp_path / "moved")
    (moved / "red" / "red0.jpg").rename(moved / "red" / "zzz.jpg")
    again, _ = activations_of(counted)
    rows = rows_of(again, moved)
    again.close()
    assert counted.count == 12 + PROVEN
    assert sorted(map(bytes, rows)) == sorted(map(bytes, expected))

    with open(moved / "blue" / "blue1.jpg", "ab") as file:
        file.write(b"\0")
    shutil.copy(moved / "red" / "red1.jpg", moved / "red" / "copy.jpg")
    changed, _ = activations_of(counted)
    rows_of(changed, moved)
    assert counted.count == 12 + PROVEN + 1 + PROVEN
    changed.close()


def test_modification_times_mean_nothing(
    prefix: NetworkPrefix, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    data = make_photos(tmp_path / "photos", {"": 2})
    counted = Counted(prefix)
    first, _ = activations_of(counted)
    rows_of(first, data)
    first.close()
    changed, untouched = data / "red" / "red0.jpg", data / "red" / "red1.jpg"
    times = (changed.stat().st_atime, changed.stat().st_mtime)
    changed.write_bytes((data / "blue" / "blue0.jpg").read_bytes() + b"\0")
    os.utime(changed, times)
    os.utime(untouched, (1, 1))
    second, _ = activations_of(counted)
    rows_of(second, data)
    assert counted.count == 6 + 1 + PROVEN


def test_rows_are_the_same_from_memory_from_the_store_and_computed(
    prefix: NetworkPrefix, photos: Path
) -> None:
    ways: dict[str, dict[str, Any]] = {
        "memory": {},
        "store": {"memory_bytes": 0},
        "computed": {"keep": False},
    }
    rows = {}
    for way, options in ways.items():
        activations, said = activations_of(prefix, **options)
        rows[way] = rows_of(activations, photos / "train")
        activations.close()
        assert not said
    assert rows["memory"].tobytes() == rows["store"].tobytes() == rows["computed"].tobytes()


def test_a_damaged_row_is_computed_again_and_reported(prefix: NetworkPrefix, photos: Path) -> None:
    first, _ = activations_of(prefix)
    expected = rows_of(first, photos / "train")
    first.close()
    (store,) = [each for each in list_stores() if each.about["cut"] == "head"]
    data = bytearray(store.path.read_bytes())
    data[data.index(expected[3].tobytes()) + 5] ^= 1
    store.path.write_bytes(data)
    second, said = activations_of(prefix, memory_bytes=0)
    assert rows_of(second, photos / "train").tobytes() == expected.tobytes()
    assert any("damaged" in words for words in said)
    second.close()
    third, said = activations_of(prefix)
    assert rows_of(third, photos / "train").tobytes() == expected.tobytes()
    assert not said


@pytest.mark.parametrize("failing", ["put", "flush", "get", "__contains__"])
def test_a_store_that_fails_is_given_up_and_training_goes_on(
    failing: str, prefix: NetworkPrefix, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = rows_of(activations_of(prefix, keep=False)[0], photos / "train")

    def full(*_: object) -> None:
        raise StoreError("The feature store cannot be written: database or disk is full")

    monkeypatch.setattr(f"headstart.frozen.store.FeatureStore.{failing}", full)
    activations, said = activations_of(prefix, memory_bytes=40 * 96 if failing != "get" else 0)
    assert rows_of(activations, photos / "train").tobytes() == expected.tobytes()
    assert any("disk is full" in words for words in said)


@pytest.mark.parametrize("keep", [True, False])
def test_photos_are_asked_for_only_as_far_ahead_as_they_are_loaded(
    keep: bool, prefix: NetworkPrefix, photos: Path
) -> None:
    activations, _ = activations_of(prefix, keep=keep)
    listing = read_folder(photos / "train")
    records = check_images(listing, checks=activations.check(listing.candidates, is_learned_from)).records
    asked = 0

    def wanted() -> Iterator[tuple[Record, int]]:
        nonlocal asked
        for asked in range(1, 100_000):
            yield records[asked % len(records)], 0

    rows = activations.rows(wanted())
    next(rows)
    assert asked < 1000
    rows.close()  # type: ignore[attr-defined]
    activations.close()


def test_a_photo_that_changes_during_the_run_stops_it(
    prefix: NetworkPrefix, make_photos: Callable[..., Path], tmp_path: Path
) -> None:
    data = make_photos(tmp_path / "photos", {"": 2})
    activations, _ = activations_of(prefix, keep=False)
    listing = read_folder(data)
    dataset = check_images(listing, checks=activations.check(listing.candidates, is_learned_from))
    shutil.copy(data / "red" / "red0.jpg", data / "red" / "red1.jpg")
    with pytest.raises(DataError, match="has been changed since this run began"):
        list(activations.rows((record, 0) for record in dataset.records))


def test_a_photo_of_the_test_split_is_checked_and_nothing_more(prefix: NetworkPrefix, photos: Path) -> None:
    counted = Counted(prefix)
    activations, _ = activations_of(counted)
    listing = read_folder(photos)
    dataset = check_images(listing, checks=activations.check(listing.candidates, is_learned_from))
    assert counted.count == 36
    assert all(record.sha256 for record in dataset.records if record.split == "test")


def test_the_two_runtimes_agree(prefix: NetworkPrefix, photos: Path) -> None:
    rows_of(activations_of(prefix, keep=False)[0], photos / "train")
    assert prefix.relative_error is not None
    assert prefix.relative_error < 1e-4
    assert prefix.runtime.startswith("onnxruntime")


def test_what_cannot_be_exported_is_run_by_pytorch_and_not_stored(
    prefix: NetworkPrefix, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = rows_of(activations_of(prefix, keep=False)[0], photos / "train")

    def broken(*_: object, **__: object) -> bytes:
        raise RuntimeError("Unsupported operator")

    monkeypatch.setattr("headstart.model.to_onnx.to_onnx", broken)
    other = NetworkPrefix(prefix.stages, PREPROCESSING, torch.device("cpu"))
    activations, said = activations_of(other)
    np.testing.assert_allclose(rows_of(activations, photos / "train"), expected, atol=1e-4)
    activations.close()
    assert "Unsupported operator" in other.why_torch
    assert other.runtime.startswith("torch")
    assert any("not stored" in words for words in said)
    assert [each.about["cut"] for each in list_stores()] == ["facts of photos"]


def test_stored_rows_that_the_network_does_not_compute_any_more_are_noticed(
    prefix: NetworkPrefix, photos: Path
) -> None:
    """Whatever the key may have left out, here on purpose: the network's own hash."""

    def same_key(runtime: str) -> Fingerprint:
        return Fingerprint(PREPROCESSING, "resnet18", "head", "0", runtime, "cpu", "fp32")

    torch.manual_seed(1)
    network = create_native(resolve("timm/test_resnet")).eval()
    freeze(network)
    other, _ = cut_for_training(network, "head", PREPROCESSING, torch.device("cpu"))
    expected = rows_of(activations_of(other, keep=False)[0], photos / "train")
    warnings = []
    for each in (prefix, other, other):
        said: list[str] = []
        activations = Activations(each, PREPROCESSING, same_key, say=said.append)
        rows = rows_of(activations, photos / "train")
        activations.close()
        warnings.append([words for words in said if "differ from what the network computes" in words])
        if each is other:
            assert rows.tobytes() == expected.tobytes()
    assert list(map(len, warnings)) == [0, 1, 0]


def test_a_wrong_export_is_noticed(
    prefix: NetworkPrefix, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headstart.model.prefix.TOLERANCE", 0.0)
    other = NetworkPrefix(prefix.stages, PREPROCESSING, torch.device("cpu"))
    rows_of(activations_of(other, keep=False)[0], photos / "train")
    assert "relative error" in other.why_torch
    assert other.runtime.startswith("torch")


def test_augmented_rows_are_those_of_their_view(prefix: NetworkPrefix, photos: Path) -> None:
    augmentation = Augmentation("light", seed=1)
    plain, _ = activations_of(prefix, keep=False)
    listing = read_folder(photos / "train")
    records = check_images(listing, checks=plain.check(listing.candidates, is_learned_from)).records[:4]
    views, _ = activations_of(prefix, keep=False, augmentation=augmentation)
    first = [list(views.rows((record, view) for record in records)) for view in (1, 2, 1)]
    assert np.array_equal(first[0], first[2])
    assert not np.array_equal(first[0], first[1])


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("resnet18", 1),
        ("mobilenet_v2", 2),
        pytest.param("densenet121", 1, marks=pytest.mark.slow),
        pytest.param("convnext_tiny", 1, marks=pytest.mark.slow),
        ("timm/tf_efficientnet_lite0", 2),
        ("timm/test_vit", 1),
    ],
)
def test_one_pass_gives_what_two_prefixes_give_bit_for_bit(name: str, at: int | str) -> None:
    torch.manual_seed(0)
    network = create_native(resolve(name)).eval()
    freeze(network)
    size_px = 160 if "vit" in name else 32
    preprocessing, device = Preprocessing(size_px=size_px), torch.device("cpu")
    half, _ = cut_for_training(network, at, preprocessing, device)
    whole, _ = cut_for_training(network, "head", preprocessing, device)
    both, _ = cut_for_training(network, "head", preprocessing, device, halfway=len(half.stages))
    pixels = np.random.default_rng(0).integers(0, 256, (4, size_px, size_px, 3), np.uint8)
    pairs = both.pairs(pixels)
    assert both.why_torch == ""
    assert np.array_equal(np.stack([row for row, _ in pairs]), whole(pixels))
    assert np.array_equal(np.stack([row for _, row in pairs]), half(pixels))  # fails for None too


def test_two_outputs_that_change_a_bit_come_from_two_graphs(
    prefix: NetworkPrefix, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    expected = prefix(pixels)
    half = NetworkPrefix(StageSequence(list(prefix.stages)[:3]), PREPROCESSING, torch.device("cpu"))
    monkeypatch.setattr("headstart.frozen.prefix.np.array_equal", lambda *_: False)
    both = NetworkPrefix(prefix.stages, PREPROCESSING, torch.device("cpu"), halfway=3)
    rows, halves = zip(*both.pairs(pixels), strict=True)
    assert np.stack(rows).tobytes() == expected.tobytes()
    assert np.stack(halves).tobytes() == half(pixels).tobytes()


HEAD, LAST, ALL = ({"unfreeze": each} for each in ("head", 1, "all"))


@pytest.mark.parametrize(
    ("phases", "num_photos", "expected"),
    [
        ([HEAD, LAST], 900, 4),
        ([HEAD, LAST], 90, None),  # not worth it
        ([HEAD, ALL, LAST], 900, None),  # by then its stages are others
        ([LAST, HEAD], 900, None),  # further on, not on the way
        ([HEAD, LAST | {"augment": "light"}], 900, None),  # other pixels
        ([HEAD | {"augment": "light"}, LAST], 900, None),
        ([HEAD, LAST | {"augment": "light"}, {"unfreeze": 2}], 900, 3),
    ],
)
def test_one_pass_serves_a_later_phase_where_that_phase_would_find_its_rows(
    phases: list[dict[str, Any]], num_photos: int, expected: int | None, photos: Path
) -> None:
    phases = [{"name": f"phase{number}", **phase} for number, phase in enumerate(phases)]
    config = TrainConfig.from_settings(photos, phases=phases)
    network = create_native(resolve("timm/test_resnet")).eval()
    source = FeatureSource(
        config,
        network,
        PREPROCESSING,
        "resnet18",
        num_photos,
        0,
        Targets("classification", (), PREPROCESSING),
        Accelerator(cpu=True),
        print,
        Room(print),
    )
    half = source._halfway(config.phases[0])
    assert (half and len(half.stages)) == expected


# Through the whole of training.


@pytest.mark.slow
def test_what_a_later_phase_needs_is_computed_on_the_way(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []  # how many stages were run, photo batch by photo batch
    run = NetworkPrefix._run

    def counted(self: NetworkPrefix, pixels: np.ndarray) -> list[np.ndarray]:
        calls.append(len(self.stages))
        return run(self, pixels)

    monkeypatch.setattr(NetworkPrefix, "_run", counted)
    models = []
    for name, passes in {"one": 1, "two": 2}.items():
        worth_it_from = 10 if passes == 1 else 1_000_000
        monkeypatch.setattr("headstart.training.steps.features.ONE_PASS_MIN_PHOTOS", worth_it_from)
        monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / name))
        path = hs.train(photos, tmp_path / f"run-{name}", recipe="finetune", **SMALL).path
        models.append((path / "model.safetensors").read_bytes())
        # The later phase computes nothing but the rows that show that what is stored is its own.
        assert sum(count > PROVEN for count in Counter(calls).values()) == passes
        calls.clear()
    assert models[0] == models[1]


PHASES = [
    {"name": "head", "unfreeze": "head", "epochs": 2, "optimizer": "adam", "augment": "light", "views": 2},
    {"name": "last", "unfreeze": 1, "epochs": 2, "head_lr": 1e-4, "augment": "light", "views": 2},
    {"name": "plain", "unfreeze": 1, "epochs": 1, "head_lr": 1e-4},
]


def test_cached_and_live_training_give_equal_bits(photos: Path, tmp_path: Path) -> None:
    models = {}
    for name, settings in {
        "live": {"features": "live"},
        "cold": {"features": "store"},
        "warm": {"features": "store"},
    }.items():
        run = hs.train(photos, tmp_path / name, phases=PHASES, **SMALL, **settings)
        models[name] = (run.path / "model.safetensors").read_bytes()
    assert models["live"] == models["cold"] == models["warm"]
    cuts = sorted({store.about["cut"] for store in list_stores()})
    assert cuts == ["facts of photos", "pairs of photos", "pool", "stage3"]


def test_views_do_not_change_when_photos_are_added() -> None:
    augmentation = Augmentation("light", seed=0)
    view = augmentation.view("ab" * 32, 3)
    assert view == Augmentation("light", seed=0).view("ab" * 32, 3)
    others = [
        augmentation.view("ab" * 32, 4),
        augmentation.view("cd" * 32, 3),
        Augmentation("light", seed=1).view("ab" * 32, 3),
    ]
    assert view not in others
