"""False near-duplicates among photos of patterns that repeat, and how many changed ones are found again.

    python -m benchmarks.textures

Different parts of one wall, lawn or heap of gravel (photographs in scikit-image's wheel), and bricks, tiles,
stripes and fabric made here, show the same pattern, but not the same picture. All pairs are compared, as if
they were near neighbours.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
from PIL import Image
from skimage import data

from benchmarks.duplicates import CHANGES
from headstart.findings.align import likeness_of_pairs

SIZE = 256
MOST_PAIRS, AT_ONCE = 1000, 128
NUM_MADE = 30
Y, X = np.mgrid[:SIZE, :SIZE]


def crops(name: str, size_px: int) -> list[np.ndarray]:
    """Cut a photograph into parts that do not overlap."""
    photo = getattr(data, name)()
    height, width = photo.shape
    return [
        photo[y : y + size_px, x : x + size_px]
        for y in range(0, height - size_px + 1, size_px)
        for x in range(0, width - size_px + 1, size_px)
    ]


def made(draw: Callable[[np.random.Generator], np.ndarray]) -> list[np.ndarray]:
    """Draw a pattern several times, with other sizes, places and noise."""
    pictures = []
    for seed in range(NUM_MADE):
        rng = np.random.default_rng(seed)
        pictures.append(np.clip(draw(rng) + rng.normal(0, 8, (SIZE, SIZE)), 0, 255).astype(np.uint8))
    return pictures


def bricks(rng: np.random.Generator) -> np.ndarray:
    """Bricks of different greys."""
    height, width = rng.integers(18, 34), rng.integers(40, 80)
    y, x = Y + rng.integers(height), X + rng.integers(width)
    row = y // height
    x = x + row % 2 * width // 2
    greys = 120 + rng.normal(0, 14, (SIZE, SIZE))
    return np.where((y % height < 3) | (x % width < 3), 200.0, greys[row, x // width])


def tiles(rng: np.random.Generator) -> np.ndarray:
    """Square tiles of one grey."""
    side = rng.integers(36, 64)
    y, x = Y + rng.integers(side), X + rng.integers(side)
    return np.where((y % side < 4) | (x % side < 4), 60.0, 190.0)


def stripes(rng: np.random.Generator) -> np.ndarray:
    """Stripes in any direction."""
    angle, period = rng.uniform(0, np.pi), rng.uniform(12, 40)
    return 128 + 70 * np.sin((X * np.cos(angle) + Y * np.sin(angle)) * 2 * np.pi / period + rng.uniform(0, 6))


def fabric(rng: np.random.Generator) -> np.ndarray:
    """Threads across each other."""
    per_px = 2 * np.pi / rng.uniform(8, 20)
    return 128 + 40 * (np.sin(X * per_px + rng.uniform(0, 6)) + np.sin(Y * per_px + rng.uniform(0, 6)))


def thumbnail(picture: Image.Image) -> np.ndarray:
    """Return what a run stores of a photo, (96, 96) uint8."""
    whole = picture.convert("L").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return np.asarray(whole.resize((96, 96), Image.Resampling.BILINEAR))


def num_alike(pictures: np.ndarray, first: np.ndarray, second: np.ndarray) -> int:
    """Count pairs of rows that are near-duplicates."""
    begins = range(0, len(first), AT_ONCE)
    blocks = [likeness_of_pairs(pictures, first[i : i + AT_ONCE], second[i : i + AT_ONCE]) for i in begins]
    return int((np.concatenate(blocks) > 0).sum())


def main() -> None:
    """Print a Markdown table."""
    sets = {f"{name}, {px} px": crops(name, px) for name in ("brick", "grass", "gravel") for px in (64, 128)}
    sets |= {f"made: {draw.__name__}": made(draw) for draw in (bricks, tiles, stripes, fabric)}
    print("| pattern | pictures | pairs | false | changed | found |\n|---|---|---|---|---|---|")
    for name, pictures in sets.items():
        images = [Image.fromarray(each).resize((SIZE, SIZE)).convert("RGB") for each in pictures]
        first, second = np.triu_indices(len(images), 1)
        some = np.random.default_rng(0).permutation(len(first))[:MOST_PAIRS]
        num_false = num_alike(np.stack([*map(thumbnail, images)]), first[some], second[some])
        found = changed = 0
        for change in CHANGES.values():
            again = [change(image, random.Random(seed)) for seed, image in enumerate(images)]
            rows = np.arange(len(images))
            both = np.stack([thumbnail(each) for each in (*images, *again)])
            found += num_alike(both, rows, rows + len(images))
            changed += len(images)
        print(f"| {name} | {len(images)} | {len(some):,} | {num_false} | {changed} | {found / changed:.2f} |")


if __name__ == "__main__":
    main()
