"""How good models are that were trained on few photos of each class; all other photos score them.

python -m benchmarks.few_photos ../shared/data/caltech --recipes probe finetune
python -m benchmarks.few_photos ../shared/data/caltech --counts 1 5 --penalties 10 1 0.1 0.01
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import headstart as hs
from headstart.probe import solve


def write_table(paths: np.ndarray, labels: np.ndarray, count: int, draw: int, file: Path) -> None:
    """Write a table whose training photos are ``count`` random photos of each class."""
    order = np.random.default_rng(draw).permutation(len(labels))
    position = np.empty(len(labels), int)  # of each photo within its class, in this order
    for name in np.unique(labels):
        of_class = order[labels[order] == name]
        position[of_class] = np.arange(len(of_class))
    with open(file, "w", encoding="utf-8", newline="") as opened:
        splits = np.where(position < count, "train", "val")
        csv.writer(opened).writerows([("image", "label", "split"), *zip(paths, labels, splits, strict=True)])


def settings_of(told: argparse.Namespace) -> Iterator[tuple[str, dict[str, str], float | None]]:
    """Yield the ways to train: name, settings and a fixed penalty."""
    for penalty in told.penalties:
        yield f"linear, penalty {penalty:g}", {"recipe": "probe", "head": "linear"}, penalty
    for recipe in () if told.penalties else told.recipes:
        for head in ("linear", "stages", "auto") if recipe == "probe" else ("auto",):
            yield f"{recipe}, {head}", {"recipe": recipe, "head": head}, None


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table of means over the draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="a folder of classes")
    parser.add_argument("--counts", nargs="*", type=int, default=[1, 5, 10, 25], help="photos of each class")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--recipes", nargs="*", default=["probe"])
    parser.add_argument("--penalties", nargs="*", type=float, default=[], help="instead of cross-validation")
    told = parser.parse_args(arguments)
    found = hs.features(told.data, verbose=False)
    paths, labels = found.columns["path"], found.columns["label"]
    strengths = solve.STRENGTHS
    print("| photos of each class | trained by | accuracy by draw | mean | log loss | reads stages |")
    print("|" + "---|" * 6, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for count in told.counts:
            for name, settings, penalty in settings_of(told):
                scores, stages = [], []
                for draw in range(told.draws):
                    table = Path(folder, f"{count}-{draw}.csv")
                    write_table(paths, labels, count, draw, table)
                    solve.STRENGTHS = strengths if penalty is None else (penalty,)  # type: ignore[misc]
                    run = Path(folder, f"{count}-{draw}-{name}")
                    metrics = hs.train(table, run, verbose=False, **settings).metrics  # type: ignore[arg-type]
                    scores.append((metrics["best"]["val_accuracy"], metrics["best"]["val_loss"]))
                    stages.append(str(len(metrics["head"].get("stages", [])) + 1))
                accuracy, loss = np.mean(scores, 0)
                each = " ".join(f"{score:.3f}" for score, _ in scores)
                print(
                    f"| {count} | {name} | {each} | {accuracy:.4f} | {loss:.4f} | {' '.join(stages)} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
