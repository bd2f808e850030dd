"""Photos of none of the classes: false rejects of a model, and what it rejects of other photos.

    python -m benchmarks.unknown DATA FOLDER [FOLDER ...] [--seeds 8] [--recipe finetune] [--leave-out CLASS]

DATA is a folder of class folders; each FOLDER has photos of something else. Groups of near-duplicates are on
one side of every split. A last table leaves one class after the other out of training, and compares its
photos with test photos: the AUROC is the share of pairs in which the new class's photo is stranger.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import headstart as hs
from benchmarks.calibration import folds_of
from headstart.answers.intervals import wilson


def train(
    photos: dict[str, np.ndarray], is_used: np.ndarray, folder: Path, recipe: str, **settings: Any
) -> hs.TrainResult:
    """Train on some of the photos."""
    with open(folder / "table.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("image", "label", "group"))
        table.writerows(zip(*(photos[name][is_used] for name in ("image", "label", "group")), strict=True))
    settings |= {"recipe": recipe, "group_by": "group", "verbose": False}
    return hs.train(folder / "table.csv", folder / "run", **settings)


def scores_of(run: hs.TrainResult, paths: Sequence[str]) -> np.ndarray:
    """Return the scores of readable photos."""
    found = [each.unknown_score for each in run.predictor.predict_iter(paths)]
    return np.array([score for score in found if score is not None])


def auroc(known: np.ndarray, foreign: np.ndarray) -> float:
    """Return the share of pairs in which the foreign photo has the higher score; half for equal scores."""
    differences = foreign[:, None] - known
    return float((differences > 0).mean() + (differences == 0).mean() / 2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the runs and print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("foreign", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--recipe", default="probe")
    parser.add_argument("--leave-out", nargs="*", metavar="CLASS", help="classes of the last table [all]")
    told = parser.parse_args(arguments)
    photos = folds_of(told.data)
    foreign = {folder.name: sorted(map(str, folder.iterdir())) for folder in told.foreign}
    print(f"| split | false rejects | {' | '.join(f'{name} rejected' for name in foreign)} |")
    print("|---|" + "---|" * (1 + len(foreign)), flush=True)
    num_rejected = num_photos = 0
    for seed in range(told.seeds):
        with tempfile.TemporaryDirectory() as folder:
            run = train(photos, np.ones(len(photos["image"]), bool), Path(folder), told.recipe, seed=seed)
            num, found = run.metrics["images"]["val"], run.metrics["unknown"]
            shares = [np.mean(scores_of(run, paths) > found["threshold"]) for paths in foreign.values()]
        num_rejected, num_photos = num_rejected + round(found["val_rejected"] * num), num_photos + num
        cells = [f"{found['val_rejected']:.3f} of {num}", *(f"{share:.3f}" for share in shares)]
        print(f"| {seed} | {' | '.join(cells)} |", flush=True)
    if told.seeds:
        low, high = wilson(num_rejected, num_photos)
        print(f"\nFalse rejects, pooled: {num_rejected / num_photos:.4f} ({low:.4f} to {high:.4f})")
    print("\n| left out | AUROC | rejected |\n|---|---|---|", flush=True)
    for name in np.unique(photos["label"]) if told.leave_out is None else told.leave_out:
        with tempfile.TemporaryDirectory() as folder:
            run = train(photos, photos["label"] != name, Path(folder), told.recipe, test=0.2)
            known = scores_of(run, list(run.answers.of_source("test").path))
            new = scores_of(run, photos["image"][photos["label"] == name].tolist())
            threshold = run.metrics["unknown"]["threshold"]
        print(f"| {name} | {auroc(known, new):.3f} | {np.mean(new > threshold):.3f} |", flush=True)


if __name__ == "__main__":
    main()
