"""fastai's way: vision_learner, frozen, fit_one_cycle; or fine_tune. Prints one JSON line.

Run by ``benchmarks.compare`` as a process of its own; needs ``pip install fastai``.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

from fastai.vision.all import (  # noqa: E402
    ImageDataLoaders,
    Normalize,
    Resize,
    accuracy,
    imagenet_stats,
    vision_learner,
)
from fastai.vision.learner import default_split, model_meta  # noqa: E402
from torchvision import models  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", help="a folder with train and val in it")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--unfrozen-epochs", type=int, default=0, help="after the frozen ones: fine_tune")
    arguments = parser.parse_args()

    arch = getattr(models, arguments.backbone)
    if arch not in model_meta:
        model_meta[arch] = {"cut": -1, "split": default_split, "stats": imagenet_stats}
    loaders = ImageDataLoaders.from_folder(
        Path(arguments.data),
        train="train",
        valid="val",
        item_tfms=Resize(224),
        batch_tfms=[Normalize.from_stats(*imagenet_stats)],
        bs=32,
        num_workers=2,
    )
    weights = models.get_model_weights(arguments.backbone).IMAGENET1K_V1
    learner = vision_learner(loaders, arch, weights=weights, metrics=accuracy, normalize=False)
    with learner.no_bar(), learner.no_logging():
        begun = time.perf_counter()
        if arguments.unfrozen_epochs:
            learner.fine_tune(arguments.unfrozen_epochs, freeze_epochs=arguments.epochs)
        else:
            learner.fit_one_cycle(arguments.epochs)
        seconds = (time.perf_counter() - begun) / (arguments.epochs + arguments.unfrozen_epochs)
    best = max(float(row[2]) for row in learner.recorder.values)
    print(json.dumps({"val_accuracy": best, "epoch_seconds": seconds}))


if __name__ == "__main__":
    main()
