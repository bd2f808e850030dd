"""Writing the report of a run: seconds, processor time, and size of the file.

    python -m benchmarks.report RUN [RUN ...]

The photos of the runs must be where they were. The first report of a process also loads code, so it is not
counted.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import time
from pathlib import Path

import headstart as hs

REPEATS = 7


def main() -> None:
    """Print one row per run: medians over several reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    runs = parser.parse_args().runs
    print(f"{datetime.date.today()}, {os.cpu_count()} cores ({platform.machine()})")
    print("run, seconds, seconds of processor, kB, pictures")
    for run in runs:
        path = hs.report(run).path
        wall, cpu = [], []
        for _ in range(REPEATS):
            begun, used = time.perf_counter(), time.process_time()
            hs.report(run)
            wall.append(time.perf_counter() - begun)
            cpu.append(time.process_time() - used)
        pictures = path.read_text("utf-8").count("<img ")
        medians = f"{statistics.median(wall):.2f}, {statistics.median(cpu):.2f}"
        print(f"{run.name}, {medians}, {path.stat().st_size / 1000:.0f}, {pictures}")


if __name__ == "__main__":
    main()
