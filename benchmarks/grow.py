"""Time and memory of ``headstart features`` as the data grows.

    python -m benchmarks.grow [--counts 1000 10000 100000]

Photos are generated; the network is MobileNetV3-Small with random weights, so that it takes minutes only.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image


def make_photos(folder: Path, count: int) -> None:
    """Write JPEGs of 128 px, each of its own bytes, in two classes."""
    generator = np.random.default_rng(0)
    base = Image.fromarray(generator.integers(0, 255, (512, 512, 3), np.uint8).astype(np.uint8))
    for number in range(count):
        target = folder / f"class{number % 2}" / f"{number // 1000:03}"
        if number % 1000 < 2:
            target.mkdir(parents=True, exist_ok=True)
        x, y = int(generator.integers(384)), int(generator.integers(384))
        patch = base.crop((x, y, x + 128, y + 128))
        patch.putpixel((0, 0), (number % 256, number // 256 % 256, number // 65536))
        patch.save(target / f"{number}.jpg", quality=60)


def peak_anonymous_mb(process: subprocess.Popen[bytes]) -> float:
    """Watch a process until it ends; return its largest anonymous resident memory."""
    peak = 0.0
    while process.poll() is None:
        try:
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                if line.startswith("RssAnon:"):
                    peak = max(peak, int(line.split()[1]) / 1024)
        except OSError:
            break
        time.sleep(0.05)
    return peak


def main() -> None:
    """Grow the data and print a row for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10_000, 100_000])
    arguments = parser.parse_args()
    print(f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores")
    print(f"{'photos':>8} {'seconds':>9} {'ms a photo':>11} {'peak anonymous MB':>18}")
    for count in arguments.counts:
        with tempfile.TemporaryDirectory() as folder:
            photos = Path(folder) / "photos"
            make_photos(photos, count)
            command = [sys.executable, "-m", "headstart", "features", str(photos)]
            command += ["--backbone", "mobilenet_v3_small", "--weights", "random"]
            command += ["--out", str(Path(folder) / "features.parquet")]
            environment = os.environ | {"HEADSTART_CACHE": str(Path(folder) / "cache")}
            begun = time.perf_counter()
            with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
                peak = peak_anonymous_mb(process)
            seconds = time.perf_counter() - begun
            if process.returncode:
                raise SystemExit(f"headstart features failed with {process.returncode}")
            print(f"{count:8,} {seconds:9.1f} {1000 * seconds / count:11.2f} {peak:18.0f}", flush=True)


if __name__ == "__main__":
    main()
