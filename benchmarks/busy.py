"""Fine-tuning beside other work: seconds alone, and beside processes that compute all the time.

    python -m benchmarks.busy [DATA] [--photos 192] [--epochs 4] [--size-px 128] [--rounds 2] [--at-most 4]

DATA holds class folders, or train and val folders of them; without it, photos of noise are made. Training
runs on two cores, from a filled feature store, in a process of its own. Two settings alternate: Headstart's
own, in which threads that wait spin briefly, and the defaults of GCC's and LLVM's OpenMP, which PyTorch has
without Headstart. Printed are the mean seconds of an epoch, and how many times as long it takes as alone with
the same setting. With --at-most, the exit code is 1 if Headstart's own setting takes more times as long.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import datetime
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from PIL import Image

VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
# What libgomp and libomp have when nothing is set: https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html
SETTINGS = {"brief": {}, "default": {"GOMP_SPINCOUNT": "300000", "KMP_BLOCKTIME": "200"}}
SITUATIONS = {  # busy processes, and whether they share one of the two cores
    "alone": (0, False),
    "beside 1": (1, False),
    "beside 2": (2, False),
    "beside 3": (3, False),
    "beside 2 on one core": (2, True),
}
BUSY = "while True: pass"
START_SECONDS = 120  # within which the first epoch has to be done
RECIPE = """
[[phases]]
name = "finetune"
unfreeze = 1
epochs = {epochs}
optimizer = "adamw"
head_lr = 1e-4
"""


def main() -> None:
    """Measure all situations with both settings, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--photos", type=int, default=192, help="how many are used")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--size-px", type=int, default=128)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--at-most", type=float, default=None)
    parser.add_argument(
        "--seconds", type=float, default=60, help="after which a run is ended, epochs done or not"
    )
    told = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, cores)  # child processes inherit it
    settings = {name: SETTINGS[name] for name in told.settings}
    print(f"{datetime.date.today()}, {platform.machine()}, 2 of {os.cpu_count()} cores, {torch.__version__}")
    print(f"load before: {os.getloadavg()[0]:.1f} (other work makes all figures larger)")
    sizes = f"--photos {told.photos} --epochs {told.epochs} --size-px {told.size_px} --rounds {told.rounds}"
    print(f"python -m benchmarks.busy {'DATA ' if told.data else ''}{sizes}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "recipe.toml").write_text(RECIPE.format(epochs=1 + told.epochs))
        collect_photos(told.data, folder / "photos", told.photos)
        train(folder, "fill", {}, told, 0, cores)
        seconds: dict[tuple[str, str], list[float]] = {}
        for number in range(told.rounds):
            for situation, (num_busy, on_one_core) in SITUATIONS.items():
                order = list(settings.items())[:: 1 if number % 2 == 0 else -1]
                for setting, variables in order:
                    out = f"{number}-{situation}-{setting}".replace(" ", "-")
                    on = cores[:1] if on_one_core else cores
                    epochs = train(folder, out, variables, told, num_busy, on)
                    seconds.setdefault((situation, setting), []).extend(epochs)
    print(f"{'seconds per epoch':24}" + "".join(f"{setting:>10} {'ratio':>6}" for setting in settings))
    ratios: dict[str, list[float]] = {setting: [] for setting in settings}
    for situation in SITUATIONS:
        cells = []
        for setting in settings:
            epochs, by_itself = seconds[situation, setting], seconds["alone", setting]
            if epochs and by_itself:
                ratios[setting].append(mean(epochs) / mean(by_itself))
                cells.append(f"{mean(epochs):10.2f} {ratios[setting][-1]:6.1f}")
            else:
                ratios[setting].append(float("inf"))
                cells.append(f"{'none done':>10} {'':6}")
        print(f"{situation:24}" + "".join(cells))
    alone = [mean(epochs) for setting in settings if (epochs := seconds["alone", setting])]
    if len(alone) == len(SETTINGS):
        print(f"\nalone, {told.settings[0]} against {told.settings[1]}: {alone[0] / alone[1]:.2f}")
    print(f"load after: {os.getloadavg()[0]:.1f}")
    sys.exit(told.at_most is not None and max(ratios[told.settings[0]]) > told.at_most)


def collect_photos(data: Path | None, folder: Path, number: int) -> None:
    """Make a folder of class folders: of links to photos of DATA, evenly chosen, or of noise."""
    if data is None:
        generator = np.random.default_rng(0)
        for i in range(number):
            photo = folder / f"class{i % 4}" / f"{i:04}.jpg"
            photo.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.clip(generator.normal(60 + 40 * (i % 4), 40, (256, 256, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(photo)
        return
    root = data / "train" if (data / "train").is_dir() else data
    paths = [path for path in sorted(root.rglob("*")) if path.is_file()]
    for path in paths[:: max(1, len(paths) // number)]:
        link = folder / path.parent.name / path.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.absolute())


def train(
    folder: Path,
    out: str,
    variables: dict[str, str],
    told: argparse.Namespace,
    num_busy: int,
    cores: list[int],
) -> list[float]:
    """Train in a process of its own; return the seconds of the epochs that it finished in time.

    The other processes begin to compute after the first epoch, which does not count, nor does what comes
    before it. The process is ended after the last epoch, before anything is exported.
    """
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment |= {"HEADSTART_CACHE": str(folder / "cache"), **variables}
    command = [sys.executable, "-m", "headstart", "train", str(folder / "photos"), "--out", str(folder / out)]
    command += ["--recipe", str(folder / "recipe.toml"), "--size-px", str(told.size_px)]
    history = folder / out / "history.csv"
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        threading.Thread(target=process.stderr.read, daemon=True).start()
        try:
            wait_for(history, 1, process, START_SECONDS)
            with busy(num_busy, cores):
                wait_for(history, 1 + told.epochs, process, told.seconds)
        finally:
            process.kill()
    return seconds_in(history)[1:]


def wait_for(history: Path, num_epochs: int, process: subprocess.Popen[str], seconds: float) -> None:
    """Wait until so many epochs have been trained, the process has ended, or the time is over."""
    end = time.monotonic() + seconds
    while len(seconds_in(history)) < num_epochs and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)


def seconds_in(history: Path) -> list[float]:
    if not history.exists():
        return []
    with history.open(newline="") as file:
        return [float(row["seconds"]) for row in csv.DictReader(file)]


@contextlib.contextmanager
def busy(number: int, cores: list[int]) -> Iterator[None]:
    """Let so many processes compute on these cores meanwhile."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(number)]
    try:
        for process in processes:
            os.sched_setaffinity(process.pid, cores)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
