"""The seconds that findings, calibration, unknown, scores and the report add to a probe, by part.

    python -m benchmarks.findings_time DATA [--repeats 5]

Each repetition is a process of its own, as code that is imported late is part of the time. Before the first
one, a run fills the store.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

PARTS: Final = {
    "near-duplicates": [
        "headstart.training.ground:GroundFloor.near_duplicates",
        "headstart.training.train:with_near_duplicates",
    ],
    "calibration": ["headstart.training.ground:calibrate"],
    "unknown": ["headstart.training.ground:_find_unknown", "headstart.training.ground:with_unknown"],
    "scores": ["headstart.training.hand_over:_metrics"],
    "findings": [
        "headstart.training.hand_over:find_in_run",
        "headstart.training.hand_over:summary_of_findings",
        "headstart.training.findings:write_findings",
    ],
    "report": ["headstart.products.report_html:report_html"],
}
"""Functions of each part; none of them calls another one."""

Seconds = dict[str, tuple[float, float]]
"""Wall-clock seconds and seconds of processor time, by part."""


@contextlib.contextmanager
def timed(found: Seconds, name: str) -> Iterator[None]:
    """Add the time of a block to a part."""
    begun, used = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        wall, cpu = found.get(name, (0.0, 0.0))
        found[name] = wall + time.perf_counter() - begun, cpu + time.process_time() - used


def watch(found: Seconds) -> None:
    """Replace the functions of all parts by those that add their time.

    Raises:
        AttributeError: A function of ``PARTS`` has been renamed.
    """
    for part, places in PARTS.items():
        for place in places:
            module, _, path = place.partition(":")
            *owners, name = path.split(".")
            owner: Any = importlib.import_module(module)
            for each in owners:
                owner = getattr(owner, each)
            setattr(owner, name, _timed_function(found, part, getattr(owner, name)))
    from headstart.products.product import PRODUCTS
    from headstart.products.report_html import report_html

    PRODUCTS["report.html"] = report_html


def _timed_function(found: Seconds, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        with timed(found, part):
            return function(*args, **kwargs)

    return run


def train_once(data: str) -> Seconds:
    """Train a probe in this process and return the seconds of its parts."""
    found: Seconds = {}
    with timed(found, "whole command"):
        import headstart as hs

        watch(found)
        with tempfile.TemporaryDirectory() as folder:
            hs.train(data, recipe="probe", out=Path(folder) / "run", verbose=False)
    return found


def main() -> None:
    """Print one row per part: medians over the repetitions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", help="photos, as for headstart train")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--once", action="store_true", help="print JSON for one run in this process")
    told = parser.parse_args()
    if told.once:
        print(json.dumps(train_once(told.data)))
        return
    command = [sys.executable, "-m", "benchmarks.findings_time", told.data, "--once"]
    runs: list[Seconds] = []
    for _ in range(told.repeats + 1):
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    runs = runs[1:]
    print(f"{datetime.date.today()}, {os.cpu_count()} cores ({platform.machine()}), {told.repeats} runs\n")
    print("| | seconds | CPU seconds |\n|---|---|---|")
    totals = [tuple(sum(run[part][kind] for part in PARTS) for kind in (0, 1)) for run in runs]
    for part in (*PARTS, "all of these", "whole command"):
        rows = totals if part == "all of these" else [run[part] for run in runs]
        wall, cpu = (statistics.median(row[kind] for row in rows) for kind in (0, 1))
        print(f"| {part} | {wall:.2f} | {cpu:.2f} |")


if __name__ == "__main__":
    main()
