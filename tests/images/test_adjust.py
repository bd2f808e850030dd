"""What changes pixels, against its definition."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from headstart.images.adjust import ADJUSTMENTS, adjust

PIXELS = np.random.default_rng(3).integers(0, 256, (48, 64, 3), dtype=np.uint8)
IMAGE = Image.fromarray(PIXELS)


def adjusted(name: str, *numbers: float, image: Image.Image = IMAGE) -> np.ndarray:
    return np.asarray(adjust(image, [(name, numbers)])).astype(int)


def close(a: np.ndarray, b: np.ndarray, limit: float = 1) -> bool:
    return bool(np.abs(a.astype(float) - b).max() <= limit)


@pytest.mark.parametrize("factor", [0, 0.4, 1, 1.7, 10])
@pytest.mark.parametrize(
    ("name", "enhance"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
        ("sharpness", ImageEnhance.Sharpness),
    ],
)
def test_factors_do_what_pillows_enhancers_do(name: str, enhance, factor: float) -> None:
    """Within rounding; they round what they blend with too, which a factor of ten shows."""
    expected = np.asarray(enhance(IMAGE).enhance(factor))
    assert close(adjusted(name, factor), expected, 1 + 0.5 * abs(factor - 1))


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "sharpness"])
def test_a_factor_of_one_changes_nothing(name: str) -> None:
    assert (adjusted(name, 1) == PIXELS).all()


def test_hue_goes_around_the_colour_circle() -> None:
    red = Image.new("RGB", (4, 4), (200, 20, 20))
    assert close(adjusted("hue", 1 / 3, image=red), np.array((20, 200, 20)), 4)
    assert close(adjusted("hue", -1 / 3, image=red), np.array((20, 20, 200)), 4)
    assert close(adjusted("hue", 0.5, image=red), np.array((20, 200, 200)), 4)
    pixel = tuple(PIXELS[0, 0] / 255)
    h, s, v = colorsys.rgb_to_hsv(*pixel)
    expected = np.array(colorsys.hsv_to_rgb((h + 0.1) % 1, s, v)) * 255
    assert close(adjusted("hue", 0.1)[0, 0], expected, 6)


def test_greyscale_has_equal_channels() -> None:
    grey = adjusted("greyscale")
    assert (grey[..., :1] == grey).all()
    assert close(grey[..., 0], PIXELS @ np.array((0.299, 0.587, 0.114)))


def test_posterise_keeps_the_first_bits() -> None:
    assert (adjusted("posterise", 3) == (PIXELS & 0b11100000)).all()
    assert (adjusted("posterise", 8) == PIXELS).all()


def test_solarise_inverts_from_its_threshold() -> None:
    assert (adjusted("solarise", 100) == np.where(PIXELS < 100, PIXELS, 255 - PIXELS.astype(int))).all()


def test_autocontrast_and_equalise_fill_the_range() -> None:
    dull = Image.fromarray((PIXELS // 4 + 90).astype(np.uint8))
    for name in ("autocontrast", "equalise"):
        pixels = adjusted(name, image=dull)
        assert pixels.min() <= 4
        assert pixels.max() >= 251


def test_blur_is_the_same_at_every_size() -> None:
    """Sigma is meant at 224 px: twice the pixels, twice the blur."""

    def width_of_a_blurred_edge(size: int) -> float:
        pixels = np.zeros((size, size, 3), np.uint8)
        pixels[:, size // 2 :] = 255
        row = adjusted("blur", 5, image=Image.fromarray(pixels))[size // 2, :, 0]
        return ((row > 40) & (row < 215)).sum() / size

    assert width_of_a_blurred_edge(448) == pytest.approx(width_of_a_blurred_edge(224), rel=0.2)
    assert width_of_a_blurred_edge(224) == pytest.approx(2 * 5 * 1.0 / 224, rel=0.3)


def test_noise_has_its_deviation_and_is_its_keys() -> None:
    grey = Image.new("RGB", (224, 224), (128, 128, 128))
    noise = adjusted("noise", 0.05, 7, image=grey) - 128
    assert noise.std() == pytest.approx(0.05 * 255, rel=0.02)
    assert abs(noise.mean()) < 0.2
    assert np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1] == pytest.approx(0, abs=0.02)
    assert (adjusted("noise", 0.05, 7, image=grey) - 128 == noise).all()
    assert (adjusted("noise", 0.05, 8, image=grey) - 128 != noise).any()


def test_erasing_covers_its_rectangle_and_nothing_else() -> None:
    erased = adjusted("erase", 0.25, 0.5, 0.75, 1)
    assert (erased[24:, 16:48] == 128).all()
    erased[24:, 16:48] = PIXELS[24:, 16:48]
    assert (erased == PIXELS).all()


@pytest.mark.parametrize("name", ADJUSTMENTS)
def test_an_image_is_not_changed_in_place(name: str) -> None:
    numbers = {"noise": (0.1, 1), "erase": (0, 0, 1, 1), "blur": (20,), "posterise": (2,), "solarise": (10,)}
    no_numbers = ("greyscale", "autocontrast", "equalise")
    image = Image.fromarray(PIXELS // 2)
    after = adjusted(name, *numbers.get(name, () if name in no_numbers else (0.3,)), image=image)
    assert (after != PIXELS // 2).any()
    assert (np.asarray(image) == PIXELS // 2).all()


def test_adjustments_are_made_in_their_order() -> None:
    one = adjust(IMAGE, [("brightness", (2,)), ("solarise", (128,))])
    other = adjust(IMAGE, [("solarise", (128,)), ("brightness", (2,))])
    assert one.tobytes() != other.tobytes()
    assert (np.asarray(one) == ADJUSTMENTS["solarise"](ADJUSTMENTS["brightness"](IMAGE, 2), 128)).all()
