"""Boxes, several labels and numbers on photos made from real ones, whose labels are exact.

    python -m benchmarks.tasks [--only boxes labels angle]

boxes: a cut-out of a photo, of any size and shape, pasted on patches of other photos; its box. labels: four
quarters of a picture, each a patch of one of four textures; which textures appear. angle: a patch turned by
-60 to 60 degrees; by how many. Each is learned from 900 pictures with no option but the seed, and scored on
100 test pictures that are cut from other parts of the photos.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import datetime
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from skimage import data

import headstart as hs
from headstart.inference.drawings import draw_each

SIDE_PX = 160
COUNTS = {"train": 800, "val": 100, "test": 100}
TEXTURES = ("brick", "grass", "gravel", "immunohistochemistry")
SCENES = ("brick", "grass", "gravel", "rocket", "retina", "hubble_deep_field")
OBJECTS = ("chelsea", "coffee", "astronaut")


def photo(name: str) -> Image.Image:
    """Return one of the photographs that scikit-image's wheel carries."""
    return Image.fromarray(getattr(data, name)()).convert("RGB")


def part(image: Image.Image, split: str) -> Image.Image:
    """Return the left of a photo for training and validation, the right for testing: no pixel is in both."""
    middle = round(0.6 * image.width)
    left, right = (middle, image.width) if split == "test" else (0, middle)
    return image.crop((left, 0, right, image.height))


def patch(image: Image.Image, side: int, generator: np.random.Generator) -> Image.Image:
    """Cut out a square of 100 to 180 pixels and bring it to a size."""
    cut = int(generator.uniform(100, 180))
    left, top = (int(generator.integers(0, length - cut + 1)) for length in image.size)
    return image.crop((left, top, left + cut, top + cut)).resize((side, side), Image.Resampling.BICUBIC)


def boxes(split: str, generator: np.random.Generator) -> tuple[Image.Image, list[Any]]:
    """Paste an ellipse or a rectangle out of a photo on another."""
    picture = patch(part(photo(generator.choice(SCENES)), split), SIDE_PX, generator)
    width, height = (int(side) for side in generator.integers(36, 110, 2))
    left, top = int(generator.integers(0, SIDE_PX - width)), int(generator.integers(0, SIDE_PX - height))
    cut_out = patch(photo(generator.choice(OBJECTS)), 128, generator).resize((width, height))
    mask = Image.new("L", (width, height), 0)
    draw = ImageDraw.Draw(mask)
    shape = draw.ellipse if generator.random() < 0.5 else draw.rectangle
    shape((0, 0, width - 1, height - 1), fill=255)
    picture.paste(cut_out, (left, top), mask)
    return picture, [left, top, left + width, top + height]


def labels(split: str, generator: np.random.Generator) -> tuple[Image.Image, list[Any]]:
    """Put four patches together; each texture appears or not."""
    chosen = [name for name in TEXTURES if generator.random() < 0.5] or [str(generator.choice(TEXTURES))]
    quarters = [*chosen, *generator.choice(chosen, 4 - len(chosen))]
    generator.shuffle(quarters)
    picture, half = Image.new("RGB", (SIDE_PX, SIDE_PX)), SIDE_PX // 2
    for number, name in enumerate(quarters):
        where = (half * (number % 2), half * (number // 2))
        picture.paste(patch(part(photo(name), split), half, generator), where)
    return picture, ["|".join(sorted(chosen))]


def angle(split: str, generator: np.random.Generator) -> tuple[Image.Image, list[Any]]:
    """Turn a patch of a wall; its corners are not in the picture."""
    degrees = float(generator.uniform(-60, 60))
    # Its joints fan out from left to right: the middle leans least, and what is tested is cut off below.
    wall = photo("brick").crop((128, 0, 384, 512)).transpose(Image.Transpose.ROTATE_90)
    whole = patch(part(wall, split), 2 * SIDE_PX, generator)
    turned = whole.rotate(degrees, Image.Resampling.BICUBIC)
    left = (2 * SIDE_PX - SIDE_PX) // 2
    return turned.crop((left, left, left + SIDE_PX, left + SIDE_PX)), [degrees]


TASKS: dict[str, tuple[Callable[..., tuple[Image.Image, list[Any]]], list[str], dict[str, Any]]] = {
    "boxes": (boxes, ["xmin", "ymin", "xmax", "ymax"], {}),
    "labels": (labels, ["labels"], {}),
    "angle": (angle, ["degrees"], {"target": "degrees"}),
}


def main() -> None:
    """Make the pictures, train, and print the test scores."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--backbone", default="timm/tf_efficientnet_lite0")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draw", type=Path, help="a new folder for test pictures with their predictions")
    told = parser.parse_args()
    print(f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores, {told.backbone}")
    for name in told.only:
        make, columns, settings = TASKS[name]
        with tempfile.TemporaryDirectory() as folder:
            os.environ["HEADSTART_CACHE"] = folder
            table = write(Path(folder), make, columns, np.random.default_rng(told.seed))
            begun = time.monotonic()
            with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
                out = Path(folder) / "run"
                run = hs.train(table, out, backbone=told.backbone, seed=told.seed, **settings)
            seconds = time.monotonic() - begun
            scores = {key: value for key, value in run.metrics["test"].items() if isinstance(value, float)}
            shown = ", ".join(f"{key} {value:.3f}" for key, value in scores.items())
            print(f"{name:8} {shown}   ({seconds:.0f} s)", flush=True)
            if told.draw:
                model = hs.load(run.path)
                photos = [Path(folder) / f"test-{number}.png" for number in range(12)]
                for _ in draw_each(model.predict(photos), model.info, told.draw / name):
                    pass


def write(
    folder: Path,
    make: Callable[..., tuple[Image.Image, list[Any]]],
    columns: list[str],
    generator: np.random.Generator,
) -> Path:
    """Make pictures and the table of their labels."""
    table = folder / "table.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *columns, "split"])
        for split, count in COUNTS.items():
            for number in range(count):
                picture, label = make(split, generator)
                picture.save(folder / f"{split}-{number}.png")
                writer.writerow([f"{split}-{number}.png", *label, split])
    return table


if __name__ == "__main__":
    main()
