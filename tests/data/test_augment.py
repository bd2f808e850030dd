"""Views are drawn from named keys alone, within the ranges that were asked for."""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from headstart.config.operations import OPERATIONS, PRESETS, RandAugment, TrivialAugment
from headstart.errors import ConfigError
from headstart.images.adjust import ADJUSTMENTS
from headstart.images.preprocess import load_pixels, preprocess
from headstart.images.settings import Preprocessing
from headstart.images.view import WARPS, View
from headstart.inference.runtime import map_in_order
from headstart.views.augmentation import NUM_MAGNITUDES, RANDAUGMENT, TRIVIALAUGMENT, Augmentation

PHOTO = "ab" * 32


def views_of(*tables: dict[str, Any], count: int = 400, seed: int = 0) -> list[View]:
    augmentation = Augmentation(list(tables), seed)  # type: ignore[arg-type]
    return [augmentation.view(PHOTO, number) for number in range(1, count + 1)]


def steps_of(view: View) -> list[tuple[str, tuple[float, ...]]]:
    return [*view.geometry, *view.pixels]


def numbers_of(views: list[View], place: int = 0, name: str | None = None) -> np.ndarray:
    """The numbers that were drawn for the only operation there is."""
    return np.array([s[1][place] for v in views for s in steps_of(v) if name is None or s[0] == name])


def spread(values: np.ndarray, low: float, high: float) -> None:
    """Values fill their range and nothing beyond it: each fifth gets a fair share."""
    assert low <= values.min() <= values.max() <= high
    counts, _ = np.histogram(values, 5, (low, high))
    assert counts.min() > 0.7 * len(values) / 5


# One row per range: what was asked for, and which number of which step keeps to it.
RANGES: list[tuple[dict[str, Any], str | None, int, float, float]] = [
    ({"op": "rotation", "degrees": 20}, None, 0, -20, 20),
    ({"op": "rotation", "degrees": [5, 20]}, None, 0, 5, 20),
    ({"op": "padded-crop", "padding": 0.2}, None, 0, -0.2, 0.2),
    ({"op": "padded-crop", "padding": 0.2}, None, 1, -0.2, 0.2),
    ({"op": "affine", "degrees": 5}, "rotate", 0, -5, 5),
    ({"op": "affine", "scale": [0.5, 0.8]}, "scale", 0, 0.5, 0.8),
    ({"op": "affine", "translate": 0.3}, "translate", 0, -0.3, 0.3),
    ({"op": "affine", "translate": 0.3}, "translate", 1, -0.3, 0.3),
    ({"op": "perspective", "distortion": 0.4, "p": 1}, None, 0, 0, 0.4),
    ({"op": "perspective", "distortion": 0.4, "p": 1}, None, 7, 0, 0.4),
    ({"op": "brightness", "amount": 0.3}, None, 0, 0.7, 1.3),
    ({"op": "contrast", "amount": [1, 2]}, None, 0, 1, 2),
    ({"op": "saturation", "amount": 1}, None, 0, 0, 2),
    ({"op": "hue", "amount": 0.1}, None, 0, -0.1, 0.1),
    ({"op": "sharpness", "amount": 0.5}, None, 0, 0.5, 1.5),
    ({"op": "blur", "sigma": [1, 3], "p": 1}, None, 0, 1, 3),
    ({"op": "noise", "std": [0.1, 0.2], "p": 1}, None, 0, 0.1, 0.2),
]


@pytest.mark.parametrize(("table", "name", "place", "low", "high"), RANGES, ids=lambda v: str(v)[:50])
def test_numbers_fill_the_range_that_was_asked_for(
    table: dict[str, Any], name: str | None, place: int, low: float, high: float
) -> None:
    values = numbers_of(views_of(table), place, name)
    assert len(values) == 400
    spread(values, low, high)


def test_shears_are_angles() -> None:
    tangents = numbers_of(views_of({"op": "affine", "shear": 20}), 1, "shear")
    spread(np.degrees(np.arctan(tangents)), -20, 20)


def test_parts_fill_their_ranges() -> None:
    parts = np.array([view.part for view in views_of({"op": "resized-crop", "area": [0.3, 0.6]})])
    spread(parts[:, 0], 0.3, 0.6)
    spread(np.log(parts[:, 1]), math.log(3 / 4), math.log(4 / 3))
    spread(parts[:, 2], 0, 1)
    spread(parts[:, 3], 0, 1)


def test_erased_rectangles_have_their_area_and_aspect() -> None:
    table = {"op": "erasing", "area": [0.1, 0.2], "aspect": [0.5, 2], "p": 1}
    left, top, right, bottom = (numbers_of(views_of(table), place) for place in range(4))
    assert 0 <= min(left.min(), top.min()) <= max(right.max(), bottom.max()) <= 1
    spread((right - left) * (bottom - top), 0.1, 0.2)
    spread(np.log((right - left) / (bottom - top)), math.log(0.5), math.log(2))


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("p", [0.3, 1])
def test_so_many_views_get_an_operation(name: str, p: float) -> None:
    if name == "resized-crop":
        got = sum(view.part is not None for view in views_of({"op": name, "p": p}))
    elif name in ("randaugment", "trivialaugment"):  # where identity may come up
        return
    else:
        got = sum(bool(steps_of(view)) for view in views_of({"op": name, "p": p}))
    assert got == 400 if p == 1 else abs(got - 120) < 40


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("resize", ["crop", "pad", "squash"])
def test_every_operation_makes_a_view_that_differs_and_fits(name: str, resize: str) -> None:
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 99, 3), np.uint8))
    settings = Preprocessing(size_px=80, resize=resize)  # type: ignore[arg-type]
    plain, changed = preprocess(photo, settings), 0
    for view in views_of({"op": name, "p": 1}, count=8):
        assert all(step in WARPS for step, _ in view.geometry)
        assert all(step in ADJUSTMENTS for step, _ in view.pixels)
        pixels = preprocess(photo, settings, view)
        assert (pixels.shape, pixels.dtype) == ((80, 80, 3), np.uint8)
        changed += bool((pixels != plain).any())
    assert changed >= 6  # identity, or hardly anything, may come up


@pytest.mark.parametrize(
    ("policy", "table"), [("randaugment", RANDAUGMENT), ("trivialaugment", TRIVIALAUGMENT)]
)
def test_a_policy_draws_every_operation_of_its_table_alike(policy: str, table: dict) -> None:
    views = views_of({"op": policy, **({"n": 1} if policy == "randaugment" else {})}, count=2800)
    names = Counter((*(name for name, _ in steps_of(view)), "identity")[0] for view in views)
    expected = Counter(name.removesuffix("-x").removesuffix("-y") for name in table)
    assert set(names) == set(expected)
    for name, ways in expected.items():
        assert abs(names[name] - 200 * ways) < 60 * ways, name


def test_randaugment_has_one_strength_and_both_signs() -> None:
    views = views_of({"op": "randaugment", "n": 3, "magnitude": 10}, count=2000)
    assert max(len(steps_of(view)) for view in views) == 3
    assert set(numbers_of(views, name="rotate")) == {-10, 10}
    assert set(numbers_of(views, name="posterise")) == {7}
    assert np.allclose(sorted(set(numbers_of(views, name="brightness"))), [0.7, 1.3])
    assert np.allclose(numbers_of(views, name="solarise"), 170)
    assert np.allclose(sorted({abs(n) for n in numbers_of(views, name="shear")}), [0, 0.1])


def test_trivialaugment_draws_every_strength_of_the_wide_space() -> None:
    views = views_of({"op": "trivialaugment"}, count=8000)
    degrees = numbers_of(views, name="rotate")
    assert len(np.unique(np.abs(degrees))) == NUM_MAGNITUDES
    assert (degrees.min(), degrees.max()) == (-135, 135)
    assert set(numbers_of(views, name="posterise")) == {2, 3, 4, 5, 6, 7, 8}
    contrast = numbers_of(views, name="contrast")
    assert (round(contrast.min(), 2), round(contrast.max(), 2)) == (0.01, 1.99)


# Nothing but the keys decides.


def test_half_of_the_views_are_mirrored_and_no_two_are_alike() -> None:
    views = [Augmentation("light", 0).view(PHOTO, number) for number in range(1, 401)]
    assert 150 < sum(view.geometry == (("flip-x", ()),) for view in views) < 250
    assert len(set(views)) == 400


def test_views_are_pinned() -> None:
    """Another value here means that every user's stored features and trained bits change: bump the code."""
    view = Augmentation("light", 0).view("00" * 32, 1)
    assert view.part is not None
    assert (round(view.part[0], 6), round(view.pixels[0][1][0], 6)) == (0.908481, 1.076514)


@given(
    photo=st.binary(min_size=32, max_size=32),
    number=st.integers(1, 1000),
    preset=st.sampled_from(list(PRESETS)),
)
def test_another_operation_changes_nothing_that_the_others_do(photo: bytes, number: int, preset: str) -> None:
    ours = [dataclasses.asdict(operation) for operation in PRESETS[preset]]
    more = [{"op": name, "p": 1} for name in ("vertical-flip", "perspective", "posterise", "noise")]
    alone = Augmentation(ours, 0).view(photo.hex(), number)  # type: ignore[arg-type]
    together = Augmentation([*more, *ours], 0).view(photo.hex(), number)  # type: ignore[arg-type]
    assert alone == Augmentation(preset, 0).view(photo.hex(), number)
    assert alone.part == together.part
    added = {"flip-y", "perspective", "posterise", "noise"}
    assert [s for s in steps_of(together) if s[0] not in added] == [
        s for s in steps_of(alone) if s[0] not in added
    ]


def test_a_range_changes_no_other_numbers() -> None:
    one = views_of({"op": "resized-crop", "area": [0.3, 0.5]}, {"op": "noise", "p": 1})
    other = views_of({"op": "resized-crop", "area": [0.9, 1]}, {"op": "noise", "p": 1, "std": [0.4, 0.5]})
    assert [view.part[1:] for view in one if view.part] == [view.part[1:] for view in other if view.part]
    assert [view.pixels[0][1][1] for view in one] == [view.pixels[0][1][1] for view in other]


@pytest.mark.parametrize("change", [{"seed": 1}, {"photo": "cd" * 32}, {"number": 2}])
def test_seed_number_and_photo_each_decide(change: dict[str, Any]) -> None:
    given_ = {"seed": 0, "photo": PHOTO, "number": 1, **change}
    view = Augmentation("strong", given_["seed"]).view(given_["photo"], given_["number"])
    assert view != Augmentation("strong", 0).view(PHOTO, 1)


EVERYTHING = [{"op": name, "p": 0.5} for name in OPERATIONS if name not in ("padded-crop", "randaugment")]


def pixels_of(paths: list[Path], workers: int | None) -> list[bytes]:
    """Views of photos, made one after the other or in so many threads."""
    import hashlib

    augmentation = Augmentation(EVERYTHING, seed=7)  # type: ignore[arg-type]
    settings = Preprocessing(size_px=32)

    def make(item: tuple[Path, int]) -> bytes:
        content = item[0].read_bytes()
        view = augmentation.view(hashlib.sha256(content).hexdigest(), item[1])
        return load_pixels(content, settings, path=str(item[0]), view=view).tobytes()

    items = [(path, number) for number in (1, 2, 3) for path in paths]
    if workers is None:
        return [make(item) for item in items]
    return list(map_in_order(make, items, workers=workers))


def test_views_are_the_same_with_any_number_of_threads(photos: Path) -> None:
    paths = sorted((photos / "train").rglob("*.jpg"))
    alone = pixels_of(paths, None)
    assert pixels_of(paths, 1) == alone
    assert pixels_of(paths, 3) == alone
    assert len(set(alone)) == len(alone)


def test_views_are_the_same_in_other_processes_that_see_other_photos(photos: Path) -> None:
    """Two processes that share the photos make what one makes of all of them."""
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_augment import pixels_of
import hashlib
for pixels in pixels_of([Path(name) for name in sys.argv[1:]], 2):
    print(hashlib.sha256(pixels).hexdigest())
"""
    import hashlib

    paths = sorted((photos / "train").rglob("*.jpg"))[:6]
    alone = [hashlib.sha256(pixels).hexdigest() for pixels in pixels_of(paths, None)]
    shared = []
    for rank in (0, 1):
        command = [sys.executable, "-c", code, *map(str, paths[rank::2])]
        shared.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    assert [each for pair in zip(*shared, strict=True) for each in pair] == alone


def test_views_do_not_change_when_photos_are_added(photos: Path) -> None:
    paths = sorted((photos / "train").rglob("*.jpg"))
    few, all_ = pixels_of(paths[::3], None), pixels_of(paths, None)
    of_all = {(i % len(paths), i // len(paths)): pixels for i, pixels in enumerate(all_)}
    assert few == [of_all[3 * (i % len(paths[::3])), i // len(paths[::3])] for i in range(len(few))]


# What a view is stored under.


def test_a_presets_fingerprint_is_that_of_its_list() -> None:
    for preset, operations in PRESETS.items():
        assert Augmentation(preset, 3).fingerprint() == Augmentation(operations, 3).fingerprint()


def test_the_fingerprint_differs_when_anything_differs() -> None:
    tables = [dataclasses.asdict(OPERATIONS[name]()) for name in OPERATIONS]
    prints = {Augmentation("light", 0).fingerprint(), Augmentation("light", 1).fingerprint()}
    wanted = 2
    for table in tables:
        for key, value in table.items():
            if key == "op":
                continue
            if isinstance(value, tuple):
                changed = (value[0], 0.9 * value[1] or 2.0)
            else:
                changed = value - 1 if isinstance(value, int) else value / 2
            prints.add(Augmentation([{**table, key: changed}], 0).fingerprint())  # type: ignore[arg-type]
            wanted += 1
        prints.add(Augmentation([table], 0).fingerprint())  # type: ignore[arg-type]
        wanted += 1
    assert len(prints) == wanted
    assert all(json.loads(each) for each in prints)


def test_what_is_wrong_is_told() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'light'"):
        Augmentation("lite", 0)
    with pytest.raises(ConfigError, match=r"0\.2 degrees.* Did you mean 20\?"):
        Augmentation([{"op": "rotation", "degrees": 0.2}], 0)  # type: ignore[arg-type]


def test_policies_are_operations_of_their_own() -> None:
    assert Augmentation((RandAugment(),), 0).operations == (RandAugment(),)
    assert TrivialAugment() in PRESETS["strong"]
