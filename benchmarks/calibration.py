"""Log loss and calibration error of finished models with and without their temperatures, on test photos.

    python -m benchmarks.calibration FOLDER [--recipes probe finetune] [--only tiles] [--folds 0 1]
        [--backbones mobilenet_v2]

FOLDER holds data sets: folders of class folders, or folders with a table.csv. One of five folds tests, the
next one validates, the others train, so test photos have no part in training, choosing or fitting. Groups of
near-duplicates are on one side of every split, and in one fold of the cross-validation.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import headstart as hs
from benchmarks.folds import units_of
from headstart.answers.intervals import over_units
from headstart.probe.folds import NUM_FOLDS, deal_folds
from headstart.tasks.calibration_error import calibration_error, error_by_chance
from headstart.tasks.losses import cross_entropy
from headstart.tasks.task import softmax

HEADER = (
    "data",
    "backbone",
    "recipe",
    "fold",
    "photos",
    "temperature",
    "log loss",
    "change (95 %)",
    "calibration error",
)


def folds_of(data: Path) -> dict[str, np.ndarray]:
    """Return the paths, labels, groups of near-duplicates and folds of a data set's photos."""
    table = data / "table.csv"
    columns = hs.features(table if table.exists() else data, verbose=False).columns
    groups = units_of(columns)
    folds = deal_folds(np.unique(columns["label"], return_inverse=True)[1], groups)
    return {"image": columns["path"], "label": columns["label"], "group": groups, "fold": folds}


def write_table(photos: dict[str, np.ndarray], fold: int, file: Path) -> None:
    """Write a table in which a fold tests and the next one validates."""
    sides = {fold: "test", (fold + 1) % NUM_FOLDS: "val"}
    with open(file, "w", encoding="utf-8", newline="") as opened:
        table = csv.writer(opened)
        table.writerow(("image", "label", "group", "split"))
        for *cells, of_photo in zip(*photos.values(), strict=True):
            table.writerow((*cells, sides.get(int(of_photo), "train")))


def measure(table: Path, recipe: str, backbone: str) -> tuple[str, np.ndarray, list[str], list[float]]:
    """Train, and compare the answers of the file for its test photos with those before calibration.

    Returns:
        The temperature and what it was fitted on; (2, N) log losses without and with it; the photos' groups;
        the calibration errors without and with it, and the one that true probabilities would show.
    """
    with tempfile.TemporaryDirectory() as folder:
        settings: Any = {"recipe": recipe, "group_by": "group"}
        settings |= {} if backbone == "default" else {"backbone": backbone}
        run = hs.train(table, Path(folder, "run"), verbose=False, **settings)
        answers, found = run.answers.of_source("test"), run.metrics["calibration"]
        (temperature,) = found["temperatures"]
    classes = [name.removeprefix("logit:") for name in answers.output_names]
    labels = np.array([classes.index(label) for label in answers.label])
    after = answers.outputs.astype(np.float64)
    losses = np.stack([cross_entropy(logits, labels) for logits in (after * temperature, after)])
    errors = []
    for logits in (after * temperature, after):
        shares = softmax(logits)
        errors.append(calibration_error(shares.max(1), shares.argmax(1) == labels))
    return (
        f"{temperature:.2f} ({found['fitted_on']})",
        losses,
        list(answers.group),
        [*errors, error_by_chance(softmax(after).max(1))],
    )


def line(
    names: Sequence[object], losses: np.ndarray, groups: Sequence[str], errors: Sequence[float] = ()
) -> str:
    """Return a row of the table; intervals are over groups of near-duplicates."""
    units = np.unique(groups, return_inverse=True)[1]
    (before, after), (low, high) = losses.mean(1), over_units(losses[1] - losses[0], units)
    cells = [f"{before:.4f} → {after:.4f}", f"{after - before:+.4f} ({low:+.4f} to {high:+.4f})"]
    cells += [f"{errors[0]:.3f} → {errors[1]:.3f} (chance {errors[2]:.3f})"] if errors else [""]
    return f"| {' | '.join([*map(str, names), *cells])} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the runs and print a Markdown table, with a last row for the photos of all runs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="the folder of data sets")
    parser.add_argument("--only", nargs="*", help="names of data sets [all]")
    parser.add_argument("--recipes", nargs="*", default=["probe"])
    parser.add_argument("--backbones", nargs="*", default=["default"])
    parser.add_argument("--folds", type=int, nargs="*", default=[0, 1])
    told = parser.parse_args(arguments)
    print(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}", flush=True)
    pooled, all_groups = [], []
    for data in sorted(path for path in told.data.absolute().iterdir() if path.is_dir()):
        if told.only and data.name not in told.only:
            continue
        photos = folds_of(data)
        for backbone, recipe, fold in itertools.product(told.backbones, told.recipes, told.folds):
            with tempfile.TemporaryDirectory() as folder:
                write_table(photos, fold, table := Path(folder, "table.csv"))
                temperature, losses, groups, errors = measure(table, recipe, backbone)
            pooled.append(losses)
            all_groups += [f"{data.name} {group}" for group in groups]
            names = (data.name, backbone, recipe, fold, losses.shape[1], temperature)
            print(line(names, losses, groups, errors), flush=True)
    whole = np.concatenate(pooled, axis=1)
    print(line(("all", "", "", "", whole.shape[1], ""), whole, all_groups))


if __name__ == "__main__":
    main()
