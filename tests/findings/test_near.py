"""Near-duplicates, on pictures made here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from headstart.findings.align import likeness
from headstart.findings.near import by_thumbnails, groups_of, near_duplicates

SIZE = (160, 120)


def picture(number: int) -> Image.Image:
    """A picture of soft blobs and sharp shapes, with a different seed for each number."""
    rng = np.random.default_rng(number)
    image = Image.fromarray(rng.integers(30, 180, (6, 8, 3), np.uint8)).resize(SIZE, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(25):
        x, y, radius = (int(rng.integers(*limits)) for limits in ((0, SIZE[0]), (0, SIZE[1]), (3, 12)))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tuple(rng.integers(0, 190, 3)))
    return image


def thumbnail(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L").resize((96, 96), Image.Resampling.BILINEAR))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "smaller": lambda image: image.resize((80, 60)),
    "cropped": lambda image: image.crop((20, 3, 150, 110)),
    "20 % off each side": lambda image: image.crop((32, 24, 128, 96)),
    "darker": lambda image: image.point(lambda level: level * 0.7),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "grey": lambda image: image.convert("L"),
    "mirrored": ImageOps.mirror,
    "mirrored and cropped": lambda image: ImageOps.mirror(image).crop((20, 3, 150, 110)),
    "stretched": lambda image: image.resize((100, 120)),
    "white border": lambda image: ImageOps.expand(image, 8, "white"),
    "turned, black corners": lambda image: image.rotate(5, Image.Resampling.BILINEAR),
    "turned, white corners": lambda image: image.rotate(-5, Image.Resampling.BILINEAR, fillcolor="white"),
    "turned and cropped": lambda image: image.rotate(5, Image.Resampling.BILINEAR).crop((15, 15, 145, 105)),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_photo_shows_the_same_picture_and_others_do_not(name: str) -> None:
    originals = [picture(number) for number in range(8)]
    first = np.stack([thumbnail(each) for each in originals])
    second = np.stack([thumbnail(CHANGES[name](each)) for each in originals])
    assert likeness(first, second).min() > 0.8
    assert likeness(second, first).min() > 0.8
    assert not likeness(first, np.roll(second, 1, axis=0)).any()


def test_photos_without_details_are_not_judged() -> None:
    rng = np.random.default_rng(0)
    slope = np.tile(np.linspace(20, 200, 96), (96, 1))
    blank = np.stack([np.zeros((96, 96)), np.full((96, 96), 255), slope, 128 + rng.integers(0, 2, (96, 96))])
    first, second = np.repeat(blank.astype(np.uint8), 4, 0), np.tile(blank.astype(np.uint8), (4, 1, 1))
    assert not likeness(first, second).any()


def test_similar_shapes_on_white_are_different_pictures() -> None:
    """Their grey levels correlate, because most of both is white: the details decide."""
    drawn = []
    for number in range(2):
        image = Image.new("L", SIZE, "white")
        rng = np.random.default_rng(number)
        body = Image.fromarray(rng.integers(0, 90, (8, 4), np.uint8)).resize(
            (40, 90), Image.Resampling.NEAREST
        )
        image.paste(body, (60, 15))
        drawn.append(thumbnail(image))
    a, b = (each.astype(float).ravel() for each in drawn)
    assert np.corrcoef(a, b)[0, 1] > 0.9
    assert not likeness(drawn[0][None], drawn[1][None]).any()


def vectors_like(originals: list[int], noise: float, num: int) -> np.ndarray:
    """Features of photos that show one of ``num`` pictures each, the nearer the smaller the noise."""
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(num, 64))
    return (centres[originals] + noise * rng.normal(size=(len(originals), 64))).astype(np.float32)


def test_pairs_are_found_once_and_sorted() -> None:
    shown = [*range(12), 0, 1, 2]
    images = [picture(number) for number in range(12)]
    images += [change(images[row]) for row, change in enumerate(list(CHANGES.values())[:3])]
    thumbnails = np.stack([thumbnail(each) for each in images])
    pairs = near_duplicates(vectors_like(shown, 0.1, 12), by_thumbnails(thumbnails))
    assert [pair[:2] for pair in pairs] == [(0, 12), (1, 13), (2, 14)]
    assert all(0.8 <= pair.similarity <= 1 for pair in pairs)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_group_larger_than_the_neighbours_is_connected(noise: float) -> None:
    """Thirty copies of one picture are each other's neighbours; the cropped one is farther off than all."""
    shown = [0] * 30 + [1] * 9 + list(range(2, 12)) + [0]
    images = [picture(number) for number in shown]
    images[-1] = images[-1].crop((20, 3, 150, 110))
    vectors = vectors_like(shown, noise, 12)
    vectors[-1] += 0.3 * np.random.default_rng(2).normal(size=64).astype(np.float32)
    groups = groups_of(
        near_duplicates(vectors, by_thumbnails(np.stack([thumbnail(each) for each in images]))), len(shown)
    )
    assert groups.tolist() == [0] * 30 + [30] * 9 + list(range(39, 49)) + [0]


def test_the_result_does_not_depend_on_the_number_of_threads() -> None:
    shown = [*range(40), *range(40)]
    images = [picture(number) for number in range(40)]
    images += [image.crop((20, 3, 150, 110)) for image in images]
    thumbnails = np.stack([thumbnail(each) for each in images])
    vectors = vectors_like(shown, 0.2, 40)
    alone = near_duplicates(vectors, by_thumbnails(thumbnails), workers=0)
    assert len(alone) == 40
    assert near_duplicates(vectors, by_thumbnails(thumbnails), workers=3) == alone


@pytest.mark.parametrize("num", [0, 1, 2, 5])
def test_few_photos_are_no_problem(num: int) -> None:
    thumbnails = np.array([thumbnail(picture(0))] * num, np.uint8).reshape(num, 96, 96)
    pairs = near_duplicates(np.ones((num, 8), np.float32), by_thumbnails(thumbnails))
    assert groups_of(pairs, num).tolist() == [0] * num


def test_groups_are_named_after_their_smallest_row() -> None:
    assert groups_of([(4, 2), (5, 4, 0.9), (1, 3)], 7).tolist() == [0, 1, 2, 1, 2, 2, 6]


def test_pictures_of_every_kind_can_be_compared() -> None:
    """Noise, stripes and single dots lead the search to the limits of what is allowed."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (20, 96, 96), np.uint8)
    stripes = np.stack([np.add.outer(np.arange(96) * step, np.arange(96) * 3) % 256 for step in range(20)])
    dots = np.where(noise > 254, 255, 0)
    every = np.concatenate([noise, stripes, dots, dots * stripes // 255]).astype(np.uint8)
    similarity = likeness(every, rng.permutation(every))
    assert ((similarity == 0) | ((similarity >= 0.8) & (similarity <= 1))).all()
    assert (likeness(noise, noise) > 0.99).all()
