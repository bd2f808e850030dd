"""Memory and time of a pass on a Ray cluster: 1,000 and 100,000 photos in 200 tar files.

    python -m benchmarks.cluster FOLDER [--numbers 1000 100000]

``FOLDER`` is new, or was made by this program or by ``benchmarks.collection``. For each number, a new process
starts a cluster on this machine and writes the features of all photos (32 px) to a Parquet file, without a
store. The table shows the peak of memory of this process, which lists the photos and writes the rows; the
largest use of Ray's object store beside its size; and the time, which includes the start of the cluster.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.collection import NUMBERS, make_samples


def compute(data: str) -> None:
    """Write the features, and print number, seconds, peak of memory, and use and size of the store in MB."""
    import ray

    import headstart as hs
    from headstart.cluster.connection import LOCAL, connected

    began = time.perf_counter()
    with connected(LOCAL), tempfile.TemporaryDirectory() as folder:
        size = ray.cluster_resources()["object_store_memory"]
        used = [0.0]
        is_done = threading.Event()

        def watch() -> None:
            while not is_done.wait(0.5):
                free = ray.available_resources().get("object_store_memory", size)
                used[0] = max(used[0], size - free)

        watcher = threading.Thread(target=watch)
        watcher.start()
        found = hs.features(data, Path(folder, "features.parquet"), size_px=32, features="live", ray=LOCAL)
        is_done.set()
        watcher.join()
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(found.num_rows, seconds, peak, used[0] / 2**20, size / 2**20)


def main(root: Path, numbers: list[int]) -> None:
    """Make the collections that are missing, compute the features of each, and print the table."""
    print(f"{'photos':>8} {'MB':>6} {'growth':>7} {'store MB':>9} {'of MB':>7} {'s':>7} {'ms a photo':>11}")
    first = None
    for number in numbers:
        folder = root / f"samples-{number}"
        if not folder.exists():
            folder.mkdir(parents=True)
            make_samples(folder, number)
        call = [sys.executable, "-m", "benchmarks.cluster", "--compute", str(folder)]
        done = subprocess.run(call, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        num_rows, seconds, peak, used, size = map(float, done.stdout.split())
        assert num_rows == number
        first = first or peak
        growth = f"{peak:6.0f} {peak / first:7.2f}"
        print(
            f"{number:8,} {growth} {used:9.1f} {size:7.0f} {seconds:7.1f} {1000 * seconds / number:11.2f}",
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--numbers", nargs="+", type=int, default=NUMBERS, help="of photos, multiples of 200")
    parser.add_argument("--compute", action="store_true", help=argparse.SUPPRESS)  # in a process of its own
    given = parser.parse_args()
    if given.compute:
        compute(str(given.folder))
    else:
        main(given.folder, list(given.numbers))
