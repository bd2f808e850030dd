"""Fine-tuning phases side by side, on the same features: what the numbers in ``recipe.py`` rest on.

    python -m benchmarks.recipes DATA [--backbone mobilenet_v2] [--seeds 2] [--only NAME ...]

DATA holds train and val folders of class folders. Each row is a phase behind a solved head, the probe;
printed are the means over the seeds of the best validation accuracy and loss of the phase, and its seconds of
training.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import headstart as hs

BASE: dict[str, Any] = {
    "name": "finetune",
    "unfreeze": 1,
    "epochs": 6,
    "optimizer": "adamw",
    "head_lr": 2e-4,
    "wise_ft": True,
    "weight_decay": 0.01,
    "schedule": "one-cycle",
}
ROWS: dict[str, dict[str, Any]] = {
    "base": {},
    "lr 1e-4": {"head_lr": 1e-4},
    "lr 3e-4": {"head_lr": 3e-4},
    "cosine": {"schedule": "cosine"},
    "norm train": {"norm": "train"},
    "3 epochs": {"epochs": 3},
    "4 epochs": {"epochs": 4},
    "10 epochs": {"epochs": 10},
    "20 epochs": {"epochs": 20},
    "ema 0.95": {"ema": 0.95},
    "no wise-ft": {"wise_ft": False},
    "light, 2 views": {"augment": "light", "views": 2},
    "light, 6 views": {"augment": "light", "views": 6},
    "mixup 0.2": {"mixup": 0.2},
    "smoothing 0.1": {"label_smoothing": 0.1},
    "last 2": {"unfreeze": 2},
    "layer decay 0.5": {"unfreeze": 2, "layer_decay": 0.5},
    "all": {"unfreeze": "all", "head_lr": 3e-5},
}


def main() -> None:
    """Train every row and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=list(ROWS))
    parser.add_argument("--unfreeze", default=None, help="instead of the last stage")
    told = parser.parse_args()
    print(f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores")
    print(f"python -m benchmarks.recipes DATA --backbone {told.backbone} --seeds {told.seeds}\n")
    print(f"{'':18} {'val acc':>8} {'val loss':>9} {'seconds':>8}   accuracies")
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("HEADSTART_CACHE", folder)
        for name in told.only:
            phase = BASE | ({"unfreeze": told.unfreeze} if told.unfreeze else {}) | ROWS[name]
            phases = [{"name": "probe", "optimizer": "exact"}, phase]
            accuracies, losses, seconds = [], [], []
            for seed in range(told.seeds):
                with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
                    out = Path(folder) / f"{name}-{seed}"
                    run = hs.train(told.data, out, backbone=told.backbone, seed=seed, phases=phases)
                best, rows = run.metrics["best"], run.metrics["phases"][1]["epochs"]
                if best["phase"] != "finetune":  # the probe was better
                    best = min(rows, key=lambda row: row["val_loss"])
                accuracies.append(best["val_accuracy"])
                losses.append(best["val_loss"])
                seconds.append(sum(row["seconds"] for row in rows))
            print(
                f"{name:18} {_mean(accuracies):8.4f} {_mean(losses):9.4f} {_mean(seconds):8.1f}   "
                f"{' '.join(f'{each:.4f}' for each in accuracies)}",
                flush=True,
            )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
