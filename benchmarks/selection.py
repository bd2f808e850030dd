"""What the score by which the best weights are chosen is worth.

Of each data set, one fifth of the photos chooses the weights, one fifth scores them, and near-duplicates are
kept together. All selections choose among the epochs of the same training. ::

    python -m benchmarks.selection ../shared/data --only weather tiles --backbones default mobilenet_v2
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import headstart as hs
from benchmarks.folds import units_of
from headstart.answers.file import read_answers
from headstart.probe.folds import deal_folds
from headstart.tasks.calibration import calibrated_loss

SELECTIONS = ("val_loss", "val_calibrated_loss", "val_accuracy")


def write_table(data: Path, file: Path) -> None:
    """Write a table with three fifths of the photos to train, one to validate and one to test."""
    table = data / "table.csv"
    found = hs.features(table if table.exists() else data, verbose=False)
    columns = {name: values for name, values in found.columns.items() if len(values) == found.num_rows}
    labels = np.unique(columns["label"], return_inverse=True)[1]
    folds = deal_folds(labels, units_of({name: columns[name] for name in columns if name != "split"}))
    splits = np.where(folds == 0, "val", np.where(folds == 1, "test", "train"))
    with open(file, "w", encoding="utf-8", newline="") as opened:
        rows = zip(columns["path"], columns["label"], splits, strict=True)
        csv.writer(opened).writerows([("image", "label", "split"), *rows])


def chosen(run: Path, select: str) -> int:
    """Return the epoch, counted over all phases, that a selection chooses."""
    with open(run / "history.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    sign = -1 if select == "val_accuracy" else 1
    keys = [(sign * float(row[select]), float(row["val_loss"]), i) for i, row in enumerate(rows)]
    return min(keys)[-1]


def scores(run: Path) -> str:
    """Return accuracy, loss and loss after the best temperature on the test photos."""
    answers = read_answers(run / "answers.csv").of_source("test")
    names = [name.removeprefix("logit:") for name in answers.output_names]
    labels = np.array([names.index(label) for label in answers.label])
    accuracy, loss = (answers.outputs.argmax(1) == labels).mean(), answers.loss.mean(dtype=float)
    return f"{accuracy:.4f} | {loss:.4f} | {calibrated_loss(answers.outputs, labels):.4f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="the folder of data sets")
    parser.add_argument("--only", nargs="*", help="names of data sets [all]")
    parser.add_argument("--backbones", nargs="*", default=["default", "mobilenet_v2"])
    parser.add_argument("--seeds", nargs="*", default=["0"])
    told = parser.parse_args(arguments)
    print("| data | backbone | seed | select | epoch | accuracy | loss | calibrated loss |")
    print("|" + "---|" * 8, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for data in sorted(path for path in told.data.absolute().iterdir() if path.is_dir()):
            if told.only and data.name not in told.only:
                continue
            table = Path(folder, f"{data.name}.csv")
            write_table(data, table)
            for backbone in told.backbones:
                for seed in told.seeds:
                    compare(table, Path(folder), data.name, backbone, seed)


def compare(table: Path, folder: Path, name: str, backbone: str, seed: str) -> None:
    """Train once for each epoch that is chosen, and print a row for each selection."""
    runs: dict[int, Path] = {}
    for select in SELECTIONS:
        first = next(iter(runs.values()), None)
        epoch = -1 if first is None else chosen(first, select)
        if epoch not in runs:
            run = folder / f"{name}-{backbone}-{seed}-{select}"
            command = [sys.executable, "-m", "headstart", "train", str(table), "--out", str(run)]
            command += ["--recipe", "finetune", "--seed", seed, "--select", select]
            command += [] if backbone == "default" else ["--backbone", backbone]
            subprocess.run(command, check=True, capture_output=True)
            epoch = chosen(run, select)
            runs[epoch] = run
        print(f"| {name} | {backbone} | {seed} | {select} | {epoch} | {scores(runs[epoch])} |", flush=True)


if __name__ == "__main__":
    main()
