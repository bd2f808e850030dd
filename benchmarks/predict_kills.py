"""Kill a long prediction by SIGKILL, repeat the command, and compare the file with an uninterrupted one.

    python -m benchmarks.predict_kills RUN DATA [--photos 20000] [--kills 5] [--seed 0]

RUN is a run, DATA a folder of JPEGs, of which copies with distinct bytes are made. Each call of `headstart
predict FOLDER --out` is killed when its file has grown to a random size, larger than at the last kill; the
last call is left alone. Also prints the times and the peak memory (resident) of uninterrupted calls for 1,000
and for all photos.
"""

from __future__ import annotations

import argparse
import csv
import random
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.predict_many import cost_of, machine, ours, write_distinct


def kill_at(size: int, command: list[str], folder: Path) -> bool:
    """Run a command and kill it when its unfinished file has a size; return whether it was killed."""
    process = subprocess.Popen(command)
    while process.poll() is None:
        if any(part.stat().st_size >= size for part in folder.glob("*.part")):
            process.kill()
            process.wait()
            return True
        time.sleep(0.05)
    return False


def main() -> None:
    """Measure uninterrupted calls, kill others, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path, help="a folder of JPEGs")
    parser.add_argument("--photos", type=int, default=20000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="of the copies [default: a temporary folder]")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        few, photos, out = (Path(name) / each for each in ("few", "photos", "out"))
        out.mkdir()
        write_distinct(arguments.data, [few], 1000)
        write_distinct(arguments.data, [photos], arguments.photos)
        print(f"{machine()}\n{arguments.run}, {arguments.photos:,} distinct photos")
        small = cost_of(ours(arguments.run, [few], Path(name) / "few.csv"))
        whole, killed = Path(name) / "whole.csv", out / "killed.csv"
        large = cost_of(ours(arguments.run, [photos], whole))
        print(f"  1,000: {small.wall:.1f} s, {small.processor:.1f} processor s, {small.peak_mb:.0f} MB")
        print(
            f"  all: {large.wall:.1f} s, {large.processor:.1f} processor s, {large.peak_mb:.0f} MB",
            flush=True,
        )
        print(f"  peak memory of all {large.peak_mb / small.peak_mb:.2f} x that of 1,000", flush=True)
        command, total = ours(arguments.run, [photos], killed), whole.stat().st_size
        generator = random.Random(arguments.seed)
        for moment in sorted(generator.random() for _ in range(arguments.kills)):
            was_killed = kill_at(int(moment * total), command, out)
            print(f"  at {moment:.0%}: {'killed' if was_killed else 'NOT killed'}", flush=True)
        last = cost_of(command)
        with open(killed, newline="") as file:
            paths = [row["path"] for row in csv.DictReader(file)]
        is_same = killed.read_bytes() == whole.read_bytes()
        once = sorted(paths) == sorted(map(str, photos.iterdir())) and len(set(paths)) == len(paths)
        left = sorted(path.name for path in out.iterdir())
        print(f"last call: {last}")
        print(f"same bytes: {is_same}; each photo once: {once}; files: {', '.join(left)}")


if __name__ == "__main__":
    main()
