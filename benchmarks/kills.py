"""Kill training at random moments, go on, and compare the bits with a run that nothing stopped.

    python -m benchmarks.kills [--kills 100] [--workers 0 2] [--seed 0]

Photos are generated; the network is MobileNetV3-Small with random weights at 32 px. Each run is killed by
SIGKILL at a moment between its start and the time that the undisturbed run took; then it goes on by
``headstart resume`` (by ``headstart train`` while there is no run folder), where each attempt is killed again
with a probability of one half. Every run has a cache of its own, so that kills hit the filling of it too. The
code is copied first, so that editing it meanwhile makes no difference.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

import headstart

# Whatever could depend on what ran before: views, dropout, mixing, averages, several batches per step, norms
# that learn, mixtures of weights.
RECIPE: Final = """
[[phases]]
name = "probe"
epochs = 20
head_lr = 0.01
augment = "light"
views = 2

[[phases]]
name = "last"
unfreeze = 1
epochs = 20
optimizer = "adamw"
head_lr = 1e-3
mixup = 0.4
ema = 0.9
accumulate = 2
schedule = "one-cycle"
sampling = "balanced"
wise_ft = true
augment = "light"
views = 2

[[phases]]
name = "all"
unfreeze = "all"
epochs = 10
optimizer = "sgd"
head_lr = 1e-3
cutmix = 1.0
norm = "train"
clip_norm = 1.0
label_smoothing = 0.1
class_weights = "balanced"
"""
OPTIONS: Final = (
    *("--backbone", "mobilenet_v3_small", "--weights", "random", "--size-px", "32", "--batch-size", "5"),
    *("--checkpoint-seconds", "0"),
)
MODELS: Final = ("model.safetensors", "model.onnx")
COLOURS: Final = {"blue": (60, 90, 200), "green": (70, 180, 80), "red": (200, 70, 60)}


def make_photos(folder: Path, per_class: int = 12) -> None:
    """Write small JPEGs of noise around a colour, in three classes."""
    generator = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            noisy = np.array(colour) + generator.normal(0, 50, (36, 40, 3))
            pixels = np.clip(noisy, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.jpg")


@dataclass(frozen=True)
class Run:
    """A run in ``root``, beside photos, recipe and code, with a cache of features of its own."""

    root: Path
    name: str
    workers: int

    @property
    def folder(self) -> Path:
        return self.root / self.name

    @property
    def cache(self) -> Path:
        return self.root / f"{self.name}-cache"

    def attempt(self, kill_after: float | None) -> str | None:
        """Begin or go on.

        Args:
            kill_after: Seconds until SIGKILL; None to leave the process alone.

        Returns:
            Where it was killed; None if it came to its end.
        """
        command = [sys.executable, "-m", "headstart"]
        if (self.folder / "config.toml").exists():
            command += ["resume", str(self.folder)]
        else:
            command += ["train", str(self.root / "photos"), f"--recipe={self.root / 'recipe.toml'}"]
            command += [*OPTIONS, f"--workers={self.workers}", f"--out={self.folder}"]
        log = self.root / f"{self.name}.log"
        environment = os.environ | {
            "HEADSTART_CACHE": str(self.cache),
            "PYTHONPATH": str(self.root / "code"),
        }
        with (
            log.open("w") as file,
            subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=file) as process,
        ):
            try:
                code = process.wait(kill_after)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
                if code != 0:  # it may have ended by itself in the meantime
                    return _place(log.read_text())
        if code != 0:
            raise SystemExit(f"{' '.join(command)} failed with {code}:\n{log.read_text()}")
        return None

    def differences(self, other: Run) -> list[str]:
        """Name what is not as in the other run, or should not be there."""
        names = [
            name for name in MODELS if (self.folder / name).read_bytes() != (other.folder / name).read_bytes()
        ]
        return names + [str(path) for path in self.folder.rglob("*.part")]


def _place(log: str) -> str:
    """The phase that a process was in, by what it has said."""
    said = re.findall(r"^(?:Phase (\S+):|(Exporting))", log, re.MULTILINE)
    if not said:
        return "before the first phase"
    return said[-1][0] or "export"


def main() -> None:
    """Kill, go on, compare; exit with 1 if any model differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2], help="runs take turns")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    arguments = parser.parse_args()
    generator = np.random.default_rng(arguments.seed)
    hits: Counter[str] = Counter()
    num_runs = num_equal = 0
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_photos(root / "photos")
        (root / "recipe.toml").write_text(RECIPE)
        shutil.copytree(Path(headstart.__file__).parent, root / "code" / "headstart")
        whole = Run(root, "whole", arguments.workers[0])
        begun = time.monotonic()
        whole.attempt(None)
        duration = time.monotonic() - begun
        print(f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores")
        print(f"undisturbed: {duration:.1f} s", flush=True)
        while hits.total() < arguments.kills:
            workers = arguments.workers[num_runs % len(arguments.workers)]
            num_runs += 1
            run = Run(root, f"run{num_runs}", workers)
            story: list[str] = []
            for attempt in count():
                wants_kill = attempt == 0 or generator.random() < 0.5
                moment = generator.uniform(0, duration)
                begun = time.monotonic()
                place = run.attempt(moment if wants_kill and hits.total() < arguments.kills else None)
                if place is None:
                    break
                hits[place] += 1
                story.append(f"{place} ({moment:.1f} s)")
            if not story:  # the machine may be faster than in the beginning; then moments would come too late
                duration = min(duration, time.monotonic() - begun)
            differences = run.differences(whole)
            num_equal += not differences
            for folder in (run.folder, run.cache):
                shutil.rmtree(folder, ignore_errors=True)
            print(
                f"run {num_runs}, {workers} workers: killed in {', '.join(story) or 'none'}: "
                f"{', '.join(differences) + ' differ' if differences else 'equal'}; "
                f"{hits.total()} of {arguments.kills} kills",
                flush=True,
            )
    where = ", ".join(f"{place} {count}" for place, count in hits.most_common())
    print(
        f"{hits.total()} kills in {num_runs} runs: {num_equal} with equal models and nothing left behind, "
        f"phases hit: {where}"
    )
    if num_equal < num_runs:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
