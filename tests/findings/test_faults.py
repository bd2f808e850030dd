"""Faulty photos, planted into made-up data sets of every kind."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from headstart.findings.faults import Fault, faulty_photos
from headstart.frozen.photos import FACTS_PX, PhotoFacts, facts_of
from headstart.images.decode import decode_photo

SIZE = (160, 120)


def picture(number: int, *, low: int = 0, high: int = 255) -> Image.Image:
    """A picture of soft blobs and sharp discs, with a different seed for each number."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(low, high, (6, 8, 3), np.uint8)
    image = Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC)
    for _ in range(25):
        x, y, radius = (int(rng.integers(*limits)) for limits in ((0, SIZE[0]), (0, SIZE[1]), (3, 12)))
        colour = tuple(rng.integers(low, high, 3).tolist())
        ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return image


def facts(image: Image.Image) -> PhotoFacts:
    file = io.BytesIO()
    image.save(file, "PNG")
    data = file.getvalue()
    photo = decode_photo(data, path="photo.png", reduce_to_px=FACTS_PX)
    return facts_of(photo, data, hashlib.sha256(data).hexdigest(), path="photo.png")


ORDINARY = [facts(picture(number)) for number in range(60)]


def kinds(faults: Sequence[Fault]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for fault in faults:
        found.setdefault(fault.row, []).append(fault.kind)
    return found


def noise(mean: float) -> Image.Image:
    levels = mean + np.random.default_rng(0).normal(0, 3, (120, 160))
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("image", "kind", "severity"),
    [
        (Image.new("RGB", SIZE), "black", "error"),
        (noise(4), "black", "error"),
        (Image.new("RGB", SIZE, "white"), "white", "error"),
        (noise(252), "white", "error"),
        (Image.new("RGB", SIZE, (90, 120, 150)), "one colour", "error"),
        (noise(128), "one colour", "warning"),
        (picture(99).filter(ImageFilter.GaussianBlur(4)), "blurred", "warning"),
        (picture(99).filter(ImageFilter.GaussianBlur(8)), "blurred", "warning"),
        (picture(99).resize((12, 10)), "tiny", "warning"),
        (picture(99).resize((800, 40)), "odd shape", "warning"),
        (picture(99).resize((1600, 1200)), "odd size", "note"),
    ],
)
def test_a_planted_fault_is_the_only_one_that_is_found(image: Image.Image, kind: str, severity: str) -> None:
    (fault,) = faulty_photos([*ORDINARY, facts(image)])
    assert (fault.row, fault.kind, fault.severity) == (60, kind, severity)
    assert "usual" in fault.sentence


def test_blank_photos_are_found_among_few_and_are_the_only_ones() -> None:
    few = [*ORDINARY[:3], facts(Image.new("RGB", SIZE)), facts(picture(9).resize((800, 40)))]
    assert kinds(faulty_photos(few)) == {3: ["black"]}
    assert faulty_photos([]) == []


def documents(number: int) -> Image.Image:
    image = Image.new("L", SIZE, "white")
    ImageDraw.Draw(image).text((10 + number % 50, 20 + number % 70), f"Receipt {number}", fill="black")
    return image


def stars(number: int) -> Image.Image:
    levels = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    levels.ravel()[np.random.default_rng(number).integers(0, levels.size, 15)] = 255
    return Image.fromarray(levels)


@pytest.mark.parametrize(
    "draw",
    [
        documents,
        stars,
        lambda number: picture(number, low=2, high=30),  # at night
        lambda number: picture(number).filter(ImageFilter.GaussianBlur(5)),  # from a microscope
        lambda number: picture(number).resize((28, 28)),
        lambda number: picture(number).resize((600, 60)),
        lambda number: picture(number).resize((20, 15) if number % 3 else (400, 300)),
    ],
)
def test_what_all_photos_of_a_data_set_have_in_common_is_not_a_fault(draw: object) -> None:
    assert callable(draw)
    faults = faulty_photos([facts(draw(number)) for number in range(60)])
    assert not [fault for fault in faults if fault.severity == "error"]
    assert len({fault.row for fault in faults}) <= 5


def placeholder(size: tuple[int, int] = SIZE) -> PhotoFacts:
    image = Image.new("RGB", SIZE, (230, 230, 230))
    ImageDraw.Draw(image).text((20, 50), "No image available", fill="black")
    return facts(image.resize(size))


def test_one_picture_under_several_labels_is_a_placeholder() -> None:
    photos = [*ORDINARY, *[placeholder()] * 5]
    found = faulty_photos(photos, ["a", "b"] * 32 + ["a"])
    assert kinds(found) == {row: ["placeholder"] for row in range(60, 65)}
    assert {fault.severity for fault in found} == {"error"}
    assert "5 times, under 2 labels" in found[0].sentence
    assert not faulty_photos(photos, ["a"] * 65)  # five copies under one label are copies
    assert not faulty_photos(photos[:-1], ["a", "b"] * 32)


def test_one_picture_very_often_is_a_placeholder_without_labels() -> None:
    found = faulty_photos([*ORDINARY, *[placeholder()] * 10])
    assert kinds(found) == {row: ["placeholder"] for row in range(60, 70)}
    assert {fault.severity for fault in found} == {"warning"}


def test_placeholders_in_different_files_are_found_by_their_group_and_bursts_are_not() -> None:
    placeholders = [placeholder((160 + number, 120)) for number in range(6)]
    burst = [
        facts(picture(77).crop((4 * number, 0, 130 + 4 * number, 120))) for number in range(6)
    ]  # the camera moves
    photos = [*ORDINARY, *placeholders, *burst]
    groups = np.array([*range(60), *[60] * 6, *[66] * 6])
    found = faulty_photos(photos, ["a", "b"] * 36, groups)
    assert kinds(found) == {row: ["placeholder"] for row in range(60, 66)}


def test_at_most_a_small_share_is_reported_as_blurred() -> None:
    soft = [facts(picture(100 + number).filter(ImageFilter.GaussianBlur(4))) for number in range(20)]
    found = faulty_photos([*ORDINARY, *soft])
    assert len(found) == 5
    assert all(fault.kind == "blurred" and fault.row >= 60 for fault in found)


def test_photos_of_one_colour_are_not_blurred_too_and_a_photo_may_have_two_faults() -> None:
    both = replace(facts(picture(98).filter(ImageFilter.GaussianBlur(4))), width_px=4000, height_px=120)
    found = faulty_photos([*ORDINARY, facts(Image.new("RGB", SIZE)), both])
    assert kinds(found) == {60: ["black"], 61: ["blurred", "odd shape"]}
