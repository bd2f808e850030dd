"""Headstart beside code written by hand and fastai, on the same photos, weights, size and batch.

    python -m benchmarks.compare DATA [--backbone mobilenet_v2] [--quick] [--recipe probe|finetune]

DATA holds train and val folders of class folders. Every contestant is a fresh process, start-up counted. With
``--quick`` the hand-written loop and fastai run one epoch, and their epochs are scaled. With ``--recipe
finetune`` Headstart's default recipe, three seeds from a cold store, stands beside fastai's ``fine_tune``,
three frozen epochs and one unfrozen.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HAND_EPOCHS, FASTAI_EPOCHS = 10, 3
SEEDS = (0, 1, 2)


@dataclass
class Run:
    """One contestant.

    Attributes:
        name: For the table.
        seconds: Wall time of the whole process.
        val_accuracy: The best it reached.
        peak_mb: Largest resident memory of any of its processes.
        scaled: Whether the time was scaled from one epoch.
    """

    name: str
    seconds: float
    val_accuracy: float
    peak_mb: float
    scaled: bool = False


def run(arguments: list[str], environment: dict[str, str] | None = None) -> tuple[float, float, str]:
    """Run a process; return wall seconds, peak megabytes and its standard output."""
    begun = time.perf_counter()
    command = [sys.executable, *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | (environment or {})
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - begun
    print(
        f"{seconds:7.1f} s  {' '.join(arguments[1:3])} {output.splitlines()[-1]}", file=sys.stderr, flush=True
    )
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed with {process.returncode}")
    return seconds, usage.ru_maxrss / 1024, output


def by_epochs(name: str, module: str, positional: list[str], backbone: str, epochs: int, quick: bool) -> Run:
    """Run a contestant that counts epochs, all of them or one that is scaled."""
    arguments = ["-m", module, *positional, "--backbone", backbone, "--epochs", str(1 if quick else epochs)]
    seconds, peak, output = run(arguments)
    told = json.loads(output.splitlines()[-1])
    if quick:
        seconds += (epochs - 1) * told["epoch_seconds"]
    return Run(f"{name}, {epochs} epochs", seconds, told["val_accuracy"], peak, quick)


def headstart(
    name: str, data: Path, backbone: str, cache: str, out: Path, *options: str
) -> tuple[Run, dict[str, Any]]:
    """Run ``headstart train``."""
    arguments = ["-m", "headstart", "train", str(data), "--backbone", backbone, "--out", str(out), *options]
    seconds, peak, _ = run(arguments, {"HEADSTART_CACHE": cache})
    metrics = json.loads((out / "metrics.json").read_text())
    return Run(name, seconds, metrics["best"]["val_accuracy"], peak), metrics


def compare_finetuning(data: Path, backbone: str) -> None:
    """Print Headstart's default recipe, for several seeds, beside fastai's ``fine_tune``."""
    ours = []
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:  # a cold store for each
            result, metrics = headstart(
                f"Headstart, seed {seed}", data, backbone, folder, Path(folder) / "run", f"--seed={seed}"
            )
        ours.append(result)
        print(f"{result.name}: best {metrics['best']}, {metrics['seconds']}", file=sys.stderr)
    arguments = [
        "-m",
        "benchmarks.by_fastai",
        str(data),
        "--backbone",
        backbone,
        "--epochs",
        str(FASTAI_EPOCHS),
    ]
    seconds, peak, output = run([*arguments, "--unfrozen-epochs", "1"])
    fastai = Run(
        f"fastai, {FASTAI_EPOCHS} frozen + 1",
        seconds,
        json.loads(output.splitlines()[-1])["val_accuracy"],
        peak,
    )
    print(f"{'':28} {'seconds':>8} {'val acc':>8} {'peak MB':>8} {'faster':>9}")
    for each in (fastai, *ours):
        ratio = f"{fastai.seconds / each.seconds:7.1f} x"
        print(f"{each.name:28} {each.seconds:8.1f} {each.val_accuracy:8.3f} {each.peak_mb:8.0f} {ratio:>9}")
    mean_seconds = sum(each.seconds for each in ours) / len(ours)
    mean_accuracy = sum(each.val_accuracy for each in ours) / len(ours)
    print(
        f"Headstart, mean of {len(ours)} seeds: {mean_seconds:.1f} s, "
        f"{fastai.seconds / mean_seconds:.1f} x faster, validation accuracy {mean_accuracy:.4f}"
    )


def main() -> None:
    """Run all contestants and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--quick", action="store_true", help="one epoch of the others, scaled")
    parser.add_argument("--recipe", choices=("probe", "finetune"), default="probe")
    arguments = parser.parse_args()
    data, backbone = arguments.data, arguments.backbone

    print(f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores")
    print(
        f"python -m benchmarks.compare DATA --recipe {arguments.recipe} --backbone {backbone}"
        f"{' --quick' if arguments.quick else ''}\n"
    )
    if arguments.recipe == "finetune":
        compare_finetuning(data, backbone)
        return
    with tempfile.TemporaryDirectory() as folder:
        probe, out = ("--recipe", "probe"), Path(folder)
        cold, metrics = headstart("Headstart, cold store", data, backbone, folder, out / "cold", *probe)
        warm, warm_metrics = headstart("Headstart, warm store", data, backbone, folder, out / "warm", *probe)
    limit = json.loads(run(["-m", "benchmarks.limit", str(data), "--backbone", backbone])[2].splitlines()[-1])
    hand_data = [str(data / "train"), str(data / "val")]
    hand = by_epochs("by hand", "benchmarks.by_hand", hand_data, backbone, HAND_EPOCHS, arguments.quick)
    others = [hand]
    if importlib.util.find_spec("fastai"):
        others.append(
            by_epochs("fastai", "benchmarks.by_fastai", [str(data)], backbone, FASTAI_EPOCHS, arguments.quick)
        )
    else:
        print("fastai is not installed, so it is left out: pip install fastai", file=sys.stderr)

    print(f"{'':28} {'seconds':>8} {'val acc':>8} {'peak MB':>8} {'cold is':>9} {'warm is':>9}")
    for contestant in (*others, cold, warm):
        ratios = [f"{contestant.seconds / each.seconds:7.1f} x" for each in (cold, warm)]
        mark = " (scaled from one epoch)" if contestant.scaled else ""
        print(
            f"{contestant.name:28} {contestant.seconds:8.1f} {contestant.val_accuracy:8.3f} "
            f"{contestant.peak_mb:8.0f} {ratios[0]:>9} {ratios[1]:>9}{mark}"
        )
    for run_, told in ((cold, metrics), (warm, warm_metrics)):
        seconds = told["seconds"]
        parts = {
            "start-up": run_.seconds - seconds["total"],
            "network": seconds.get("network", 0.0),  # none of PyTorch's in a probe
            "pass": seconds["features"],
            "head": seconds["train"],
            "export": seconds["export"],
        }
        print(f"{run_.name}: " + ", ".join(f"{name} {value:.1f} s" for name, value in parts.items()))
    print(
        f"limit of the pass: ({limit['decode_cpu_seconds']:.1f} s of decoding + "
        f"{limit['network_cpu_seconds']:.1f} s of the network) / {os.cpu_count()} cores = "
        f"{limit['limit_seconds']:.2f} s; the pass takes {limit['pass_seconds']:.2f} s, "
        f"{limit['pass_over_limit']:.2f} x"
    )


if __name__ == "__main__":
    main()
