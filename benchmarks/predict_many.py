"""Predicting many distinct photos: Headstart beside the best loop over the same graph, in turns.

    python -m benchmarks.predict_many RUN DATA [--photos 20000] [--rounds 5] [--peer threads]

RUN is a run of a classifier, DATA a folder of JPEGs. Copies of them differ by a comment, so that all bytes
are distinct. In each round, `headstart predict FOLDER --out` and the loop predict the same part of them,
each in a fresh process, start-up counted. The loop decodes at the same reduced scale, with Pillow, in as many
threads as there are cores, applies the EXIF orientation but no colour profile, and calls the model file with
the same batch size. In `threads`, each thread calls a session of one thread; in `session`, one thread calls a
session that uses all cores. Both write CSV.

Prints photos per second and processor milliseconds of both, their ratios, and how many photos get another
class (those with a colour profile may).
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from headstart.cores import num_cores
from headstart.inference.predictor import load

LOOP = """
import csv, io, json, queue, sys, threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np, onnxruntime
from PIL import Image, ImageOps

model, folder, out, how, cores, size, shorter, interpolation, classes = json.loads(sys.argv[1])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1 if how == "threads" else cores
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
method = Image.Resampling[interpolation]

def load(path):
    image = Image.open(io.BytesIO(path.read_bytes()))
    image.draft(None, (2 * shorter, 2 * shorter))
    image = ImageOps.exif_transpose(image.convert("RGB"))
    width, height = image.size
    side = min(image.size) * size / shorter
    box = (width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2
    return np.asarray(image.resize((size, size), method, box=box))[None]

def compute(pixels):
    return session.run(["probabilities", "unknown"], {"images": pixels})

work = (lambda path: compute(load(path))) if how == "threads" else load
paths = sorted(Path(folder).iterdir())
with ThreadPoolExecutor(cores) as pool, open(out, "w", newline="") as file:
    writer = csv.writer(file)
    pending = deque()

    def write():
        path, future = pending.popleft()
        probabilities, unknown = future.result() if how == "threads" else compute(future.result())
        best = int(probabilities[0].argmax())
        writer.writerow([path, classes[best], probabilities[0, best], float(unknown.ravel()[0])])

    for path in paths:
        pending.append((path, pool.submit(work, path)))
        if len(pending) > 4 * cores:
            write()
    while pending:
        write()
"""


@dataclass
class Cost:
    """What processes took: seconds by the clock, processor seconds, and the largest peak memory in MB."""

    wall: float = 0.0
    processor: float = 0.0
    peak_mb: float = 0.0

    def __iadd__(self, other: Cost) -> Cost:
        peak = max(self.peak_mb, other.peak_mb)
        return Cost(self.wall + other.wall, self.processor + other.processor, peak)

    def __str__(self) -> str:
        return f"{self.wall:.1f} s, {self.processor:.1f} processor s, {self.peak_mb:.0f} MB"


def cost_of(command: list[str]) -> Cost:
    """Run a command to its end and measure it."""
    begun = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"exit code {process.returncode}: {command[:4]}")
    wall = time.perf_counter() - begun
    unit = 2**20 if sys.platform == "darwin" else 2**10  # of ru_maxrss in a megabyte
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit)


def write_distinct(data: Path, folders: list[Path], number: int) -> None:
    """Write copies of JPEGs that differ by a comment, an equal number into each folder."""
    sources = [path for path in sorted(data.rglob("*.jp*g")) if path.read_bytes()[:2] == b"\xff\xd8"]
    for each in range(number):
        folder = folders[each * len(folders) // number]
        folder.mkdir(parents=True, exist_ok=True)
        content, text = sources[each % len(sources)].read_bytes(), b"%010d" % each
        comment = b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text
        (folder / f"{each:06d}.jpg").write_bytes(content[:2] + comment + content[2:])


def machine() -> str:
    """Return the date and the machine, and how many processes wanted its cores in the last minute."""
    about = f"{platform.machine()}, {num_cores()} cores, load {os.getloadavg()[0]:.1f}"
    return f"{datetime.date.today()}, {about}"


def ours(run: Path, photos: list[Path], out: Path) -> list[str]:
    """Return the command that predicts with Headstart."""
    return [sys.executable, "-m", "headstart", "predict", str(run), *map(str, photos), "--out", str(out)]


def loop(run: Path, photos: Path, out: Path, how: str) -> list[str]:
    """Return the command that predicts with the loop."""
    predictor = load(run)
    settings = predictor.info.preprocessing
    shorter = round(settings.size_px / settings.crop_fraction)
    about = [predictor.path, str(photos), str(out), how, num_cores(), settings.size_px, shorter]
    about += [settings.interpolation.upper(), predictor.class_names]
    return [sys.executable, "-c", LOOP, json.dumps(about)]


def num_differing(answers: Path, others: Path) -> int:
    """Return how many photos have different classes in two files of the same photos."""
    with open(answers, newline="") as first, open(others, newline="") as second:
        pairs = list(zip(list(csv.DictReader(first)), csv.reader(second), strict=True))
    assert all(a["path"] == b[0] for a, b in pairs)
    return sum(a["label"] != b[1] for a, b in pairs)


def main() -> None:
    """Measure both in turns and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path, help="a folder of JPEGs")
    parser.add_argument("--photos", type=int, default=20000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", choices=["threads", "session"], default="threads")
    parser.add_argument(
        "--memory", action="store_true", help="also measure the memory for all photos at once"
    )
    parser.add_argument("--folder", type=Path, help="of the copies [default: a temporary folder]")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        parts = [Path(folder) / "photos" / str(each) for each in range(arguments.rounds)]
        write_distinct(arguments.data, parts, arguments.photos)
        out, other, differing = Path(folder) / "ours.csv", Path(folder) / "loop.csv", 0
        totals = {"headstart": Cost(), f"loop ({arguments.peer})": Cost()}
        print(machine())
        print(f"{arguments.run}, {arguments.photos:,} distinct photos, {arguments.rounds} rounds")
        for number, part in enumerate(parts):
            commands = [ours(arguments.run, [part], out), loop(arguments.run, part, other, arguments.peer)]
            turns = list(zip(totals, commands, strict=True))
            for name, command in turns if number % 2 == 0 else reversed(turns):
                cost = cost_of(command)
                totals[name] += cost
                print(f"  {name}: {cost}", flush=True)
            differing += num_differing(out, other)
        for name, cost in totals.items():
            rate, each = arguments.photos / cost.wall, 1000 * cost.processor / arguments.photos
            print(f"{name}: {rate:.1f} photos/s, {each:.2f} processor ms per photo, {cost.peak_mb:.0f} MB")
        own, peer = totals.values()
        print(
            f"rate {peer.wall / own.wall:.3f} x that of the loop, per processor second "
            f"{peer.processor / own.processor:.3f} x; {differing} photos have another class"
        )


if __name__ == "__main__":
    main()
