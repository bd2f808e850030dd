"""Several processes share the photos. Here they are threads that exchange what they find."""

from __future__ import annotations

import copy
import dataclasses
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from headstart.config import TrainConfig
from headstart.data.check import check_images
from headstart.data.sources.source import read_source
from headstart.data.targets import Targets
from headstart.frozen.cache import Room
from headstart.images.file import read_file
from headstart.images.photo import Photo
from headstart.images.settings import Preprocessing
from headstart.model.backbones import create_native, resolve
from headstart.model.to_onnx import to_onnx
from headstart.records import Dataset, Listing
from headstart.training.steps.features import FeatureSource, PhaseFeatures

Result = TypeVar("Result")

NUM_PROCESSES = 3
PREPROCESSING = Preprocessing(size_px=32)


torch.manual_seed(0)
NET = create_native(resolve("timm/test_resnet")).eval()
EXPORTS: dict[Any, bytes] = {}


def exported_once(module: nn.Module, example: torch.Tensor, **names: Any) -> bytes:
    """Export as ``to_onnx``, once for all that do the same: every process has the same network."""
    key = (tuple(example.shape), tuple(module.state_dict()), *map(str, names.values()))
    if key not in EXPORTS:
        EXPORTS[key] = to_onnx(module, example, **names)
    return EXPORTS[key]


class Process:
    """What Accelerate says to one of several processes."""

    mixed_precision = "no"
    device = torch.device("cpu")

    def __init__(self, index: int, num_processes: int, barrier: threading.Barrier, given: list[Any]) -> None:
        self.process_index, self.num_processes = index, num_processes
        self._barrier, self._given = barrier, given

    def wait_for_everyone(self) -> None:
        self._barrier.wait(60)

    def gathered(self, own: Any) -> list[Any]:
        self._given[self.process_index] = own
        self._barrier.wait(60)
        found = list(self._given)
        self._barrier.wait(60)
        return found


OPENING = threading.Lock()  # for PyTorch's exporter is not made for several threads


def opened(source: FeatureSource) -> PhaseFeatures:
    with OPENING:
        phase = source.open(source.config.phases[0])
    source.accelerator.wait_for_everyone()  # or the last one finds, and proves, what the first has stored
    return phase


def in_processes(function: Callable[[Any], Result], num_processes: int) -> list[Result]:
    barrier, given = threading.Barrier(num_processes), [None] * num_processes
    processes = [Process(index, num_processes, barrier, given) for index in range(num_processes)]
    with ThreadPoolExecutor(num_processes) as pool:
        return [each.result() for each in [pool.submit(function, process) for process in processes]]


class Reads:
    """How often each photo is read, wholly or in part, by any of the processes."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, path: str) -> bytes:
        with self._lock:
            self.counts[path] += 1
        return read_file(path)

    def of(self, listing: Listing) -> Listing:
        """Return a listing whose photos are read through this."""
        candidates = (dataclasses.replace(each, photo=Photo(each.path, self)) for each in listing.candidates)
        return dataclasses.replace(listing, candidates=tuple(candidates))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    monkeypatch.setattr("headstart.model.to_onnx.to_onnx", exported_once)
    gathered = "headstart.training.steps.features.gathered"
    monkeypatch.setattr(gathered, lambda own, process: process.gathered(own))
    return Reads()


def source_for(data: Path, listing: Listing, process: Any, **settings: Any) -> FeatureSource:
    config = TrainConfig.from_settings(data, backbone="timm/test_resnet", weights="random", **settings)
    targets = Targets(listing.task, listing.class_names, PREPROCESSING)
    return FeatureSource(
        config, copy.deepcopy(NET), PREPROCESSING, "r", 30, 6, targets, process, lambda _: None, Room(print)
    )


@pytest.mark.parametrize(
    ("features", "augment"),
    [
        ("store", "light"),
        ("live", "none"),
        *(pytest.param(*other, marks=pytest.mark.slow) for other in (("store", "none"), ("live", "light"))),
    ],
)
def test_each_photo_is_read_by_one_of_the_processes(
    features: str, augment: str, photos: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases = [{"name": "head", "epochs": 2, "augment": augment, "views": 2 if augment != "none" else 1}]
    listing = reads.of(read_source(photos))

    def work(process: Any) -> tuple[Dataset, list[np.ndarray]]:
        phase = opened(source_for(photos, listing, process, features=features, phases=phases))
        done = 0

        def advance(number: int) -> None:
            nonlocal done
            done += number

        dataset = check_images(listing, checks=phase.check(listing.candidates, advance))
        assert len(listing.candidates) <= done < len(listing.candidates) + NUM_PROCESSES
        train = [record for record in dataset.records if record.split == "train"]
        phase.fill(train, [], advance)
        rows = list(phase.rows((record, view) for view in phase.views for record in train))
        phase.close()
        return dataset, rows

    alone = in_processes(work, 1)[0]
    num_alone = sum(reads.counts.values())
    reads.counts.clear()
    monkeypatch.setenv("HEADSTART_CACHE", str(photos.parent / f"other-{features}-{augment}"))
    together = in_processes(work, NUM_PROCESSES)
    assert sum(reads.counts.values()) == num_alone
    for dataset, rows in together:
        assert dataset == alone[0]
        assert len(rows) == len(alone[1])
        assert all(map(np.array_equal, rows, alone[1]))


def test_sizes_of_photos_with_boxes_are_read_once_too(tmp_path: Path, reads: Reads) -> None:
    lines = ["image,xmin,ymin,xmax,ymax"]
    for number in range(10):
        Image.new("RGB", (40, 30), (number * 20, 0, 0)).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,4,4,{50 if number == 7 else 20},20")
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    listing = reads.of(read_source(tmp_path / "boxes.csv"))

    def work(process: Any) -> Dataset:
        source = source_for(tmp_path / "boxes.csv", listing, process, phases=[{"unfreeze": "all"}])
        return check_images(listing, checks=opened(source).check(listing.candidates))

    (alone,) = in_processes(work, 1)
    assert set(reads.counts.values()) == {1}
    reads.counts.clear()
    together = in_processes(work, NUM_PROCESSES)
    assert set(reads.counts.values()) == {1}
    assert len(reads.counts) == 10
    assert together == [alone] * NUM_PROCESSES
    assert {record.size for record in alone.records} == {(40, 30)}


def test_a_photo_that_one_process_cannot_read_is_quarantined_by_all(
    tmp_path: Path, make_photos: Callable[..., Path], reads: Reads
) -> None:
    data = make_photos(tmp_path / "photos", {"": 4})
    (data / "red" / "red1.jpg").write_bytes(b"\xff\xd8\xff\xe0 and then nothing")
    listing = reads.of(read_source(data))

    def work(process: Any) -> Dataset:
        source = source_for(data, listing, process, phases=[{"unfreeze": "all"}])
        return check_images(listing, checks=opened(source).check(listing.candidates))

    first, *others = in_processes(work, NUM_PROCESSES)
    assert [Path(photo.path).name for photo in first.quarantined] == ["red1.jpg"]
    assert others == [first] * (NUM_PROCESSES - 1)
