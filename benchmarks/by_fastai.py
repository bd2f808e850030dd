"""fastai's way: vision_learner, frozen, fit_one_cycle; or fine_tune. Prints one JSON line.

Run by ``benchmarks.compare`` and ``benchmarks.defaults`` as a process of its own; needs
``pip install fastai``.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from fastai.vision.all import (  # noqa: E402
    ImageDataLoaders,
    Learner,
    Normalize,
    Resize,
    accuracy,
    imagenet_stats,
    set_seed,
    vision_learner,
)
from fastai.vision.learner import default_split, model_meta  # noqa: E402
from torchvision import models  # noqa: E402

from headstart.answers.file import write_answers  # noqa: E402
from headstart.answers.table import Answers  # noqa: E402
from headstart.images.photo import Photo  # noqa: E402
from headstart.tasks.losses import cross_entropy  # noqa: E402


def load_photos(data: Path) -> ImageDataLoaders:
    """Return the photos of a folder with train and val in it, or of a table with a column ``split``."""
    how = {
        "item_tfms": Resize(224),
        "batch_tfms": [Normalize.from_stats(*imagenet_stats)],
        "bs": 32,
        "num_workers": 2,
    }
    if data.is_dir():
        return ImageDataLoaders.from_folder(data, train="train", valid="val", **how)
    rows = pd.read_csv(data, dtype=str, keep_default_na=False)
    rows["is_val"] = rows["split"] == "val"
    return ImageDataLoaders.from_df(
        rows, path="/", fn_col="image", label_col="label", valid_col="is_val", **how
    )


def answers_of(learner: Learner) -> Answers:
    """Return what the trained network says of each validation photo, in the format of ``answers.csv``."""
    classes = [str(name) for name in learner.dls.vocab]
    shares, labels = learner.get_preds(ds_idx=1)
    logits = np.log(np.maximum(shares.numpy().astype(np.float64), 1e-12))
    rows = learner.dls.valid_ds.items
    if list(rows["label"]) != [classes[label] for label in labels]:
        raise ValueError("fastai has predicted the validation photos in another order")
    num = len(rows)
    return Answers(
        path=list(rows["image"]),
        sha256=[Photo(Path(name)).sha256() for name in rows["image"]],
        split=["val"] * num,
        group=[""] * num,
        alike=[""] * num,
        fold=np.full(num, -1, np.int32),
        source=["val"] * num,
        label=list(rows["label"]),
        prediction=[classes[row.argmax()] for row in logits],
        loss=cross_entropy(logits, labels.numpy()).astype(np.float32),
        outputs=logits.astype(np.float32),
        output_names=tuple(f"logit:{name}" for name in classes),
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", help="a folder with train and val in it, or a table with a column split")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--unfrozen-epochs", type=int, default=0, help="after the frozen ones: fine_tune")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--answers", type=Path, help="write the answers for the validation photos of a table")
    arguments = parser.parse_args()
    if arguments.answers is not None and Path(arguments.data).is_dir():
        parser.error("--answers is for a table")
    if arguments.seed is not None:
        set_seed(arguments.seed)

    arch = getattr(models, arguments.backbone)
    if arch not in model_meta:
        model_meta[arch] = {"cut": -1, "split": default_split, "stats": imagenet_stats}
    loaders = load_photos(Path(arguments.data))
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
        if arguments.answers is not None:
            write_answers(arguments.answers, answers_of(learner))
    print(json.dumps({"val_accuracy": best, "epoch_seconds": seconds}))


if __name__ == "__main__":
    main()
