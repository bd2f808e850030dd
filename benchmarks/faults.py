"""Which photos of data sets are reported as faulty, and how many faulty ones are found that are planted.

python -m benchmarks.faults weather caltech tiles --sheet faults.png
"""

from __future__ import annotations

import argparse
import hashlib
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from benchmarks.duplicates import photos_of
from headstart.findings.faults import faulty_photos
from headstart.findings.near import by_thumbnails, groups_of, near_duplicates
from headstart.frozen.photos import FACTS_PX, PhotoFacts, facts_of
from headstart.images.decode import decode_photo

NUM_BLURRED, NUM_PLACEHOLDERS = 20, 20
RADII = (4, 6, 8, 12)  # in pixels of the photo
SHEET_PX, SHEET_COLUMNS = 140, 8


def facts_of_image(image: Image.Image) -> PhotoFacts:
    """Return the facts of an image as a JPEG file."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    data = file.getvalue()
    photo = decode_photo(data, path="planted", reduce_to_px=FACTS_PX)
    return facts_of(photo, data, hashlib.sha256(data).hexdigest(), path="planted")


def planted(paths: np.ndarray) -> Iterator[tuple[str, str, Image.Image]]:
    """Yield faulty photos, made from photos of a data set: what they are, the fault's kind, and the image."""
    rng = np.random.default_rng(0)
    for kind, level in (("black", 0), ("white", 255), ("one colour", 128)):
        yield kind, kind, Image.new("RGB", (300, 200), (level, level, level))
        noise = np.clip(level + rng.normal(0, 3, (200, 300, 3)), 0, 255)
        yield f"{kind}, with noise", kind, Image.fromarray(noise.astype(np.uint8))
    chosen = rng.choice(paths, NUM_BLURRED + 2, replace=False)
    for place, path in enumerate(chosen):
        with Image.open(str(path)) as opened:
            image = opened.convert("RGB")
        if place < NUM_BLURRED:
            radius = RADII[place % len(RADII)]
            size = "up to 800 px" if max(image.size) <= 800 else "larger"
            yield (
                f"blurred, radius {radius}, {size}",
                "blurred",
                image.filter(ImageFilter.GaussianBlur(radius)),
            )
        elif place == NUM_BLURRED:
            yield "10 px", "tiny", image.resize((10, 10))
        else:
            yield "banner, 20 : 1", "odd shape", image.resize((1200, 60))
    placeholder = Image.new("RGB", (200, 150), (230, 230, 230))
    ImageDraw.Draw(placeholder).text((40, 60), "image not available", fill="black")
    for _ in range(NUM_PLACEHOLDERS):
        yield "placeholder", "placeholder", placeholder


def main(arguments: Sequence[str] | None = None) -> None:
    """Print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="faults are planted into the first")
    parser.add_argument("--sheet", type=Path, default=Path("faults.png"), help="picture of what is reported")
    told = parser.parse_args(arguments)
    reported = []
    print("| data | photos | reported |\n|---|---|---|", flush=True)
    for data in told.data:
        photos = photos_of(data)
        labels = photos.columns.get("label")
        groups = groups_of(
            near_duplicates(photos.vectors, by_thumbnails(photos.thumbnails)), len(photos.facts)
        )
        faults = faulty_photos(photos.facts, None if labels is None else labels.tolist(), groups)
        counts = Counter(fault.kind for fault in faults)
        print(f"| {data.name} | {len(photos.facts):,} | {dict(counts) or 'none'} |", flush=True)
        reported += [(str(photos.columns["path"][fault.row]), fault.kind) for fault in faults]
    draw(reported, told.sheet)
    print_planted(told.data[0])


def print_planted(data: Path) -> None:
    """Print which planted photos are found, with the expected kind."""
    photos = photos_of(data)
    labels = photos.columns["label"].tolist()
    cases = list(planted(photos.columns["path"]))
    # Placeholders stand under the labels of photos that are missing.
    labels += [labels[row] for row in np.random.default_rng(1).integers(0, len(labels), len(cases))]
    num = len(photos.facts)
    faults = faulty_photos([*photos.facts, *(facts_of_image(image) for _, _, image in cases)], labels)
    found = {(fault.row - num, fault.kind) for fault in faults}
    total, right = Counter[str](), Counter[str]()
    for place, (name, kind, _) in enumerate(cases):
        total[name] += 1
        right[name] += (place, kind) in found
    print("\n| planted | photos | found |\n|---|---|---|")
    for name in sorted(total):
        print(f"| {name} | {total[name]} | {right[name]} |")
    print(f"\nOf the other photos, {sum(fault.row < num for fault in faults)} are reported.")


def draw(photos: Sequence[tuple[str, str]], file: Path) -> None:
    """Draw photos with their faults."""
    height = max(-(-len(photos) // SHEET_COLUMNS), 1) * (SHEET_PX + 20)
    sheet = Image.new("RGB", (SHEET_COLUMNS * (SHEET_PX + 10), height), "white")
    for place, (path, kind) in enumerate(photos):
        y, x = divmod(place, SHEET_COLUMNS)
        with Image.open(path) as opened:
            photo = opened.convert("RGB")
        photo.thumbnail((SHEET_PX, SHEET_PX))
        sheet.paste(photo, (x * (SHEET_PX + 10), y * (SHEET_PX + 20) + 14))
        ImageDraw.Draw(sheet).text((x * (SHEET_PX + 10), y * (SHEET_PX + 20)), kind, fill="black")
    sheet.save(file)


if __name__ == "__main__":
    main()
