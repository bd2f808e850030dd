"""Measures what decoding large JPEGs at reduced scale changes in answers, and the time that it saves.

    python -m benchmarks.reduced_decoding MODEL PHOTOS [--photos 300] [--longer-px 2400] [--seed 0]

Real large JPEGs of PHOTOS are cut at random (85 to 100 % of each side) and resized to LONGER_PX, so that each
gives several photos whose pixels lie differently in the blocks of the JPEG.
"""

from __future__ import annotations

import argparse
import io
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from headstart.images import preprocess as preprocessing
from headstart.images.decode import decode
from headstart.images.find import walk
from headstart.inference.predictor import load

GAPS = (1, 2, 3)
LEAST_PX = 1500  # longer sides of the photos that are used


def photos_of(folder: Path, longer_px: int, seed: int) -> Iterator[bytes]:
    """Yield JPEGs of this size without end."""
    files = []
    for entry in walk(folder, into_hidden=False):
        if entry.kind == "image":
            with Image.open(entry.path) as image:
                if image.format == "JPEG" and max(image.size) >= LEAST_PX:
                    files.append(entry.path)
    if not files:
        raise SystemExit(f"No JPEG in {folder} has a side of at least {LEAST_PX} px.")
    print(f"{len(files)} large JPEGs")
    generator = np.random.Generator(np.random.Philox(seed))
    for path in itertools.cycle(files):
        whole = decode(Path(path).read_bytes(), path=path)
        shares = generator.uniform(0.85, 1, 2)
        width, height = (round(side * share) for side, share in zip(whole.size, shares, strict=True))
        left = int(generator.integers(0, whole.width - width, endpoint=True))
        top = int(generator.integers(0, whole.height - height, endpoint=True))
        part = whole.crop((left, top, left + width, top + height))
        factor = longer_px / max(part.size)
        file = io.BytesIO()
        size = (round(factor * width), round(factor * height))
        part.resize(size, Image.Resampling.LANCZOS).save(file, "JPEG", quality=90)
        yield file.getvalue()


def main() -> None:
    """Print the share of changed answers for each gap."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="a run folder, or its model.onnx")
    parser.add_argument("folder", type=Path, metavar="PHOTOS")
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--longer-px", type=int, default=2400)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    predictor = load(arguments.model)
    settings = predictor.info.preprocessing
    shares: dict[int, list[np.ndarray]] = {gap: [] for gap in (0, *GAPS)}
    levels: dict[int, list[float]] = {gap: [] for gap in GAPS}
    seconds: dict[int, list[float]] = {gap: [] for gap in (0, *GAPS)}
    photos = photos_of(arguments.folder, arguments.longer_px, arguments.seed)
    for content in itertools.islice(photos, arguments.photos):
        pixels = {}
        for gap in (0, *GAPS):
            start = time.thread_time()
            if gap:
                preprocessing._REDUCING_GAP = gap  # type: ignore[misc]
                pixels[gap] = preprocessing.load_pixels(content, settings, path="photo")
                levels[gap].append(float(np.abs(pixels[gap] - pixels[0].astype(int)).mean()))
            else:
                pixels[gap] = preprocessing.preprocess(decode(content, path="photo"), settings)
            seconds[gap].append(time.thread_time() - start)
        found = predictor._session.run(["probabilities"], {"images": np.stack(list(pixels.values()))})[0]
        for gap, row in zip(pixels, found, strict=True):
            shares[gap].append(row)
    full = np.stack(shares[0])
    print(f"{len(full)} photos of {arguments.longer_px} px, network {settings.size_px} px")
    print("| gap | answers changed | largest difference | mean | grey levels, mean | ms of the processor |")
    print("|---|---|---|---|---|---|")
    print(f"| full | – | – | – | – | {1000 * np.median(seconds[0]):.0f} |")
    for gap in GAPS:
        rows = np.stack(shares[gap])
        changed = int((rows.argmax(1) != full.argmax(1)).sum())
        differences = np.abs(rows - full).max(1)
        print(
            f"| {gap} | {changed} of {len(full)} ({changed / len(full):.2%}) | {differences.max():.3f} | "
            f"{differences.mean():.4f} | {np.mean(levels[gap]):.2f} | {1000 * np.median(seconds[gap]):.0f} |"
        )


if __name__ == "__main__":
    main()
