"""Predicting a folder: Headstart beside an eager torchvision loop over a DataLoader with two workers.

    python -m benchmarks.predict RUN DATA [--backbone mobilenet_v2]

RUN is a run of that backbone on classes of any kind. Each is a fresh process, start-up counted.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

EAGER = """
import sys, torch
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

transform = transforms.Compose([
    transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(),
    transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
])
model = models.get_model(sys.argv[2], weights="IMAGENET1K_V1").eval()
count = 0
with torch.no_grad():
    for folder in sys.argv[3:]:
        for images, _ in DataLoader(datasets.ImageFolder(folder, transform), batch_size=32, num_workers=2):
            count += len(model(images).softmax(1))
print(count)
"""


def main() -> None:
    """Time both and print images per second and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path, help="a folder with train and val in it")
    parser.add_argument("--backbone", default="mobilenet_v2")
    arguments = parser.parse_args()
    splits = [str(arguments.data / name) for name in ("train", "val")]
    ours = [sys.executable, "-m", "headstart", "predict", str(arguments.run), str(arguments.data)]
    theirs = [sys.executable, "-c", EAGER, "-", arguments.backbone, *splits]
    rates = []
    for command in (ours, theirs):
        begun = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds = time.perf_counter() - begun
        count = len(done.stdout.splitlines()) - 1 if command is ours else int(done.stdout)
        rates.append(count / seconds)
    print(f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores, {arguments.backbone}")
    print(
        f"Headstart {rates[0]:.0f} images/s, eager torchvision {rates[1]:.0f} images/s: "
        f"{rates[0] / rates[1]:.1f} x"
    )


if __name__ == "__main__":
    main()
