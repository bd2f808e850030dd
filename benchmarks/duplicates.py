"""How many changed photos are found again, which validation photos leak, and the time of the search.

python -m benchmarks.duplicates ../shared/data/distinct
python -m benchmarks.duplicates ../shared/data/distinct --leaks weather --sheet leaks.png
python -m benchmarks.duplicates ../shared/data/distinct --times weather caltech --num 10000
"""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

import headstart as hs
from headstart.findings.near import Pair, by_thumbnails, groups_of, near_duplicates
from headstart.frozen.cache import Room
from headstart.frozen.photos import PhotoFacts, photo_facts
from headstart.images.photo import Photo

NUM_CHANGED = 60
SHEET_PX, SHEET_COLUMNS = 160, 4  # size of a photo, and pairs beside each other


def cropped(fraction: float) -> Callable[[Image.Image, random.Random], Image.Image]:
    """Cut off a fraction of width and height, at a random place."""

    def crop(image: Image.Image, rng: random.Random) -> Image.Image:
        width, height = (round(side * (1 - fraction)) for side in image.size)
        left, top = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
        return image.crop((left, top, left + width, top + height))

    return crop


def turned(degrees: float, colour: str) -> Callable[[Image.Image, random.Random], Image.Image]:
    """Turn a photo; its corners have one colour."""
    return lambda image, _: image.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=colour)


def without_edges(image: Image.Image, fraction: float) -> Image.Image:
    """Cut off a fraction of the width on the left and on the right, and of the height on top and bottom."""
    x, y = round(image.width * fraction), round(image.height * fraction)
    return image.crop((x, y, image.width - x, image.height - y))


CHANGES: dict[str, Callable[[Image.Image, random.Random], Image.Image]] = {
    "half size": lambda image, _: image.resize((image.width // 2, image.height // 2)),
    "JPEG quality 30": lambda image, _: image,
    "crop of 5 %": cropped(0.05),
    "crop of 10 %": cropped(0.1),
    "crop of 20 %": cropped(0.2),
    "brightness × 1.3": lambda image, _: ImageEnhance.Brightness(image).enhance(1.3),
    "contrast × 0.7": lambda image, _: ImageEnhance.Contrast(image).enhance(0.7),
    "grey": lambda image, _: image.convert("L"),
    "mirrored": lambda image, _: ImageOps.mirror(image),
    "squashed to a square": lambda image, _: image.resize((min(image.size), min(image.size))),
    "white border of 5 %": lambda image, _: ImageOps.expand(image, round(max(image.size) / 20), "white"),
    "turned by 5°, black corners": turned(5, "black"),
    "turned by −5°, white corners": turned(-5, "white"),
    "turned by 10°, black corners": turned(10, "black"),
    "turned by 5°, 10 % off each side": lambda image, rng: without_edges(turned(5, "black")(image, rng), 0.1),
    "20 % off each side": lambda image, _: without_edges(image, 0.2),
    "mirrored, crop of 10 %": lambda image, rng: cropped(0.1)(ImageOps.mirror(image), rng),
}


class Photos(NamedTuple):
    """Photos of a data set: their columns of ``hs.features``, and their facts, in the same order."""

    columns: dict[str, np.ndarray]
    facts: list[PhotoFacts]

    @property
    def vectors(self) -> np.ndarray:
        """(N, D) features."""
        return self.columns["vector"]

    @property
    def thumbnails(self) -> np.ndarray:
        """(N, 96, 96) uint8."""
        return np.stack([each.thumbnail for each in self.facts])


def photos_of(data: Path) -> Photos:
    """Read the photos of a folder or table; of identical ones, the first alone."""
    columns = hs.features(data, verbose=False).columns
    photos = [Photo(str(path)) for path in columns["path"]]
    facts = [
        each
        for each in photo_facts([(photo, photo.sha256()) for photo in photos], Room(print))
        if isinstance(each, PhotoFacts)
    ]
    assert len(facts) == len(photos), "hs.features returns only photos that can be decoded"
    firsts = np.sort(np.unique([each.sha256 for each in facts], return_index=True)[1])
    return Photos({name: values[firsts] for name, values in columns.items()}, [facts[row] for row in firsts])


def change(files: Sequence[Path], folder: Path) -> None:
    """Write each photo as it is after each change, ``folder/CHANGE/NAME.jpg``."""
    for seed, file in enumerate(files):
        with Image.open(file) as opened:
            image = opened.convert("RGB")
        for name, function in CHANGES.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            changed = function(image, random.Random(seed))
            changed.save(folder / name / f"{file.stem}.jpg", quality=30 if "JPEG" in name else 90)


def print_recall(data: Path) -> None:
    """Print how many changed photos are found beside all photos of a folder, by change and together."""
    photos = photos_of(data)
    paths = [Path(str(path)) for path in photos.columns["path"]]
    num = len(paths)
    row_of = {path.stem: row for row, path in enumerate(paths)}
    with tempfile.TemporaryDirectory() as folder:
        change(paths[:: max(num // NUM_CHANGED, 1)][:NUM_CHANGED], Path(folder))
        changed = photos_of(Path(folder))
    files = [Path(str(path)) for path in changed.columns["path"]]
    original = np.array([row_of[file.stem] for file in files])
    kinds = np.array([file.parent.name for file in files])
    vectors, thumbnails = changed.vectors, changed.thumbnails
    print(f"Of {num:,} photos, {len(set(original))} were changed.\n")
    print("| change | recall | false pairs | CPU seconds |\n|---|---|---|---|", flush=True)
    for name in [*CHANGES, "all together"]:
        here = np.flatnonzero((kinds == name) | (name == "all together"))
        begun = time.process_time()
        pairs = near_duplicates(
            np.concatenate([photos.vectors, vectors[here]]),
            by_thumbnails(np.concatenate([photos.thumbnails, thumbnails[here]])),
        )
        seconds = time.process_time() - begun
        source = np.concatenate([np.arange(num), original[here]])
        found = groups_of(pairs, len(source))
        recall = (found[num:] == found[original[here]]).mean()
        false = sum(int(source[pair.first] != source[pair.second]) for pair in pairs)
        print(f"| {name} | {recall:.3f} | {false} | {seconds:.1f} |", flush=True)


def print_leaks(data: Path, sheet: Path) -> None:
    """List the validation photos with a near-duplicate in train, and draw them beside it."""
    photos = photos_of(data)
    paths = photos.columns["path"]
    is_val = photos.columns["split"] == "val"
    pairs = near_duplicates(photos.vectors, by_thumbnails(photos.thumbnails))
    groups = groups_of(pairs, len(paths))
    leaking = np.flatnonzero(is_val & np.isin(groups, groups[~is_val]))
    across = [pair for pair in pairs if is_val[pair.first] != is_val[pair.second]]
    print(
        f"{len(leaking)} of {is_val.sum()} validation photos, not counting exact copies; {len(pairs)} pairs:"
    )
    for row in leaking:
        own = [pair for pair in across if row in pair[:2]]
        others = ", ".join(str(paths[sum(pair[:2]) - row]) for pair in own) or "by way of another photo"
        print(f"{paths[row]}: {others}")
    draw(across, paths, sheet)


def draw(pairs: Sequence[Pair], paths: np.ndarray, file: Path) -> None:
    """Draw pairs of photos, the least similar first."""
    size = SHEET_COLUMNS * (2 * SHEET_PX + 20), -(-len(pairs) // SHEET_COLUMNS) * (SHEET_PX + 20)
    sheet = Image.new("RGB", size, "white")
    for place, pair in enumerate(sorted(pairs, key=lambda pair: pair.similarity)):
        y, x = divmod(place, SHEET_COLUMNS)
        left, top = x * (2 * SHEET_PX + 20), y * (SHEET_PX + 20)
        ImageDraw.Draw(sheet).text((left, top), f"{place + 1}: {pair.similarity:.2f}", fill="black")
        for side, row in enumerate(pair[:2]):
            with Image.open(str(paths[row])) as opened:
                photo = opened.convert("RGB")
            photo.thumbnail((SHEET_PX, SHEET_PX))
            sheet.paste(photo, (left + side * SHEET_PX, top + 14))
    sheet.save(file)


def print_times(folders: Sequence[Path], num: int) -> None:
    """Print the time of the search for many photos, which have the neighbours that those of a data set have.

    The photos are repeated, each time with the features in another order: so the neighbours are found among
    photos of the same repetition. For a burst, noise is added to photos that are repeated as they are.
    """
    print("| photos | number | pairs | fewer groups than photos | seconds | CPU seconds | peak memory, MB |")
    print("|" + "---|" * 7, flush=True)
    for data in folders:
        photos = photos_of(data)
        repeats = -(-num // len(photos.facts))
        rng = np.random.default_rng(0)
        thumbnails = np.tile(photos.thumbnails, (repeats, 1, 1))[:num]
        shuffled = [photos.vectors[:, rng.permutation(photos.vectors.shape[1])] for _ in range(repeats)]
        print_time(data.name, np.concatenate(shuffled)[:num], thumbnails)
        noisy = np.tile(photos.vectors, (repeats, 1))[:num]
        noisy += rng.normal(0, 0.1 * noisy.std(), noisy.shape).astype(np.float32)
        for part in np.array_split(thumbnails, 20):
            part[:] = np.clip(part + rng.normal(0, 3, part.shape), 0, 255)
        print_time(f"{data.name}, bursts of {repeats}", noisy, thumbnails)


def print_time(name: str, vectors: np.ndarray, thumbnails: np.ndarray) -> None:
    """Print one row of the table of times."""
    begun = time.perf_counter(), time.process_time()
    pairs = near_duplicates(vectors, by_thumbnails(thumbnails))
    wall, cpu = time.perf_counter() - begun[0], time.process_time() - begun[1]
    fewer = len(vectors) - len(np.unique(groups_of(pairs, len(vectors))))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(
        f"| {name} | {len(vectors):,} | {len(pairs):,} | {fewer:,} | {wall:.0f} | {cpu:.0f} | {peak:.0f} |",
        flush=True,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="photos of different things, in one folder")
    parser.add_argument("--leaks", type=Path, help="instead: a data set with a validation split")
    parser.add_argument("--sheet", type=Path, default=Path("leaks.png"), help="picture of the leaking pairs")
    parser.add_argument("--times", type=Path, nargs="+", help="instead: data sets whose photos are repeated")
    parser.add_argument("--num", type=int, default=10_000, help="number of photos of --times")
    told = parser.parse_args(arguments)
    if told.leaks:
        print_leaks(told.leaks, told.sheet)
    elif told.times:
        print_times(told.times, told.num)
    else:
        print_recall(told.folder)


if __name__ == "__main__":
    main()
