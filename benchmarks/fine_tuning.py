"""Settings of fine-tuning side by side, each judged on photos that had no part in choosing its weights.

    python -m benchmarks.fine_tuning FOLDER --out runs.csv [--only tiles] [--variants probe before now]
    python -m benchmarks.fine_tuning --out runs.csv --report

FOLDER holds data sets, as for ``benchmarks.defaults``, whose folds are used: near-duplicates are together.
One fold tests, the next one chooses the weights, and three train. ``--few N`` keeps N training and N / 3
validation photos of each class. Finished runs are rows of the CSV and are not repeated.
"""

from __future__ import annotations

import argparse
import csv
import math
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import headstart as hs
from benchmarks.defaults import read_rows, tables_of

KEYS = ("data", "few", "fold", "backbone", "variant")
FIELDS = (*KEYS, "accuracy", "loss", "phase", "epoch", "seconds")

PROBE = {"name": "probe", "optimizer": "exact", "unfreeze": "head", "epochs": 1}
FINE = {
    "name": "finetune",
    "unfreeze": 1,
    "optimizer": "adamw",
    "schedule": "one-cycle",
    "weight_decay": 0.01,
    "wise_ft": True,
}
VARIANTS: dict[str, dict[str, Any] | None] = {
    "probe": None,
    "before": {"head_lr": 2e-4, "steps": 100},
    "now": {"head_lr": 3e-4, "steps": 130, "ema": 0.98, "mirror": True},
    "not mirrored": {"head_lr": 3e-4, "steps": 130, "ema": 0.98},
    "mirrored photos": {
        "head_lr": 3e-4,
        "steps": 130,
        "ema": 0.98,
        "augment": [{"op": "horizontal-flip"}],
        "views": 2,
    },
    "1e-4": {"head_lr": 1e-4, "steps": 130, "ema": 0.98, "mirror": True},
}


def write_split(tables: Sequence[Path], fold: int, few: int, file: Path) -> int:
    """Write a table in which a fold tests and the next one validates.

    Returns:
        The number of training photos.
    """
    held_out = [{row["image"] for row in read_rows(table) if row["split"] == "val"} for table in tables]
    counts: Counter[tuple[str, str]] = Counter()
    most = {"train": few or math.inf, "val": few / 3 if few else math.inf, "test": math.inf}
    with open(file, "w", encoding="utf-8", newline="") as opened:
        table = csv.writer(opened)
        table.writerow(("image", "label", "split"))
        for row in read_rows(tables[0]):
            of = [row["image"] in each for each in held_out]
            split = "test" if of[fold] else "val" if of[(fold + 1) % len(of)] else "train"
            counts[row["label"], split] += 1
            if counts[row["label"], split] <= most[split]:
                table.writerow((row["image"], row["label"], split))
    return sum(row["split"] == "train" for row in read_rows(file))


def phases_of(variant: str, num_train: int, batch_size: int = 32) -> list[dict[str, Any]]:
    """Return the phases of a variant; its steps become epochs as in ``recipe.py``."""
    found = VARIANTS[variant]
    if found is None:
        return [PROBE]
    settings = dict(found)
    least = 3 if variant == "before" else 4
    epochs = round(settings.pop("steps") / math.ceil(num_train / batch_size))
    return [PROBE, {**FINE, **settings, "epochs": min(10, max(least, epochs))}]


def run_all(told: argparse.Namespace) -> None:
    """Make every run that the CSV does not have yet."""
    if not told.out.exists():
        told.out.write_text(",".join(FIELDS) + "\r\n")
    done = {tuple(row[key] for key in KEYS) for row in read_rows(told.out)}
    for data in sorted(path for path in told.data.absolute().iterdir() if path.is_dir()):
        if told.only and data.name not in told.only:
            continue
        tables = tables_of(data, told.out.with_suffix(".folds") / data.name, plain=False)
        for backbone in told.backbones:
            for variant in told.variants:
                for fold in told.folds:
                    names = (data.name, str(told.few), str(fold), backbone, variant)
                    if names not in done:
                        with open(told.out, "a", encoding="utf-8", newline="") as file:
                            csv.writer(file).writerow([*names, *train(tables, fold, told.few, *names[3:])])


def train(tables: Sequence[Path], fold: int, few: int, backbone: str, variant: str) -> Iterator[object]:
    """Train, and yield the scores on the test photos, what was chosen, and the seconds."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "table.csv")
        num_train = write_split(tables, fold, few, file)
        settings: Any = {} if backbone == "default" else {"backbone": backbone}
        phases = phases_of(variant, num_train)
        run = hs.train(file, Path(folder, "run"), phases=phases, verbose=False, **settings)
    yield from (round(run.metrics["test"][name], 4) for name in ("accuracy", "loss"))
    yield from (run.metrics["best"][name] for name in ("phase", "epoch"))
    yield run.metrics["seconds"]["total"]


def report(out: Path) -> Iterator[str]:
    """Yield a Markdown table of test accuracy / log loss: means over the folds that all variants have."""
    runs: dict[tuple[str, ...], dict[str, dict[str, dict[str, str]]]] = defaultdict(lambda: defaultdict(dict))
    variants = list(dict.fromkeys(row["variant"] for row in read_rows(out)))
    for row in read_rows(out):
        runs[row["data"], row["few"], row["backbone"]][row["fold"]][row["variant"]] = row
    yield f"| data | photos a class | backbone | folds | {' | '.join(variants)} |"
    yield "|" + "---|" * (4 + len(variants))
    for key, folds in runs.items():
        whole = [fold for fold in folds.values() if len(fold) == len(variants)]
        cells = []
        for variant in variants if whole else ():
            means = [sum(float(fold[variant][name]) for fold in whole) for name in ("accuracy", "loss")]
            cells.append(" / ".join(f"{total / len(whole):.3f}" for total in means))
        few = "all" if key[1] == "0" else key[1]
        yield f"| {' | '.join([key[0], few, key[2], str(len(whole)), *cells])} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the runs, print the report, or both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="?", help="the folder of data sets")
    parser.add_argument("--out", type=Path, required=True, help="the CSV")
    parser.add_argument("--only", nargs="*", help="names of data sets [all]")
    parser.add_argument("--few", type=int, default=0, help="training photos of each class [all]")
    parser.add_argument("--folds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--variants", nargs="*", default=["probe", "before", "now"], choices=VARIANTS)
    parser.add_argument("--backbones", nargs="*", default=["default", "mobilenet_v2"])
    parser.add_argument("--report", action="store_true", help="print the table of the CSV")
    told = parser.parse_args(arguments)
    if told.data is not None:
        run_all(told)
    if told.report:
        print("\n".join(report(told.out)))


if __name__ == "__main__":
    main()
