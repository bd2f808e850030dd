"""Whether the order of backbones by ``headstart recommend`` is that of full runs.

    python -m benchmarks.defaults FOLDER --out runs.csv --recipes probe --seeds 0 --backbones default NAME ...
    python -m benchmarks.recommend FOLDER --runs runs.csv

Both commands are given the same folder of data sets. For each data set that ``runs.csv`` contains, the order
of backbones by ``hs.recommend`` (by loss) is compared with the order by the loss of validation photos in full
runs. Pairs in another order are listed with the paired interval of the runs' difference. With ``--together``,
near-duplicates are groups for ``hs.recommend``, as they are for the folds of ``runs.csv``.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import time
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

import headstart as hs
from benchmarks.defaults import by_default, photos_of
from benchmarks.folds import units_of
from headstart.answers.intervals import of_mean
from headstart.config import TrainConfig


def kendalls_tau(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the fraction of pairs in the same order minus that of pairs in the other order."""
    pairs = list(combinations(range(len(one)), 2))
    signs = [np.sign(one[a] - one[b]) * np.sign(other[a] - other[b]) for a, b in pairs]
    return float(np.mean(signs))


def losses_of_runs(out: Path, name: str) -> dict[str, np.ndarray]:
    """Return the loss of each photo that the probes of all backbones have scored, by backbone."""
    found = {
        backbone: photos_of(out, rows)
        for (data, backbone, recipe), rows in by_default(out).items()
        if (data, recipe) == (name, "probe")
    }
    shared = sorted(set.intersection(*map(set, found.values()))) if found else []
    return {backbone: np.array([photos[key][1] for key in shared]) for backbone, photos in found.items()}


def table_with_groups(data: Path, folder: str) -> Path:
    """Write a table of the photos in which near-duplicates, identical photos and groups are groups."""
    columns = dict(hs.features(data, verbose=False).columns)
    path = Path(folder, "table.csv")
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerow(["image", "label", "split", "group"])
        rows = zip(columns["path"], columns["label"], units_of(columns), strict=True)
        csv.writer(file).writerows((photo, label, "train", unit) for photo, label, unit in rows)
    return path


def compare(data: Path, runs: Path, *, together: bool) -> None:
    """Print both orders of a data set, and Kendall's tau."""
    losses = losses_of_runs(runs, data.name)
    if len(losses) < 2:
        return
    table = data / "table.csv"
    names = {TrainConfig.backbone if name == "default" else name: name for name in losses}
    source = table if table.exists() else data
    with tempfile.TemporaryDirectory() as folder:
        source = table_with_groups(source, folder) if together else source
        begun = time.perf_counter()
        found = hs.recommend(source, backbones=list(names), verbose=False)
        seconds = time.perf_counter() - begun
    predicted = {names[row.backbone]: row for row in found}
    print(f"\n{data.name}: {found.num_photos} photos compared in {seconds:.1f} s, {found.advice}\n")
    print("| backbone | accuracy | loss | loss of full runs |\n|---|---|---|---|")
    for name, row in predicted.items():
        print(f"| {row.backbone} | {row.score:.3f} | {row.loss:.3f} | {losses[name].mean():.3f} |")
    of_runs = [float(losses[name].mean()) for name in predicted]
    tau = kendalls_tau([row.loss for row in predicted.values()], of_runs)
    print(f"\nKendall's tau over {len(of_runs) * (len(of_runs) - 1) // 2} pairs: {tau:.2f}")
    for first, second in combinations(predicted, 2):
        difference = losses[second] - losses[first]
        if difference.mean() < 0:
            low, high = of_mean(difference)
            print(
                f"- full runs prefer {second} to {first}: {difference.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
            )


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare all data sets of a folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="the folder of data sets")
    parser.add_argument("--runs", type=Path, required=True, help="the CSV of benchmarks.defaults")
    parser.add_argument("--together", action="store_true", help="near-duplicates are groups")
    told = parser.parse_args(arguments)
    for data in sorted(path for path in told.data.iterdir() if path.is_dir()):
        compare(data, told.runs, together=told.together)


if __name__ == "__main__":
    main()
