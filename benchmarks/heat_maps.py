"""Whether the peak of a heat map is on the object: on photos with one small object and its box.

    python -m benchmarks.heat_maps VOC OTHERS [--backbones default mobilenet_v2] [--heads linear stages]

VOC holds Pascal VOC annotations, and OTHERS photos of other things; a probe learns to tell the two apart,
without boxes. One of five folds tests, the next one validates, so every photo is explained by a model that
was trained without it. Counted are photos with one object that covers less than a third of the photo and lies
in the part that the network sees, at least with its centre; the peak is the centre of the position with the
largest value. It is compared with the centre of the photo, and with heads whose weights are the trained ones
in random order within each block of features. All intervals are at 95 %; those of differences are paired.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

import headstart as hs
from headstart.answers.intervals import wilson
from headstart.data.sources.source import read_source
from headstart.images.decode import image_size
from headstart.images.view import Box
from headstart.inference.heat_map import HEAT_MAP
from headstart.inference.model_file import seal_onnx
from headstart.products.heat_map import with_heat_map
from headstart.products.mean_blocks import linear_head, mean_blocks

FOLDS = 5
SMALL = 1 / 3


@dataclass(frozen=True)
class Small:
    """A photo with one small object.

    Attributes:
        path: The photo.
        box: Of the object, in pixels.
        size: Width and height of the photo.
    """

    path: str
    box: Box
    size: tuple[int, int]

    def holds(self, point: tuple[float, float]) -> bool:
        """Return whether a point is in the box."""
        xmin, ymin, xmax, ymax = self.box
        return xmin <= point[0] <= xmax and ymin <= point[1] <= ymax


def small_objects(data: Path) -> list[Small]:
    """Return the photos of a folder in Pascal VOC format that have one small object."""
    found = []
    for photo in read_source(data, boxes="skip").candidates:
        assert photo.box is not None
        xmin, ymin, xmax, ymax = photo.box
        width, height = image_size(photo.photo)
        if (xmax - xmin) * (ymax - ymin) < SMALL * width * height:
            found.append(Small(photo.path, photo.box, (width, height)))
    return found


def write_table(named: dict[str, list[str]], fold: int, file: Path) -> dict[str, int]:
    """Write a table in which a fold tests and the next one validates; return the fold of each photo."""
    fold_of: dict[str, int] = {}
    with open(file, "w", encoding="utf-8", newline="") as opened:
        table = csv.writer(opened)
        table.writerow(("image", "label", "split"))
        for name, paths in named.items():
            for number, path in enumerate(paths):
                fold_of[path] = number % FOLDS
                split = {fold: "test", (fold + 1) % FOLDS: "val"}.get(number % FOLDS, "train")
                table.writerow((path, name, split))
    return fold_of


def with_random_head(predictor: hs.Predictor, model: bytes, seed: int) -> hs.Predictor:
    """Return a model whose head has its weights in random order within each block of features."""
    whole = onnx.load_from_string(model)
    for field in (whole.graph.node, whole.graph.initializer, whole.graph.output):
        kept = [each for each in field if not each.name.startswith(HEAT_MAP)]
        del field[:]
        field.extend(kept)
    del whole.metadata_props[:]
    head, size_px = linear_head(whole), predictor.info.preprocessing.size_px
    blocks = mean_blocks(whole, head, np.zeros((1, size_px, size_px, 3), np.uint8))
    (weight,) = (each for each in whole.graph.initializer if each.name == head.weight)
    values, rng, end = numpy_helper.to_array(weight).copy(), np.random.default_rng(seed), 0
    for block in blocks:
        first, end = end, end + block.width
        values[:, first:end] = values[:, first + rng.permutation(block.width)]
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    found = with_heat_map(whole.SerializeToString(), predictor.info)
    return hs.Predictor.from_bytes(seal_onnx(found.model, predictor.info))


def peaks_in_boxes(predictor: hs.Predictor, photos: Sequence[Small]) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each peak is in its box, (N,) bool, and the shares that the maps show, (N,)."""
    found = predictor.predict([photo.path for photo in photos], explain=True)
    maps = [each.heat_map for each in found]
    assert all(maps), [each.error for each in found if each.error]
    inside = [photo.holds(each.peak) for photo, each in zip(photos, maps, strict=True) if each]
    return np.array(inside), np.array([each.share for each in maps if each])


def difference(first: np.ndarray, second: np.ndarray) -> str:
    """Return the mean of paired differences with its interval."""
    values = first - second
    half = 1.96 * values.std(ddof=1) / len(values) ** 0.5
    return f"{values.mean():+.3f} ({values.mean() - half:+.3f} to {values.mean() + half:+.3f})"


def share(values: np.ndarray) -> str:
    """Return a share of photos with its interval."""
    low, high = wilson(int(values.sum()), len(values))
    return f"{values.mean():.3f} ({low:.3f}–{high:.3f})"


def measure(told: argparse.Namespace, small: Sequence[Small], settings: dict[str, Any]) -> str:
    """Return a row of the table, for one kind of probe."""
    rng = np.random.default_rng(0)
    named = {
        "object": [photo.path for photo in read_source(told.voc, boxes="skip").candidates],
        "other": sorted(str(path.absolute()) for path in told.others.iterdir()),
    }
    named = {name: rng.permutation(paths)[: told.most].tolist() for name, paths in named.items()}
    of_peak, of_random, of_centre, shares = ([] for _ in range(4))
    for fold in range(FOLDS):
        with tempfile.TemporaryDirectory() as folder:
            fold_of = write_table(named, fold, Path(folder, "table.csv"))
            run = hs.train(Path(folder, "table.csv"), Path(folder, "run"), **settings)
            model, predictor = Path(run.path, "model.onnx").read_bytes(), run.predictor
        photos = [photo for photo in small if fold_of.get(photo.path) == fold]
        found, shown = peaks_in_boxes(predictor, photos)
        of_peak.append(found)
        shares.append(shown)
        of_centre.append(np.array([photo.holds((photo.size[0] / 2, photo.size[1] / 2)) for photo in photos]))
        rounds = [
            peaks_in_boxes(with_random_head(predictor, model, seed), photos)[0] for seed in range(told.random)
        ]
        of_random.append(np.mean(rounds, 0))
    peak, random, centre = (np.concatenate(each).astype(float) for each in (of_peak, of_random, of_centre))
    cells = [str(len(peak)), share(peak), share(centre), f"{random.mean():.3f}"]
    cells += [difference(peak, centre), difference(peak, random), f"{np.median(np.concatenate(shares)):.0%}"]
    return " | ".join(cells)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and explain every fold of every kind of probe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("voc", type=Path)
    parser.add_argument("others", type=Path)
    parser.add_argument("--backbones", nargs="+", default=["default", "mobilenet_v2"])
    parser.add_argument("--heads", nargs="+", default=["linear", "stages"])
    parser.add_argument("--random", type=int, default=10, help="number of random heads per fold")
    parser.add_argument("--most", type=int, default=500, help="photos of each kind, at most")
    told = parser.parse_args(arguments)
    small = small_objects(told.voc)
    print(
        "| backbone | head | photos | peak in the box | centre | random heads | minus centre | minus random heads | shown |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for backbone in told.backbones:
        for head in told.heads:
            settings: dict[str, Any] = {"recipe": "probe", "head": head, "verbose": False}
            if backbone != "default":
                settings["backbone"] = backbone
            print(f"| {backbone} | {head} | {measure(told, small, settings)} |", flush=True)


if __name__ == "__main__":
    main()
