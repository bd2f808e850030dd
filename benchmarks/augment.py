"""What operations and presets cost, beside torchvision's, and how close warped views come to the ideal.

``python -m benchmarks.augment weather`` prints two tables: CPU milliseconds a photo in one thread, from bytes
to pixels; then how far warped views are from eightfold supersampling, for the filters that were tried.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import time
import unittest.mock
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

from headstart.config.operations import OPERATIONS, PRESETS, Augment
from headstart.data.sources.folder import read_folder
from headstart.images.file import read_file
from headstart.images.preprocess import load_pixels, preprocess
from headstart.images.settings import Preprocessing
from headstart.images.view import View
from headstart.views.augmentation import Augmentation

SETTINGS = Preprocessing(size_px=224, crop_fraction=0.875, interpolation="bicubic")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    candidates = read_folder(arguments.data).candidates
    paths = [each.path for each in candidates[:: max(1, len(candidates) // arguments.photos)]]
    photos = [read_file(path) for path in paths]
    torch.set_num_threads(1)
    cost(photos, arguments.repeats)
    quality(photos[:16])


def cost(photos: Sequence[bytes], repeats: int) -> None:
    hashes = [hashlib.sha256(photo).hexdigest() for photo in photos]

    def ours(augment: Augment | list[dict[str, object]]) -> Callable[[], None]:
        augmentation = Augmentation(augment, 0)  # type: ignore[arg-type]

        def run() -> None:
            for photo, sha256 in zip(photos, hashes, strict=True):
                load_pixels(photo, SETTINGS, path="", view=augmentation.view(sha256, 1))

        return run

    def theirs(*steps: torch.nn.Module) -> Callable[[], None]:
        compose = v2.Compose(steps)

        def run() -> None:
            for photo in photos:
                np.asarray(compose(Image.open(io.BytesIO(photo)).convert("RGB")))

        return run

    bicubic = v2.InterpolationMode.BICUBIC
    light = [v2.RandomResizedCrop(224, (0.5, 1), interpolation=bicubic), v2.RandomHorizontalFlip()]
    contestants = {
        **{preset: ours(preset) for preset in PRESETS},
        "torchvision's light": theirs(*light, v2.ColorJitter(0.1, 0.1, 0.1)),
        "torchvision's strong": theirs(
            v2.RandomResizedCrop(224, (0.2, 1), interpolation=bicubic),
            v2.RandomHorizontalFlip(),
            v2.RandomGrayscale(),
            v2.TrivialAugmentWide(interpolation=v2.InterpolationMode.BILINEAR),
        ),
        **{name: ours([{"op": name, "p": 1}]) for name in OPERATIONS},
    }
    best = dict.fromkeys(contestants, float("inf"))
    for _ in range(repeats):  # in turns, so that a busy minute hits all alike
        for name, run in contestants.items():
            begun = time.process_time()
            run()
            best[name] = min(best[name], (time.process_time() - begun) / len(photos) * 1000)
    print(f"{'':22} ms a photo   more than none   photos/s")
    for name, ms in best.items():
        print(f"{name:22} {ms:10.2f} {ms - best['none']:16.2f} {1000 / ms:10.0f}")


def quality(photos: Sequence[bytes]) -> None:
    generator = np.random.default_rng(0)
    images = [Image.open(io.BytesIO(photo)).convert("RGB") for photo in photos]
    views = [
        View(
            (
                generator.uniform(0.3, 1),
                generator.uniform(0.75, 1.33),
                generator.random(),
                generator.random(),
            ),
            (("rotate", (generator.uniform(-30, 30),)),),
        )
        for _ in images
    ]
    references = [ideal(image, view) for image, view in zip(images, views, strict=True)]
    print(f"\n{'warped by':12} grey levels off   PSNR   gradient (ideal: {gradient(references):.2f})")
    transform = Image.Image.transform
    for name in ("BILINEAR", "BICUBIC"):

        def filtered(self: Image.Image, *args: object, resample: object, **kwargs: object) -> Image.Image:
            return transform(self, *args, resample=Image.Resampling[name], **kwargs)  # type: ignore[arg-type]  # noqa: B023

        with unittest.mock.patch.object(Image.Image, "transform", filtered):
            made = [
                preprocess(image, SETTINGS, view).astype(float)
                for image, view in zip(images, views, strict=True)
            ]
        inside = [(reference != 128).all(axis=-1) for reference in references]
        off = [a[i] - b[i] for a, b, i in zip(made, references, inside, strict=True)]
        error = np.mean([np.abs(each).mean() for each in off])
        psnr = np.mean([10 * np.log10(255**2 / (each**2).mean()) for each in off])
        print(f"{name.lower():12} {error:15.2f} {psnr:6.1f} {gradient(made):10.2f}")


def ideal(image: Image.Image, view: View, times: int = 8) -> np.ndarray:
    """The view at eight times the pixels per side, straight from the photo, then reduced."""
    matrix = view.matrix(*image.size, SETTINGS) @ np.diag([1 / times, 1 / times, 1])
    large = image.transform(
        (224 * times, 224 * times),
        Image.Transform.AFFINE,
        matrix[:2].ravel().tolist(),
        resample=Image.Resampling.BICUBIC,
        fillcolor=(128, 128, 128),
    )
    return np.asarray(large.resize((224, 224), Image.Resampling.BICUBIC)).astype(float)


def gradient(images: Sequence[np.ndarray]) -> float:
    """Mean difference between neighbours: how sharp it is."""
    return float(np.mean([np.abs(np.diff(image, axis=1)).mean() for image in images]))


if __name__ == "__main__":
    main()
