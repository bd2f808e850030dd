"""Training images per second: Headstart beside the loop as a person writes it by hand, at batch 32.

    python -m benchmarks.throughput DATA [--backbone mobilenet_v2] [--last stage4] [--photos 320]

DATA holds train and val folders of class folders; PHOTOS of the training photos are used. Measured are the
steps alone, of one epoch after one that warms up. By hand is ImageFolder, a DataLoader without workers, eager
PyTorch, Adam, random crops and flips; the same stages are trained. Three ways of Headstart:

- the last stages, from a filled store;
- the last stages with a new view of every photo in each epoch, the pass of the frozen part counted;
- everything, where nothing can be stored.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

from headstart.config import TrainConfig
from headstart.data.check import check_images
from headstart.data.split import split_dataset
from headstart.model.backbones import resolve
from headstart.model.freeze import make_trainable
from headstart.model.head import replace_head
from headstart.model.stages import cut
from headstart.model.weights import create_pretrained
from headstart.training.run.stopwatch import Stopwatch
from headstart.training.setup import prepare
from headstart.training.steps.device import create_accelerator, reproducible
from headstart.training.steps.phase import make_ready
from headstart.training.watch.watchers import Watchers

BATCH = 32


def by_hand(data: Path, backbone: str, weights: str, unfrozen: str, num_photos: int) -> float:
    """Return images per second of the hand-written loop with the stages before ``unfrozen`` frozen."""
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(224, scale=(0.5, 1.0)),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    photos = datasets.ImageFolder(str(data / "train"), transform)
    chosen = np.random.default_rng(0).permutation(len(photos))[: num_photos + BATCH]
    loader = DataLoader(Subset(photos, chosen.tolist()), batch_size=BATCH, shuffle=True)
    network, _ = create_pretrained(resolve(backbone), weights)
    replace_head(network, len(photos.classes))
    for parameter in network.parameters():
        parameter.requires_grad = False
    for parameter in cut(network, unfrozen)[1].parameters():
        parameter.requires_grad = True
    network.train()
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=1e-4)
    criterion = nn.CrossEntropyLoss()
    begun, count = 0.0, -1
    for images, labels in loader:
        optimizer.zero_grad()
        criterion(network(images), labels).backward()
        optimizer.step()
        if count < 0:  # the first batch warms up
            begun, count = time.perf_counter(), 0
        else:
            count += len(images)
    return count / (time.perf_counter() - begun)


def by_headstart(
    data: Path, backbone: str, weights: str, phase: dict[str, Any], num_photos: int
) -> tuple[float, float]:
    """Return images per second of a phase's second epoch: of its steps, and with its view's pass."""
    config = TrainConfig.from_settings(data, backbone=backbone, weights=weights, device="cpu", phases=[phase])
    accelerator = create_accelerator(config)
    watchers = Watchers.of_screen(quiet=True)
    with reproducible(0, accelerator.device), tempfile.TemporaryDirectory() as cache:
        os.environ["HEADSTART_CACHE"] = cache
        setup = prepare(config, accelerator, watchers, Stopwatch())
        splits = split_dataset(check_images(setup.listing), val_fraction=0.2, seed=0)
        chosen = np.random.default_rng(0).permutation(len(splits.train))[:num_photos]
        records = [splits.train[i] for i in chosen]
        features = setup.source.open(setup.config.phases[0])
        make_trainable(features.suffix, features.phase.norm)
        ready = make_ready(setup, features, records, accelerator)
        passes = steps = 0.0
        for epoch in (1, 2):
            begun = time.perf_counter()
            for _ in features.training.fill((record, features.view(epoch)) for record in records):
                pass
            passes = time.perf_counter() - begun
            begun = time.perf_counter()
            for _ in ready.steps(epoch, torch.zeros(3)):
                pass
            steps = time.perf_counter() - begun
        features.close()
    return len(records) / steps, len(records) / (passes + steps)


def main() -> None:
    """Time all of them and print the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--last", default="stage4", help="the first of the last stages")
    parser.add_argument("--photos", type=int, default=320)
    parser.add_argument(
        "--weights", default="default", help="random, where those of the backbone are not here"
    )
    told = parser.parse_args()
    last, common_arguments = told.last, (told.data, told.backbone, told.weights)
    print(f"{datetime.date.today()}, {platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    print(
        f"python -m benchmarks.throughput DATA --backbone {told.backbone} --weights {told.weights} "
        f"--last {last} --photos {told.photos}\n"
    )
    common = {"optimizer": "adam", "head_lr": 1e-4, "augment": "light"}
    hand_last = by_hand(*common_arguments, last, told.photos)
    hand_all = by_hand(*common_arguments, "all", told.photos)
    # One view for both epochs, so that the second finds it; then a view for each.
    one = common | {"unfreeze": last, "epochs": 2, "views": 1}
    stored, _ = by_headstart(*common_arguments, one, told.photos)
    _, anew = by_headstart(*common_arguments, one | {"views": 2}, told.photos)
    everything, _ = by_headstart(*common_arguments, common | {"unfreeze": "all", "epochs": 2}, told.photos)
    for name, ours, hand in (
        (f"from {last} on, filled store", stored, hand_last),
        (f"from {last} on, a new view in each epoch", anew, hand_last),
        ("everything", everything, hand_all),
    ):
        print(f"{name:42} {ours:6.1f} images/s, by hand {hand:6.1f}: {ours / hand:5.2f} x", flush=True)


if __name__ == "__main__":
    main()
