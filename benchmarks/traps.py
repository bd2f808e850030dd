"""What traps of a hand-written training loop cost, on a data set with folders train and val.

    python -m benchmarks.traps RUN DATA [--photos 300] [--epochs 10] [--seeds 3]

Needs PyTorch and torchvision's weights of MobileNetV2. ``RUN`` is a probe of Headstart on ``DATA``.

- Class numbers by position: ``ImageFolder`` numbers the class folders that are there. If a test folder lacks
  a class, all later classes get another number. From the run's answers, without each class in turn.
- Leaks: the score with and without validation photos that repeat training photos, from the run's metrics.
- Batch norms of the frozen base in training mode: the loop of ``benchmarks.by_hand`` with ``model.train()``,
  and with the base in evaluation mode, on the same photos in the same order. Accuracy on the validation
  photos after the last epoch.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, models


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--photos", type=int, default=300, help="training photos")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    by_position(given.run)
    leaks(given.run)
    for seed in range(given.seeds):
        scores = [
            after_training(given.data, mode, given.photos, given.epochs, seed) for mode in (True, False)
        ]
        print(f"batch norms, seed {seed}: accuracy {scores[0]:.3f} in training mode, {scores[1]:.3f} frozen")


def by_position(run: Path) -> None:
    """Print the accuracy that a loop would report if the test folder lacked a class."""
    with (run / "answers.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "val"]
    classes = sorted({row["label"] for row in rows})
    for missing in classes:
        there = [name for name in classes if name != missing]
        left = [row for row in rows if row["label"] != missing]
        real = np.mean([row["prediction"] == row["label"] for row in left])
        shown = np.mean([classes.index(row["prediction"]) == there.index(row["label"]) for row in left])
        print(f"without a folder {missing}: accuracy {shown:.3f} by position, {real:.3f} by name")


def leaks(run: Path) -> None:
    """Print the score with and without photos that repeat training photos."""
    metrics = json.loads((run / "metrics.json").read_text("utf-8"))
    without = metrics["without_leaks"]["val"]
    print(f"leaks: accuracy {metrics['best']['val_accuracy']:.3f} on all photos")
    print(f"       {without['accuracy']:.3f} on the {without['num_photos']} that repeat no training photo")


def after_training(data: Path, in_training_mode: bool, num_photos: int, epochs: int, seed: int) -> float:
    """Train a head as ``benchmarks.by_hand`` does, and return the accuracy of its last weights."""
    torch.manual_seed(seed)
    weights = models.MobileNet_V2_Weights.IMAGENET1K_V1
    train, val = (datasets.ImageFolder(str(data / split), weights.transforms()) for split in ("train", "val"))
    chosen = torch.randperm(len(train))[:num_photos].tolist()
    network = models.mobilenet_v2(weights=weights)
    for parameter in network.parameters():
        parameter.requires_grad = False
    network.classifier[-1] = nn.Linear(network.last_channel, len(train.classes))
    optimizer = torch.optim.Adam(network.classifier[-1].parameters(), lr=1e-3)
    batches = DataLoader(Subset(train, chosen), batch_size=32, shuffle=True)
    for _ in range(epochs):
        network.train()
        network.features.train(in_training_mode)
        for images, labels in batches:
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images), labels).backward()
            optimizer.step()
    network.eval()
    with torch.no_grad():
        right = sum(int((network(x).argmax(1) == y).sum()) for x, y in DataLoader(val, batch_size=32))
    return right / len(val)


if __name__ == "__main__":
    main()
