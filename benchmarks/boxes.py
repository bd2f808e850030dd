"""One box per photo: the mean box, the notes' head, and Headstart's default, over folds.

    python -m benchmarks.boxes DATA [--backbone mobilenet_v2] [--folds 5] [--draw FOLDER]

DATA holds Pascal VOC annotations; photos with several objects are left out. Each photo is scored once, by a
model that was trained without it; validation photos for the choice of the best weights come from the training
photos of the fold. Printed are the mean IoU and the share of IoU of at least 0.5, over all photos.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import datetime
import os
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import headstart as hs
from headstart.data.sources.source import read_source
from headstart.images.boxes import iou
from headstart.images.decode import image_size
from headstart.inference.drawings import draw_each
from headstart.records import Candidate

HEADS: dict[str, dict[str, Any]] = {
    "the notes' head": {"head": "linear"},
    "default": {},
}


def main() -> None:
    """Train and score every fold and head."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=list(HEADS))
    parser.add_argument("--draw", type=Path, help="a new folder for the last fold's photos with their boxes")
    told = parser.parse_args()
    listing = read_source(told.data, boxes="skip")
    photos = list(listing.candidates)
    fold_of = np.random.default_rng(told.seed).permutation(len(photos)) % told.folds
    print(f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores")
    print(f"python -m benchmarks.boxes DATA --backbone {told.backbone} --folds {told.folds}")
    print(f"{len(photos)} photos\n\n{'':18} {'mean IoU':>9} {'IoU >= 0.5':>11}")
    show("the mean box", mean_boxes(photos, fold_of, told.folds), photos)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("HEADSTART_CACHE", folder)
        for name in told.only:
            boxes = np.zeros((len(photos), 4))
            for fold in range(told.folds):
                table = Path(folder) / f"{fold}.csv"
                write_table(table, photos, fold_of == fold)
                with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
                    run = hs.train(
                        table,
                        Path(folder) / f"{name}-{fold}",
                        backbone=told.backbone,
                        seed=told.seed,
                        **HEADS[name],
                    )
                held_out = np.flatnonzero(fold_of == fold)
                model = hs.load(run.path)
                predictions = model.predict_iter(photos[i].path for i in held_out)
                if told.draw and name == told.only[-1] and fold == told.folds - 1:
                    predictions = draw_each(predictions, model.info, told.draw)
                boxes[held_out] = [prediction.box for prediction in predictions]
            show(name, boxes, photos)


def mean_boxes(photos: Sequence[Candidate], fold_of: np.ndarray, folds: int) -> np.ndarray:
    """Return, for each photo, the mean box (in shares of the sides) of the photos outside its fold."""
    sizes = np.array([np.tile(image_size(photo.photo), 2) for photo in photos])
    shares = np.array([photo.box for photo in photos]) / sizes
    means = np.array([shares[fold_of != fold].mean(0) for fold in range(folds)])
    boxes: np.ndarray = means[fold_of] * sizes
    return boxes


def write_table(path: Path, photos: Sequence[Candidate], held_out: np.ndarray) -> None:
    """Write the photos that are not held out; Headstart makes the validation split of them."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "xmin", "ymin", "xmax", "ymax"])
        for photo, out in zip(photos, held_out, strict=True):
            if not out:
                writer.writerow([Path(photo.path).absolute(), *(photo.box or ())])


def show(name: str, boxes: np.ndarray, photos: Sequence[Candidate]) -> None:
    """Print one line of scores."""
    overlaps = iou(np.array([photo.box for photo in photos]), boxes)
    print(f"{name:18} {overlaps.mean():9.3f} {(overlaps >= 0.5).mean():11.3f}", flush=True)


if __name__ == "__main__":
    main()
