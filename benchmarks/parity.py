"""How far a network in PyTorch and its model files in ONNX Runtime agree: every task, several networks.

    python -m benchmarks.parity PHOTOS [--backbones NAME...] [--tasks NAME...] [--train 60] [--compared 200]

PHOTOS is a folder of classes. Of each network, four models are trained on 60 of its photos, the same for
all: of the class; of two labels, the class and whether the photo is bright; of two numbers, mean and standard
deviation of its grey; and of the box where the photo has been pasted on a plain picture. The default network
and MobileNetV2 have pretrained weights, the others random ones. Heads are the default ones, or linear if the
network cannot have such a head.

The network is built again from model.safetensors, and computes the outputs for 200 other photos in float32.
model.onnx, and model-fp16.onnx with weights in 16 bits, predict the same photos from their bytes. The largest
difference is that of a probability, of a number in standard deviations, or of a side of a box as a fraction
of the input. An answer has changed if the class, or the set of labels, is another; its margin is the
difference of the two probabilities, or the distance from the threshold. Numbers and boxes have none.

The bars are, for model.onnx, differences up to 0.0001 and no changed answer with a margin above 0.001; for
model-fp16.onnx, differences up to 0.03 and 0.5 % changed answers. The exit code is 1 if one is not met.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import datetime
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import headstart as hs
from headstart.answers.agreement import Agreement, agreement
from headstart.config import TrainConfig
from headstart.images.preprocess import load_pixels
from headstart.model.normalise import Normalise
from headstart.products.onnx import answers, output_names
from headstart.products.safetensors import load_network

PRETRAINED = (TrainConfig.backbone, "mobilenet_v2")
RANDOM = ("resnet18", "timm/convnext_atto", "timm/vit_tiny_patch16_224")
HEAD = [{"name": "head", "unfreeze": "head", "epochs": 1, "head_lr": 0.01}]
TASKS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "classes": (["label"], {"recipe": "probe"}),
    "labels": (["labels"], {"recipe": "probe"}),
    "numbers": (["mean", "deviation"], {"recipe": "probe", "target": "mean,deviation"}),
    "box": (["xmin", "ymin", "xmax", "ymax"], {"phases": HEAD, "task": "box"}),
}
SIDE_PX = 320
BATCH = 20
MAX_DIFFERENCE, MAX_MARGIN = 1e-4, 1e-3
MAX_HALF_DIFFERENCE, MAX_HALF_CHANGED = 0.03, 0.005


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    backbone: str
    task: str
    whole: Agreement
    half: Agreement

    @property
    def failures(self) -> list[str]:
        """Return the bars that are not met."""
        found = []
        if not self.whole.max_difference <= MAX_DIFFERENCE:
            found.append(f"model.onnx differs by {self.whole.max_difference:.2g}")
        if any(each.margin > MAX_MARGIN for each in self.whole.changed):
            found.append("model.onnx changes clear answers")
        if not self.half.max_difference <= MAX_HALF_DIFFERENCE:
            found.append(f"model-fp16.onnx differs by {self.half.max_difference:.2g}")
        if len(self.half.changed) > MAX_HALF_CHANGED * self.half.num_photos:
            found.append(f"model-fp16.onnx changes {len(self.half.changed)} answers")
        return found

    def __str__(self) -> str:
        cells = [self.backbone, self.task]
        for each in (self.whole, self.half):
            margin = f", margin {each.changed[0].margin:.1g}" if each.changed else ""
            changed = f"{len(each.changed)}{margin}" if self.task in ("classes", "labels") else "-"
            cells += [f"{each.max_difference:.1e}", changed]
        return f"| {' | '.join([*cells, '; '.join(self.failures) or 'met'])} |"


def write_pictures(photos: Sequence[Path], folder: Path) -> dict[str, Path]:
    """Write the tables of all tasks, and the pictures of the task box.

    Returns:
        The tables by task.
    """
    generator = np.random.default_rng(0)
    rows = []
    for number, path in enumerate(photos):
        photo = Image.open(path).convert("RGB")
        grey = np.asarray(photo.convert("L").resize((64, 64)))
        width, height = (int(side) for side in generator.integers(SIDE_PX // 4, SIDE_PX * 3 // 4, 2))
        left, top = (int(generator.integers(0, SIDE_PX - side)) for side in (width, height))
        picture = Image.new("RGB", (SIDE_PX, SIDE_PX), tuple(generator.integers(0, 256, 3).tolist()))
        picture.paste(photo.resize((width, height)), (left, top))
        picture.save(folder / f"{number}.png")
        split = "train" if number % 3 else "val"
        label = path.parent.name
        bright = ["bright"] if grey.mean() > 128 else []
        texts = {"label": label, "labels": "|".join([label, *bright]), "mean": grey.mean()}
        box = {"xmin": left, "ymin": top, "xmax": left + width, "ymax": top + height}
        rows.append({"split": split, "deviation": grey.std(), **texts, **box})
    tables = {}
    for task, (columns, _) in TASKS.items():
        tables[task] = folder / f"{task}.csv"
        with tables[task].open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["image", *columns, "split"])
            for number, (path, row) in enumerate(zip(photos, rows, strict=True)):
                image = folder / f"{number}.png" if task == "box" else path
                writer.writerow([image, *(row[column] for column in [*columns, "split"])])
    return tables


@torch.inference_mode()
def outputs_of_network(run: Path, photos: Sequence[Path]) -> Iterator[np.ndarray]:
    """Yield the outputs of the network in PyTorch for each photo, in the form of ``Predictor.outputs``."""
    network, info = load_network(run / "model.safetensors")
    normalise = Normalise(info.preprocessing)
    for begin in range(0, len(photos), BATCH):
        pixels = [
            load_pixels(path.read_bytes(), info.preprocessing, path=str(path))
            for path in photos[begin : begin + BATCH]
        ]
        found = answers(network(normalise(torch.from_numpy(np.stack(pixels)))), info)
        named = zip(output_names(info), found, strict=True)
        yield from torch.cat([each for name, each in named if name != "probabilities"], 1).numpy()


def compare(run: Path, photos: Sequence[Path]) -> tuple[Agreement, Agreement]:
    """Compare both model files of a run with its network."""
    expected = np.stack(list(outputs_of_network(run, photos)))
    hs.export(run, "onnx-fp16", run / "half.onnx")
    found = []
    for name in ("model.onnx", "half.onnx"):
        model = hs.load(run / name)
        outputs = np.stack([row for row in model.outputs(photos) if isinstance(row, np.ndarray)])
        found.append(agreement(model.info, [path.name for path in photos], expected, outputs))
    whole, half = found
    return whole, half


def rows_of(
    backbones: Sequence[str], tables: dict[str, Path], compared: Sequence[Path], folder: Path
) -> Iterator[Row]:
    """Train every model, and yield its row."""
    for backbone in backbones:
        for task, table in tables.items():
            weights = "default" if backbone in PRETRAINED else "random"
            run = folder / f"{backbone.replace('/', '-')}-{task}"
            settings: dict[str, Any] = {"backbone": backbone, "weights": weights, "seed": 0, **TASKS[task][1]}
            shown = task
            with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
                try:
                    hs.train(table, run, **settings)
                except hs.NetworkError:  # the network cannot have this head
                    shown, run = f"{task}, linear head", run.with_name(f"{run.name}-linear")
                    hs.train(table, run, head="linear", **settings)
            yield Row(backbone, shown, *compare(run, compared))


def main() -> None:
    """Train, compare, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--backbones", nargs="*", default=[*PRETRAINED, *RANDOM])
    parser.add_argument("--tasks", nargs="*", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--train", type=int, default=60)
    parser.add_argument("--compared", type=int, default=200)
    told = parser.parse_args()
    photos = sorted(
        path for path in told.photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png")
    )
    np.random.default_rng(0).shuffle(photos)
    photos = [path.resolve() for path in photos[: told.train + told.compared]]
    machine = f"{platform.machine()}, {os.cpu_count()} cores, PyTorch {torch.__version__}"
    num_compared = len(photos) - told.train
    print(f"{datetime.date.today()}, {machine}: {told.train} photos to train, {num_compared} compared\n")
    print("| backbone | task | model.onnx | changed | model-fp16.onnx | changed | bars |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        tables = write_pictures(photos[: told.train], Path(folder))
        tables = {task: tables[task] for task in told.tasks}
        for row in rows_of(told.backbones, tables, photos[told.train :], Path(folder)):
            rows.append(row)
            print(row, flush=True)
    for row in rows:
        for name, each in (("model.onnx", row.whole), ("model-fp16.onnx", row.half)):
            for changed in each.changed:
                print(f"{row.backbone}, {row.task}, {name}: {changed}")
    sys.exit(any(row.failures for row in rows))


if __name__ == "__main__":
    main()
