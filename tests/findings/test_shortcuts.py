"""Shortcuts: planted ones are found, and random properties are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from headstart.findings.shortcuts import FEWEST_PHOTOS, Shortcut, find_shortcuts
from headstart.frozen.photos import PhotoFacts


def random_photos(num: int, seed: int = 0) -> list[PhotoFacts]:
    """Photos of a few usual sizes and two file types, whose properties say nothing about anything."""
    random = np.random.default_rng(seed)
    sizes = [(640, 480), (480, 640), (800, 600), (1024, 1024)]
    noise = random.integers(0, 256, (96, 96)).astype(np.uint8)
    photos = []
    for number in range(num):
        width, height = sizes[random.integers(len(sizes))]
        if random.random() < 0.5:
            width, height = random.integers(100, 2000, 2).tolist()
        thumbnail = noise
        if random.random() < 0.2:
            thumbnail = noise.copy()
            thumbnail[:4] = thumbnail[-4:] = random.integers(0, 256)
        file_type = "PNG" if random.random() < 0.2 else "JPEG"
        num_bytes = int(np.exp(random.normal(11, 1)))
        photos.append(
            PhotoFacts(
                f"{number:064x}", num_bytes, width, height, 1, 0.5, 0.2, 100.0, file_type, "", thumbnail
            )
        )
    return photos


def names(found: list[Shortcut]) -> list[str]:
    return [each.name for each in found]


def changed(photos: list[PhotoFacts], labels: np.ndarray, **values: object) -> list[PhotoFacts]:
    """Photos whose class 1 has these values."""
    return [
        replace(photo, **values) if label == 1 else photo for photo, label in zip(photos, labels, strict=True)
    ]


LABELS = np.arange(200) % 2
NAMES = ["cat", "dog"]


def test_no_shortcut_is_found_in_a_hundred_random_data_sets() -> None:
    random = np.random.default_rng(1)
    found = []
    for seed in range(100):
        num, num_classes = int(random.integers(FEWEST_PHOTOS, 150)), int(random.integers(2, 9))
        labels = random.choice(num_classes, num, p=random.dirichlet(np.full(num_classes, 3.0)))
        found += find_shortcuts(random_photos(num, seed), labels, [f"{k}" for k in range(num_classes)])
    assert found == []


def test_a_file_type_per_class() -> None:
    photos = [
        replace(each, format=("JPEG", "PNG")[label])
        for each, label in zip(random_photos(200), LABELS, strict=True)
    ]
    (found,) = find_shortcuts(photos, LABELS, NAMES)
    assert (found.name, found.accuracy, found.severity) == ("file type", 1.0, "warning")
    assert found.majority == pytest.approx(0.5, abs=0.02)
    assert found.interval[0] > 0.97
    assert "100.0% of the photos can be classified correctly" in found.sentence
    assert "'cat' has the type 100% JPEG; the other classes have the type 100% PNG" in found.sentence


def test_white_borders_of_one_class() -> None:
    white = random_photos(1)[0].thumbnail.copy()
    white[:5] = white[-5:] = 255
    white[:, :5] = white[:, -5:] = 254
    found = find_shortcuts(changed(random_photos(200), LABELS, thumbnail=white), LABELS, NAMES)
    assert names(found) == ["border colour"]
    assert found[0].class_names[0] in NAMES
    assert "median grey level 25" in found[0].sentence


def test_sizes_and_aspect_ratios_of_one_class() -> None:
    found = find_shortcuts(changed(random_photos(200), LABELS, width_px=300, height_px=200), LABELS, NAMES)
    assert sorted(names(found)) == ["aspect ratio", "width and height"]
    assert "'dog'" in found[0].sentence
    assert all(each.accuracy > 0.95 for each in found)


def test_the_file_size_of_one_class() -> None:
    found = find_shortcuts(changed(random_photos(200), LABELS, num_bytes=5_000), LABELS, NAMES)
    assert names(found) == ["file size"]


def test_a_shortcut_to_one_small_class_of_many_is_found() -> None:
    labels = np.arange(400) % 20
    photos = changed(random_photos(400), labels, format="WEBP")
    (found,) = find_shortcuts(photos, labels, [f"class {k}" for k in range(20)])
    assert (found.name, found.class_names, found.severity) == ("file type", ("class 1",), "note")
    assert found.accuracy < 0.2


def test_a_weak_tendency_is_not_reported() -> None:
    photos = random_photos(200)
    photos[:8] = [
        replace(each, format=("JPEG", "GIF")[label]) for each, label in zip(photos[:8], LABELS, strict=False)
    ]
    assert find_shortcuts(photos, LABELS, NAMES) == []


def test_photos_of_one_unit_are_not_evidence_for_each_other() -> None:
    """Ten series of twenty photos have ten sizes: they cannot be told apart by what other series show."""
    units = np.arange(200) // 20
    labels = units % 2
    photos = [
        replace(photo, width_px=300 + 40 * int(unit), height_px=300)
        for photo, unit in zip(random_photos(200), units.tolist(), strict=True)
    ]
    assert names(find_shortcuts(photos, labels, NAMES)) != []
    assert find_shortcuts(photos, labels, NAMES, units) == []


@pytest.mark.parametrize(("num", "num_classes"), [(0, 2), (FEWEST_PHOTOS - 2, 2), (100, 1)])
def test_what_cannot_be_scored_has_no_shortcuts(num: int, num_classes: int) -> None:
    labels = np.arange(num) % num_classes
    photos = changed(random_photos(num), labels, format="PNG")
    assert find_shortcuts(photos, labels, NAMES) == []


def test_the_result_is_the_same_each_time() -> None:
    photos = changed(random_photos(200), LABELS, num_bytes=5_000)
    assert find_shortcuts(photos, LABELS, NAMES) == find_shortcuts(photos, LABELS, NAMES)
